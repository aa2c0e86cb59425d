//! When a document will have ended, by how long work takes and how much of it waits. Pure: numbers in, numbers out.
//!
//! ```text
//! a pool's wait  =  (tasks that wait + half of those in work) * mean time of a task / slots
//! a document     =  its longest way through the stages that are left, each with its pool's wait before it
//! ```
//! It is a guess by what was measured. What it leaves out: that urgent documents overtake others, quality rounds, retries,
//! stages that their condition will skip, and documents that have yet to come.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use flow::{Plan, PodStatus};

/// Least and most that a client is asked to stay away: less is a busy loop, and after more things have changed.
const RETRY_BOUNDS: (f64, f64) = (1.0, 300.0);

/// What is known of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PoolLoad {
    /// Tasks that nobody has taken.
    pub(super) waiting: u64,
    /// Tasks that somebody has taken.
    pub(super) in_work: u64,
    /// Tasks that its workers can work at once.
    pub(super) slots: u64,
    /// Seconds of a task by pipeline and stage, with the number of tasks that this is the mean of.
    pub(super) stages: BTreeMap<(String, String), (u64, f64)>,
}

impl PoolLoad {
    /// By what a pool's workers say of themselves.
    pub(super) fn new<'a>(waiting: u64, in_work: u64, workers: impl Iterator<Item = &'a PodStatus>) -> Self {
        let mut load = Self { waiting, in_work, ..Self::default() };
        for worker in workers {
            if worker.ready && !worker.cordoned {
                load.slots += u64::from(worker.slots);
            }
            for time in &worker.service_times {
                let (count, mean) = load.stages.entry((time.pipeline.clone(), time.stage.clone())).or_default();
                let more = u64::from(time.count);
                if more > 0 {
                    *mean = (*mean * *count as f64 + time.mean * more as f64) / (*count + more) as f64;
                    *count += more;
                }
            }
        }
        load
    }

    /// Seconds until a task that comes now is taken; `None` where that is not known.
    fn wait(&self) -> Option<f64> {
        let ahead = self.waiting as f64 + self.in_work as f64 / 2.0;
        if self.slots == 0 {
            return None;
        }
        // What waits is of stages in the same measure as what was done.
        let done: u64 = self.stages.values().map(|(count, _)| count).sum();
        let seconds: f64 = self.stages.values().map(|(count, mean)| *count as f64 * mean).sum();
        match (ahead > 0.0, done) {
            (false, _) => Some(0.0),
            (true, 0) => None,
            (true, done) => Some(ahead * (seconds / done as f64) / self.slots as f64),
        }
    }
}

/// Seconds until a document ends of which these stages are done; `None` where something on its way was never measured.
pub(super) fn remaining(
    plan: &Plan,
    is_done: impl Fn(&str) -> bool,
    pools: &BTreeMap<String, PoolLoad>,
) -> Option<f64> {
    let mut ends: HashMap<&str, f64> = HashMap::new();
    let mut total = 0.0;
    for stage in plan.stages() {
        let begins = stage.predecessors.iter().filter_map(|before| ends.get(before.as_str())).copied();
        let mut end = begins.fold(0.0, f64::max);
        if !is_done(&stage.name) {
            let pool = pools.get(&stage.spec.pool)?;
            let (_, seconds) = pool.stages.get(&(plan.name.clone(), stage.name.clone()))?;
            let takes = pool.wait()? + seconds;
            end += takes;
            total += takes;
        }
        ends.insert(&stage.name, end);
    }
    // One after the other, where the pipeline says so.
    Some(if plan.spec.parallel { ends.into_values().fold(0.0, f64::max) } else { total })
}

/// When a client may try again whose pipeline has `in_flight` documents, as many as it may, of which a new one would take
/// `seconds`: by then one of them should have ended. `None` where nothing is measured.
pub(super) fn retry_after(seconds: Option<f64>, in_flight: usize) -> Option<Duration> {
    let between_ends = seconds.filter(|seconds| seconds.is_finite())? / in_flight.max(1) as f64;
    Some(Duration::from_secs_f64(between_ends.clamp(RETRY_BOUNDS.0, RETRY_BOUNDS.1).ceil()))
}

#[cfg(test)]
mod tests {
    use flow::ServiceTime;
    use serde_json::{Value, json};

    use super::*;

    fn plan(more: &Value) -> Plan {
        let stage = |name: &str, pool: &str, after: &[&str]| json!({"name": name, "pool": pool, "after": after, "transform": {"template": "a"}});
        let mut spec = json!({"stages": [
            stage("parse", "readers", &[]),
            stage("draft", "writers", &["parse"]),
            stage("size", "readers", &["parse"]),
            stage("both", "readers", &["draft", "size"]),
        ]});
        for (name, value) in more.as_object().unwrap_or_else(|| panic!("fields")) {
            spec[name] = value.clone();
        }
        let pool = || serde_json::from_value(json!({})).expect("a pool");
        let pools = BTreeMap::from([("readers".to_owned(), pool()), ("writers".to_owned(), pool())]);
        flow::compile("p", 1, &serde_json::from_value(spec).expect("a pipeline"), &pools).expect("a plan")
    }

    fn worker(slots: u32, times: &[(&str, u32, f64)]) -> PodStatus {
        let time = |(stage, count, mean): &(&str, u32, f64)| ServiceTime {
            pipeline: "p".to_owned(),
            stage: (*stage).to_owned(),
            count: *count,
            mean: *mean,
            ..ServiceTime::default()
        };
        PodStatus { ready: true, slots, service_times: times.iter().map(time).collect(), ..PodStatus::default() }
    }

    fn pools(waiting: u64) -> BTreeMap<String, PoolLoad> {
        let readers = worker(4, &[("parse", 10, 0.5), ("size", 10, 1.0), ("both", 10, 1.5)]);
        let writers = worker(2, &[("draft", 5, 8.0)]);
        BTreeMap::from([
            ("readers".to_owned(), PoolLoad::new(0, 0, [readers].iter())),
            ("writers".to_owned(), PoolLoad::new(waiting, 0, [writers].iter())),
        ])
    }

    #[test]
    fn means_of_workers_and_sizes_are_weighed_by_their_tasks_and_only_those_who_take_tasks_have_slots() {
        let workers = [
            worker(4, &[("a", 1, 1.0), ("a", 2, 4.0), ("b", 0, 0.0)]),
            PodStatus { cordoned: true, ..worker(4, &[("a", 1, 3.0)]) },
        ];
        let load = PoolLoad::new(7, 2, workers.iter());
        assert_eq!((load.slots, load.waiting, load.in_work), (4, 7, 2));
        assert_eq!(load.stages[&("p".to_owned(), "a".to_owned())], (4, 3.0));
        // Seven and half of two, of three seconds each, for four slots.
        assert_eq!(load.wait(), Some(6.0));
    }

    #[test]
    fn a_document_takes_its_longest_way_and_waits_before_each_stage() {
        let none = |_: &str| false;
        assert_eq!(remaining(&plan(&json!({})), none, &pools(0)), Some(0.5 + 8.0 + 1.5));
        assert_eq!(remaining(&plan(&json!({})), none, &pools(10)), Some(0.5 + (10.0 * 8.0 / 2.0 + 8.0) + 1.5));
        assert_eq!(remaining(&plan(&json!({"parallel": false})), none, &pools(0)), Some(0.5 + 8.0 + 1.0 + 1.5));
    }

    #[test]
    fn what_is_done_takes_no_time() {
        let plan = plan(&json!({}));
        assert_eq!(remaining(&plan, |stage| ["parse", "draft"].contains(&stage), &pools(10)), Some(1.0 + 1.5));
        assert_eq!(remaining(&plan, |_| true, &pools(10)), Some(0.0));
    }

    #[test]
    fn what_was_never_measured_is_not_guessed() {
        let plan = plan(&json!({}));
        let mut unmeasured = pools(0);
        unmeasured.insert("writers".to_owned(), PoolLoad::new(3, 0, [worker(2, &[])].iter()));
        assert_eq!(remaining(&plan, |_| false, &unmeasured), None);
        let mut nobody = pools(0);
        nobody.insert("writers".to_owned(), PoolLoad::new(0, 0, std::iter::empty()));
        assert_eq!(remaining(&plan, |_| false, &nobody), None);
        assert_eq!(remaining(&plan, |stage| stage == "draft", &nobody), Some(0.5 + 1.0 + 1.5), "it is not on the way");
        assert_eq!(remaining(&plan, |_| false, &BTreeMap::new()), None);
    }

    #[test]
    fn a_client_comes_back_when_one_of_its_documents_should_have_ended_within_bounds() {
        assert_eq!(retry_after(Some(120.0), 10), Some(Duration::from_secs(12)));
        assert_eq!(retry_after(Some(0.01), 10_000), Some(Duration::from_secs(1)));
        assert_eq!(retry_after(Some(1e9), 1), Some(Duration::from_secs(300)));
        assert_eq!(retry_after(Some(2.1), 1), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(None, 10), None);
        assert_eq!(retry_after(Some(f64::INFINITY), 10), None);
    }
}
