//! What the models of a pool read, write and cost a minute, from the counters of its agents. Pure.
//!
//! An agent counts since it began, and its counters go with it; what is added between two looks is summed up here, so that
//! neither a new agent nor one that goes is a jump. After a change of leaders the minute begins anew.

use std::collections::{BTreeMap, HashMap, VecDeque};

use flow::PodStatus;

/// The time that is looked back at, in milliseconds.
const MINUTE: u64 = 60_000;

/// Counters of one agent's process.
type Agent = (String, u64);

/// The spending of pools, by namespace and name.
#[derive(Default)]
pub struct Spending {
    pools: HashMap<(String, String), Pool>,
}

#[derive(Default)]
struct Pool {
    agents: BTreeMap<Agent, Amount>,
    total: Amount,
    /// Totals of the last minute, the oldest first; the first is that of a minute ago or of the first look.
    looks: VecDeque<(u64, Amount)>,
    asked: bool,
}

/// Tokens read and written, and money, in the currency of the models' prices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    /// Tokens.
    pub tokens: u64,
    /// Money.
    pub cost: f64,
}

impl Spending {
    /// Takes in what agents say at `now` (milliseconds since 1970); what was spent in the minute before. `None`: the pool was
    /// looked at less than half a minute ago for the first time.
    pub fn of(&mut self, namespace: &str, pool: &str, agents: &[&PodStatus], now: u64) -> Option<Amount> {
        let pool = self.pools.entry((namespace.to_owned(), pool.to_owned())).or_default();
        pool.asked = true;
        pool.look(agents, now)
    }

    /// Forgets the pools that nobody has asked about since this was called before.
    pub fn forget_others(&mut self) {
        self.pools.retain(|_, pool| std::mem::take(&mut pool.asked));
    }
}

impl Pool {
    fn look(&mut self, agents: &[&PodStatus], now: u64) -> Option<Amount> {
        let last = self.looks.back().map(|(at, _)| *at);
        let mut seen = BTreeMap::new();
        for agent in agents {
            let key = (agent.name.clone(), agent.began);
            let counted = Amount { tokens: agent.tokens, cost: agent.cost };
            // One that began since the last look counts from nothing; of another the past is not known.
            let began_since = last.is_some_and(|last| agent.began >= last);
            let before = self.agents.get(&key).copied().or(began_since.then(Amount::default)).unwrap_or(counted);
            self.total.tokens += counted.tokens.saturating_sub(before.tokens);
            self.total.cost += (counted.cost - before.cost).max(0.0);
            seen.insert(key, counted);
        }
        self.agents = seen;
        self.looks.push_back((now, self.total));
        while self.looks.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= MINUTE) {
            self.looks.pop_front();
        }
        let (since, then) = *self.looks.front()?;
        let passed = now.saturating_sub(since);
        if passed < MINUTE / 2 {
            return None;
        }
        let share = MINUTE as f64 / passed as f64;
        let tokens = (self.total.tokens - then.tokens) as f64 * share;
        Some(Amount { tokens: tokens.round() as u64, cost: (self.total.cost - then.cost) * share })
    }
}
