//! How long tasks had waited, summed over agents that come, begin anew and go. The sums never fall. Knows no broker.

use std::collections::HashMap;

use flow::{Millis, PodStatus};
use scaler::Waits;
use serde::{Deserialize, Serialize};

/// Sums of what agents count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitSums {
    started: u64,
    late: u64,
    /// Whether any agent ever counted.
    counted: bool,
    /// The target that `late` is counted by, in seconds.
    target: f64,
    /// What each agent had counted when it spoke last. Not kept: whoever takes over counts from what it meets.
    #[serde(skip)]
    agents: HashMap<String, Counted>,
    /// When this began to look, in milliseconds since 1970: what an agent counted before, others have summed.
    #[serde(skip)]
    since: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    began: Millis,
    started: u64,
    late: u64,
}

impl WaitSums {
    /// Adds what the agents have counted since they spoke last. `target` is in seconds, `now` in milliseconds since 1970.
    pub fn add(&mut self, agents: &[PodStatus], target: f64, now: Millis) {
        let since = *self.since.get_or_insert(now);
        // Counts by another target cannot be compared.
        let comparable = (self.target - target).abs() < f64::EPSILON;
        self.target = target;
        let before = std::mem::take(&mut self.agents);
        for agent in agents {
            let Some(waits) = &agent.waits else { continue };
            let counted = Counted { began: agent.began, started: waits.started, late: flow::late(waits, target) };
            let base = match before.get(&agent.name) {
                Some(known) if known.began == counted.began => *known,
                Some(_) => Counted { started: 0, late: 0, ..counted },
                None if counted.began >= since => Counted { started: 0, late: 0, ..counted },
                None => counted,
            };
            let started = counted.started.saturating_sub(base.started);
            let late = if comparable { counted.late.saturating_sub(base.late).min(started) } else { 0 };
            self.started = self.started.saturating_add(started);
            self.late = self.late.saturating_add(late);
            self.counted = true;
            self.agents.insert(agent.name.clone(), counted);
        }
        // One that is silent for a moment must not be counted again when it speaks.
        for (name, known) in before {
            self.agents.entry(name).or_insert(known);
        }
        const REMEMBERED: usize = 20_000;
        if self.agents.len() > REMEMBERED {
            self.agents.retain(|name, _| agents.iter().any(|agent| agent.name == *name));
        }
    }

    /// The sums; `None` where no agent ever counted.
    pub fn sums(&self) -> Option<Waits> {
        self.counted.then_some(Waits { started: self.started, late: self.late })
    }
}
