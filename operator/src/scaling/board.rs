//! What the autoscaler has to say of each pool, for whoever writes the pools' status: one write then serves all numbers.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crds::{AgentPoolStatus, ScalingStatus};
use k8s_openapi::jiff::Timestamp;

use super::seen::Pool;
use crate::condition::{self, Observed};

/// The last word on each pool.
#[derive(Default)]
pub struct Board {
    reports: Mutex<HashMap<Pool, Report>>,
}

/// What is said of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which one: another of the same name has nothing to do with it.
    pub uid: Option<String>,
    /// The generation that was decided about.
    pub generation: Option<i64>,
    /// The numbers.
    pub scaling: ScalingStatus,
    /// Whether the autoscaler acts.
    pub active: Observed,
}

impl Board {
    /// Says it, in place of what was said before.
    pub fn say(&self, pool: Pool, report: Report) {
        self.reports().insert(pool, report);
    }

    /// The pool is gone, or is not scaled any more.
    pub fn forget(&self, pool: &Pool) {
        self.reports().remove(pool);
    }

    /// Another process may have said something else meanwhile.
    pub fn forget_all(&self) {
        self.reports().clear();
    }

    /// What is said of the pool with this uid.
    pub fn of(&self, pool: &Pool, uid: Option<&str>) -> Option<Report> {
        self.reports().get(pool).filter(|report| report.uid.as_deref() == uid).cloned()
    }

    fn reports(&self) -> MutexGuard<'_, HashMap<Pool, Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// A status that says it. What a pass decides of scaling stays as it is.
    pub fn in_status(self, mut status: AgentPoolStatus, now: Timestamp) -> AgentPoolStatus {
        // Before its next pass, or after `scaling` was taken away, the status has no place for it.
        let Some(before) = status.scaling.take() else { return status };
        let (mode, replicas_set_aside) = (before.mode, before.replicas_set_aside);
        status.scaling = Some(ScalingStatus { mode, replicas_set_aside, ..self.scaling });
        let active = condition::merge(&status.conditions, vec![self.active], self.generation, now);
        for condition in active {
            match status.conditions.iter_mut().find(|there| there.type_ == condition.type_) {
                Some(there) => *there = condition,
                None => status.conditions.push(condition),
            }
        }
        status
    }
}
