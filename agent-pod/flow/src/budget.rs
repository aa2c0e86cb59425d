//! What a document may cost, and what is left of that.

use crds::Price;

use crate::{Cause, DocumentRecord, NanoCost, Plan, Spent, nano_cost, transition::reason, units};

/// Nanounits of cost a token, from the price of a thousand tokens.
const NANOS_A_TOKEN: f64 = 1e6;

/// What is left of a document's budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Tokens; `None` where they are not limited.
    pub tokens: Option<u64>,
    /// Cost; `None` where it is not limited.
    pub cost: Option<NanoCost>,
}

impl Allowance {
    /// The most tokens that an answer at this price may have, as if its prompt were free: how many tokens that has is not
    /// known before it is read. `None` where nothing limits the answer.
    pub fn answer_tokens(&self, price: Option<&Price>) -> Option<u64> {
        let affordable = self.cost.zip(price).and_then(|(left, price)| match price.output * NANOS_A_TOKEN {
            // Whole numbers too large for the type become the largest.
            each if each > 0.0 => Some((left as f64 / each) as u64),
            _ => (left == 0 && price.input > 0.0).then_some(0),
        });
        self.tokens.into_iter().chain(affordable).min()
    }
}

impl DocumentRecord {
    /// What is left of the budget of this epoch.
    pub fn allowance(&self, plan: &Plan) -> Allowance {
        let Some(budget) = plan.spec.budget else { return Allowance::default() };
        let used = self.counted();
        Allowance {
            tokens: budget.tokens.map(|most| most.saturating_sub(used.tokens())),
            cost: budget.cost.map(|most| nano_cost(most).saturating_sub(used.cost)),
        }
    }

    /// For people: what was used of the budget.
    pub fn budget_used(&self, plan: &Plan) -> String {
        let budget = plan.spec.budget.unwrap_or_default();
        let used = self.counted();
        let tokens = budget.tokens.map(|most| format!("{} of {most} tokens", used.tokens()));
        let cost = budget.cost.map(|most| format!("{} of {most} in cost", units(used.cost)));
        tokens.into_iter().chain(cost).collect::<Vec<_>>().join(" and ")
    }

    /// Why the document ends, where it has taken more than its budget.
    pub(crate) fn overspent(&self, plan: &Plan) -> Option<Cause> {
        let budget = plan.spec.budget?;
        let used = self.counted();
        let over = budget.tokens.is_some_and(|most| used.tokens() > most)
            || budget.cost.is_some_and(|most| used.cost > nano_cost(most));
        let message = || format!("the work on the document took {}", self.budget_used(plan));
        over.then(|| Cause { reason: reason::BUDGET_EXCEEDED.to_owned(), message: message(), ..Cause::default() })
    }

    /// What counts against the budget: what work took since the epoch began.
    fn counted(&self) -> Spent {
        self.consumed().minus(self.written_off)
    }
}
