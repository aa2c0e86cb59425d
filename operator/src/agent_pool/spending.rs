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

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, began: u64, tokens: u64) -> PodStatus {
        PodStatus { name: name.to_owned(), began, tokens, cost: tokens as f64 / 1_000.0, ..PodStatus::default() }
    }

    fn tokens(spending: &mut Spending, agents: &[PodStatus], second: u64) -> Option<u64> {
        let agents: Vec<&PodStatus> = agents.iter().collect();
        spending.of("law", "writers", &agents, 1_000_000 + second * 1_000).map(|amount| amount.tokens)
    }

    #[test]
    fn the_last_minute_is_told_once_half_of_it_was_seen() {
        let mut spending = Spending::default();
        assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_000)], 0), None, "what was before is not of this minute");
        assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_100)], 10), None);
        assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_300)], 30), Some(600));
        assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_300)], 60), Some(300));
        assert_eq!(tokens(&mut spending, &[agent("a", 1, 5_300)], 90), Some(0));
    }

    #[test]
    fn agents_that_come_go_and_start_anew_are_no_jumps() {
        let mut spending = Spending::default();
        tokens(&mut spending, &[agent("a", 1, 9_000)], 0);
        // "b" has begun since and counts whole; "a" has gone; later "b" has begun anew, and counts from nothing.
        tokens(&mut spending, &[agent("b", 1_005_000, 50)], 20);
        assert_eq!(tokens(&mut spending, &[agent("b", 1_030_000, 20)], 60), Some(70));
        // One that began long ago and was never seen says nothing of this minute.
        assert_eq!(tokens(&mut spending, &[agent("b", 1_030_000, 20), agent("c", 2, 70_000)], 80), Some(20));
    }

    #[test]
    fn a_pool_that_is_gone_is_forgotten() {
        let mut spending = Spending::default();
        tokens(&mut spending, &[agent("a", 1, 1)], 0);
        spending.forget_others();
        assert_eq!(spending.pools.len(), 1, "it was asked about");
        spending.forget_others();
        assert!(spending.pools.is_empty());
    }
}
