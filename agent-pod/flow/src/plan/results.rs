//! The implicit last stage: results are written before a document ends.
//!
//! It follows all last stages, is worked by whoever holds the sinks, and waits as long as these cannot be reached: a
//! document has done its work by then, so neither its deadline nor a branch that still runs changes anything any more.

use std::time::Duration;

use crds::{Backoff, Retry, Span, Stage};

use super::PlannedStage;

/// Name of the implicit stage; no other stage may have it.
pub const RESULTS_STAGE: &str = "results";
/// Its pool in the queue. No AgentPool can have this name.
pub const RESULTS_POOL: &str = "_results";
/// Longest time for one attempt: a batch is written in much less, or the sink is in trouble.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Wait before the second attempt; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait between attempts: soon enough after a database has come back.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Appends the stage.
pub(super) fn append(stages: &mut Vec<PlannedStage>) {
    let mut last = Vec::new();
    for stage in stages.iter_mut().filter(|stage| stage.successors.is_empty()) {
        stage.successors.push(RESULTS_STAGE.to_owned());
        last.push(stage.name.clone());
    }
    let (name, pool) = (RESULTS_STAGE.to_owned(), RESULTS_POOL.to_owned());
    stages.push(PlannedStage {
        name: name.clone(),
        spec: Stage { name, pool, after: last.clone(), ..Stage::default() },
        predecessors: last,
        successors: Vec::new(),
        // A sink that is away is waited for: what was worked for is not thrown away.
        retry: Retry { max_attempts: u32::MAX, backoff: Backoff { initial: Span(FIRST_WAIT), factor: 2.0 } },
        timeout: TIMEOUT,
        adaptive: false,
        fallbacks: Vec::new(),
        repeats: false,
    });
}

impl PlannedStage {
    /// Whether it is the implicit stage that writes results.
    pub fn writes_results(&self) -> bool {
        self.name == RESULTS_STAGE
    }

    /// Whether the document's output is made here: no other stage that a person wrote follows.
    pub fn is_last(&self) -> bool {
        !self.writes_results() && self.successors.iter().all(|next| next == RESULTS_STAGE)
    }
}
