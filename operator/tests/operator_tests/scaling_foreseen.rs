//! Work that is on its way from the pools before: what is foreseen of it, and what is learned of how much of it comes.

use std::collections::{BTreeMap, BTreeSet};

use crds::PipelineSpec;
use operator::scaling::foreseen::{Branches, Finished, Load, Remembered, foreseen, handed_on, upstream};
use serde_json::{Value, json};

fn pipeline(stages: Value) -> PipelineSpec {
    serde_json::from_value(json!({"stages": stages})).expect("a pipeline")
}

fn stage(name: &str, pool: &str, after: &[&str]) -> Value {
    json!({"name": name, "pool": pool, "after": after, "transform": {"template": "x"}})
}

fn load(tasks: f64, slots: f64, stages: &[(&str, f64, f64)]) -> Load {
    let stages = stages.iter().map(|(stage, count, mean)| (("review".into(), (*stage).into()), (*count, *mean)));
    Load { tasks, slots, finished: Some(100), stages: stages.collect(), ..Load::default() }
}

#[test]
fn documents_at_earlier_stages_are_foreseen_with_the_time_that_they_take() {
    let spec = pipeline(json!([stage("a", "p", &[]), stage("b", "q", &["a"]), stage("c", "r", &["b"])]));
    let pipelines = [("review".to_owned(), &spec)];
    assert_eq!(upstream("r", &pipelines), BTreeSet::from(["p".to_owned(), "q".to_owned()]));
    assert_eq!(upstream("p", &pipelines), BTreeSet::new());
    let loads = BTreeMap::from([
        ("p".to_owned(), load(10.0, 2.0, &[("a", 5.0, 4.0)])),
        ("q".to_owned(), load(3.0, 1.0, &[("b", 5.0, 6.0)])),
    ]);
    let mut all = foreseen("r", &pipelines, &loads, &Branches::default(), 1_000.0);
    all.sort_by(|one, other| one.at.total_cmp(&other.at));
    let seen: Vec<(f64, f64, f64)> = all.iter().map(|it| (it.at, it.over, it.tasks)).collect();
    assert_eq!(seen, [(1_003.0, 18.0, 3.0), (1_008.0, 20.0, 10.0)]);
    assert!(all.iter().all(|it| it.probability == 1.0));
    let idle = BTreeMap::from([("p".to_owned(), load(0.0, 2.0, &[])), ("q".to_owned(), load(0.0, 1.0, &[]))]);
    assert_eq!(foreseen("r", &pipelines, &idle, &Branches::default(), 1_000.0), []);
}

#[test]
fn the_parts_of_a_join_make_one_task_and_a_pool_foresees_nothing_of_itself() {
    let spec = pipeline(json!([
        stage("a", "p", &[]),
        stage("b", "q", &["a"]),
        stage("c", "s", &["a"]),
        stage("d", "r", &["b", "c"]),
        stage("e", "r", &["d"]),
    ]));
    let pipelines = [("review".to_owned(), &spec)];
    let one = |pool: &str| BTreeMap::from([(pool.to_owned(), load(8.0, 1.0, &[]))]);
    let tasks = |pool: &str| -> f64 {
        foreseen("r", &pipelines, &one(pool), &Branches::default(), 0.0).iter().map(|it| it.tasks).sum()
    };
    // A document at "a" becomes one task of "d" and then one of "e"; one at "b" a part of each.
    assert_eq!((tasks("p"), tasks("q"), tasks("s"), tasks("r")), (16.0, 8.0, 8.0, 0.0));
}

#[test]
fn work_of_a_pool_with_several_stages_is_shared_as_it_was_of_late() {
    let spec = pipeline(json!([stage("a", "p", &[]), stage("b", "p", &[]), stage("c", "r", &["b"])]));
    let pipelines = [("review".to_owned(), &spec)];
    let tasks = |stages: &[(&str, f64, f64)]| -> f64 {
        let loads = BTreeMap::from([("p".to_owned(), load(12.0, 1.0, stages))]);
        foreseen("r", &pipelines, &loads, &Branches::default(), 0.0).iter().map(|it| it.tasks).sum()
    };
    assert_eq!(tasks(&[]), 6.0, "before anything was measured");
    assert_eq!(tasks(&[("a", 9.0, 1.0), ("b", 3.0, 1.0)]), 3.0);
    // What is known to wait goes before that; the other two tasks are in work.
    let waiting = BTreeMap::from([(("review".to_owned(), "b".to_owned()), 10.0)]);
    let known = Load { waiting, ..load(12.0, 1.0, &[("a", 9.0, 1.0), ("b", 3.0, 1.0)]) };
    let known = BTreeMap::from([("p".to_owned(), known)]);
    let all = foreseen("r", &pipelines, &known, &Branches::default(), 0.0);
    assert_eq!(all.iter().map(|it| it.tasks).collect::<Vec<_>>(), [10.5]);
    let loads = BTreeMap::from([("p".to_owned(), load(0.0, 1.0, &[("a", 9.0, 1.0), ("b", 3.0, 1.0)]))]);
    let finished = Finished { tasks: Some(100), share: 0.25 };
    assert_eq!(handed_on("r", &pipelines, &loads), BTreeMap::from([("p".to_owned(), finished)]));
    let unknown = Finished { tasks: None, share: 0.0 };
    assert_eq!(handed_on("r", &pipelines, &BTreeMap::new()), BTreeMap::from([("p".to_owned(), unknown)]));
}

#[test]
fn stages_that_are_often_skipped_are_foreseen_less() {
    let mut branches = Branches::default();
    assert_eq!(branches.probability(), 1.0);
    branches.learn(&finished("p", Some(0), 1.0), 0);
    branches.learn(&finished("p", Some(100), 1.0), 20);
    let probability = branches.probability();
    assert!((0.2..0.3).contains(&probability), "{probability}");
    for round in 2..40_u64 {
        branches.learn(&finished("p", Some(round * 100), 1.0), 20 + (round - 1) * 150);
    }
    assert_eq!(branches.probability(), 1.0, "documents may come from elsewhere, too");
}

/// What one pool has finished, of which so much is handed on.
fn finished(pool: &str, tasks: Option<u64>, share: f64) -> BTreeMap<String, Finished> {
    BTreeMap::from([(pool.to_owned(), Finished { tasks, share })])
}

/// A pool before has finished many tasks, all of which came.
fn all_came() -> Branches {
    let mut branches = Branches::default();
    branches.learn(&finished("p", Some(50_000), 1.0), 50_000);
    branches.learn(&finished("p", Some(50_100), 1.0), 50_100);
    assert_eq!(branches.probability(), 1.0);
    branches
}

#[test]
fn a_pool_before_that_cannot_be_read_for_a_moment_leaves_what_was_learned_of_branches() {
    let mut branches = all_came();
    branches.learn(&finished("p", None, 0.0), 50_110);
    assert_eq!(branches.probability(), 1.0);
    branches.learn(&finished("p", Some(50_120), 1.0), 50_120);
    assert!(branches.probability() > 0.9, "{}", branches.probability());
    // What was finished meanwhile is counted, and only that.
    branches.learn(&finished("p", None, 0.0), 50_120);
    branches.learn(&finished("p", Some(51_120), 1.0), 50_120);
    assert!(branches.probability() < 0.2, "{}", branches.probability());
}

#[test]
fn another_share_makes_no_tasks_of_those_that_were_finished_long_ago() {
    let mut branches = all_came();
    for share in [0.5, 1.0, 0.9, 1.0] {
        branches.learn(&finished("p", Some(50_100), share), 50_100);
    }
    assert_eq!(branches.probability(), 1.0);
}

#[test]
fn a_counter_that_begins_anew_and_a_pool_that_is_new_hand_nothing_on() {
    let mut branches = all_came();
    branches.learn(&finished("p", Some(3), 1.0), 50_100);
    branches.learn(&finished("q", Some(90_000), 1.0), 50_100);
    // It comes back with more than it had: what it did elsewhere was not done for this pool.
    branches.learn(&finished("p", Some(60_000), 1.0), 50_100);
    assert_eq!(branches.probability(), 1.0);
}

#[test]
fn what_was_learned_of_branches_before_is_still_read() {
    let before: Branches = serde_json::from_value(json!({"expected": 100.0, "came": 20.0})).expect("a record");
    assert!((0.2..0.3).contains(&before.probability()), "{}", before.probability());
    assert_eq!(serde_json::to_value(&before).expect("plain data"), json!({"expected": 100.0, "came": 20.0}));
}

#[test]
fn work_at_a_pool_of_which_the_broker_does_not_tell_for_a_while_is_foreseen_as_it_was() {
    let mut remembered = Remembered::default();
    let untold = || load(0.0, 4.0, &[]);
    assert_eq!(remembered.load(untold(), false, 90.0).tasks, 0.0, "nothing was told yet");
    assert_eq!(remembered.load(Load { begins_in: 12.0, ..load(7.0, 4.0, &[]) }, true, 100.0).tasks, 7.0);
    let later = remembered.load(untold(), false, 110.0);
    assert_eq!((later.tasks, later.begins_in), (7.0, 2.0));
    assert_eq!(remembered.load(load(0.0, 4.0, &[]), true, 120.0).tasks, 0.0, "it is done");
    assert_eq!(remembered.load(load(5.0, 4.0, &[]), true, 130.0).tasks, 5.0);
    assert_eq!(remembered.load(untold(), false, 300.0).tasks, 0.0, "too long ago");
}
