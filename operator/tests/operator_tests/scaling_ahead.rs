//! By when documents at earlier stages must start at a later pool: chains, joins, branches, and numbers that cannot be. Pure.

use std::collections::BTreeMap;

use crds::{PipelineSpec, Stage};
use flow::{DueInWork, PodStatus};
use operator::scaling::{
    deadlines::{Dated, Times, ahead, dated},
    foreseen::Load,
    kinds::Waiting,
};
use proptest::prelude::*;
use scaler::DeadlineAhead;
use serde_json::{Value, json};

const NOW: f64 = 1_000.0;

fn pipeline(stages: Value) -> PipelineSpec {
    serde_json::from_value(json!({"stages": stages})).expect("a pipeline")
}

fn stage(name: &str, pool: &str, after: &[&str]) -> Value {
    json!({"name": name, "pool": pool, "after": after, "transform": {"template": "x"}})
}

/// Research of 10 s, drafts of 30 s, and a check of 20 s.
fn chain() -> PipelineSpec {
    pipeline(json!([stage("a", "p", &[]), stage("b", "q", &["a"]), stage("c", "r", &["b"])]))
}

/// The same with a quick branch of 1 s beside the drafts.
fn diamond() -> PipelineSpec {
    pipeline(json!([
        stage("a", "p", &[]),
        stage("quick", "s", &["a"]),
        stage("b", "q", &["a"]),
        stage("c", "r", &["quick", "b"]),
    ]))
}

fn seconds(_: &str, stage: &Stage) -> f64 {
    match stage.name.as_str() {
        "a" => 10.0,
        "quick" => 1.0,
        "b" => 30.0,
        _ => 20.0,
    }
}

const READY: Times<'_> = Times { service: &seconds, start: &|_| 0.0 };

fn at(stage: &str, deadline: f64) -> Dated {
    Dated { pipeline: "review".to_owned(), stage: stage.to_owned(), deadline, waited: Some(0.0), documents: 1.0 }
}

fn pool_of(spec: &PipelineSpec, stage: &str) -> String {
    spec.stages.iter().find(|one| one.name == stage).map(|one| one.pool.clone()).unwrap_or_default()
}

/// What a pool has to expect of these documents.
fn told(
    pool: &str,
    spec: &PipelineSpec,
    documents: &[Dated],
    times: Times<'_>,
    probability: f64,
) -> Vec<DeadlineAhead> {
    let mut loads: BTreeMap<String, Load> = BTreeMap::new();
    for one in documents {
        loads.entry(pool_of(spec, &one.stage)).or_default().dated.push(one.clone());
    }
    ahead(pool, &[("review".to_owned(), spec)], &loads, times, probability, NOW)
}

/// Latest starts and numbers.
fn starts(all: &[DeadlineAhead]) -> Vec<(f64, f64)> {
    all.iter().map(|one| (one.start_by, one.tasks)).collect()
}

#[test]
fn later_pools_know_by_when_they_must_start_what_waits_at_the_first_stage() {
    let spec = chain();
    let of = |pool: &str| told(pool, &spec, &[at("a", 1_180.0)], READY, 0.5);
    // 60 s of work by 1,180, so everything may take three times as long as it does.
    let expected = |at: f64, start_by: f64| [DeadlineAhead { at, start_by, tasks: 1.0, probability: 0.5 }];
    assert_eq!(of("q"), expected(1_010.0, 1_090.0));
    assert_eq!(of("r"), expected(1_040.0, 1_160.0));
    assert_eq!(of("p"), [], "what waits there is no work to come");
}

#[test]
fn a_document_that_waits_uses_up_its_own_share_and_not_that_of_later_stages() {
    let spec = chain();
    let waited = |seconds: f64| Dated { waited: Some(seconds), ..at("a", 1_180.0 - seconds) };
    let of = |pool: &str, one: Dated| starts(&told(pool, &spec, &[one], READY, 1.0));
    for seconds in [0.0, 10.0, 20.0] {
        // Counted from when it came.
        assert_eq!(of("q", waited(seconds)), [(1_090.0 - seconds, 1.0)]);
    }
    // It waits for longer than it may: the next one cannot begin before it comes.
    assert_eq!(of("q", waited(85.0)), [(1_010.0, 1.0)]);
}

#[test]
fn what_is_in_work_comes_sooner_and_has_nothing_to_wait_there() {
    let spec = chain();
    let one = Dated { waited: None, ..at("a", 1_110.0) };
    // Half of the 10 s is over, and 50 s are to come by 1,110: everything may take twice as long.
    let all = told("q", &spec, &[one], READY, 1.0);
    assert_eq!((all[0].at, all[0].start_by), (1_000.0, 1_040.0), "it may come at any moment");
}

#[test]
fn a_pool_without_agents_has_its_start_counted() {
    let spec = chain();
    let times = Times { service: &seconds, start: &|pool| if pool == "q" { 60.0 } else { 0.0 } };
    let of = |pool: &str| starts(&told(pool, &spec, &[at("a", 1_240.0)], times, 1.0));
    // 60 s of work and 60 s of a start by 1,240: the drafts end by 1,200, and start at 1,170 at the latest.
    assert_eq!((of("q"), of("r")), (vec![(1_170.0, 1.0)], vec![(1_220.0, 1.0)]));
}

#[test]
fn at_a_join_a_document_is_one_task_though_it_is_in_both_branches_or_only_in_one() {
    let spec = diamond();
    let tasks =
        |documents: &[Dated]| -> f64 { told("r", &spec, documents, READY, 1.0).iter().map(|one| one.tasks).sum() };
    assert_eq!(tasks(&[at("a", 1_180.0)]), 1.0);
    assert_eq!(tasks(&[at("quick", 1_180.0), at("b", 1_180.0)]), 1.0);
    assert_eq!(tasks(&[at("b", 1_180.0)]), 1.0, "the other branch is done");
    assert_eq!(tasks(&[at("b", 1_180.0), at("quick", 1_190.0), at("b", 1_190.0)]), 2.0);
    // Of many, some are seen in one branch and others in the other one: there they count in parts.
    let sampled = |stage: &str, deadline: f64| Dated { documents: 10.0, ..at(stage, deadline) };
    assert_eq!(tasks(&[sampled("quick", 1_180.0), sampled("b", 1_190.0)]), 10.0);
}

#[test]
fn the_branch_that_takes_longest_says_by_when() {
    let spec = diamond();
    let of = |pool: &str| starts(&told(pool, &spec, &[at("a", 1_180.0)], READY, 1.0));
    assert_eq!(of("r"), [(1_160.0, 1.0)]);
    assert_eq!(of("q"), [(1_090.0, 1.0)]);
    // Behind the quick branch as much is to be done as behind the slow one, and it ends before that one must.
    let quick = of("s")[0].0;
    assert!((1_010.0..1_119.0).contains(&quick), "{quick}");
}

#[test]
fn a_pool_that_has_several_stages_expects_a_document_at_each() {
    let spec = pipeline(json!([stage("a", "p", &[]), stage("b", "q", &["a"]), stage("c", "q", &["b"])]));
    assert_eq!(starts(&told("q", &spec, &[at("a", 1_180.0)], READY, 1.0)), [(1_090.0, 1.0), (1_160.0, 1.0)]);
    assert_eq!(told("q", &spec, &[at("b", 1_180.0)], READY, 1.0), [], "it foresees nothing of itself");
}

#[test]
fn without_a_deadline_or_with_one_that_is_over_or_too_near_nothing_is_expected() {
    let spec = chain();
    let loads = BTreeMap::from([("p".to_owned(), Load { tasks: 30.0, ..Load::default() })]);
    assert_eq!(ahead("r", &[("review".to_owned(), &spec)], &loads, READY, 1.0, NOW), []);
    for deadline in [0.0, 999.0, 1_000.0, 1_039.0] {
        assert_eq!(told("r", &spec, &[at("a", deadline)], READY, 1.0), [], "by {deadline} it cannot be there");
    }
    assert_eq!(starts(&told("r", &spec, &[at("a", 1_050.0)], READY, 1.0)), [(1_040.0, 1.0)], "there is a chance");
    let elsewhere = Dated { pipeline: "other".to_owned(), ..at("a", 1_180.0) };
    assert_eq!(told("r", &spec, &[elsewhere], READY, 1.0), []);
}

#[test]
fn many_documents_are_told_in_few_parts_and_none_is_lost() {
    let spec = chain();
    let documents: Vec<Dated> = (0..1_000).map(|number| at("a", 1_180.0 + f64::from(number))).collect();
    let all = told("r", &spec, &documents, READY, 1.0);
    assert!(all.len() <= 32, "{}", all.len());
    assert!((all.iter().map(|one| one.tasks).sum::<f64>() - 1_000.0).abs() < 1e-6);
    assert!(all.windows(2).all(|pair| pair[0].start_by <= pair[1].start_by));
    assert!(all[0].start_by < 1_180.0 && all[all.len() - 1].start_by > 2_100.0);
}

#[test]
fn agents_say_which_documents_with_a_deadline_are_in_work() {
    let of_stage = |stage: &str, deadlines: Vec<u64>| DueInWork {
        pipeline: "review".to_owned(),
        stage: stage.to_owned(),
        deadlines,
    };
    let due = vec![of_stage("a", vec![1_180_000, 1_190_500]), of_stage("b", vec![])];
    let agents = [PodStatus { due, ..PodStatus::default() }, PodStatus::default()];
    let waits = |deadline: Option<u64>| Waiting {
        pipeline: "review".to_owned(),
        stage: "b".to_owned(),
        size: 1,
        deadline,
        waited: 3.0,
        tasks: 2.5,
    };
    let in_work = |deadline: f64| Dated { waited: None, ..at("a", deadline) };
    let waiting = Dated { waited: Some(3.0), documents: 2.5, ..at("b", 1_200.0) };
    let all = dated(&[waits(None), waits(Some(1_200_000))], &agents);
    assert_eq!(all, [waiting, in_work(1_180.0), in_work(1_190.5)]);
}

#[test]
fn numbers_that_cannot_be_lead_to_none_that_hold_a_pool() {
    let spec = diamond();
    for seconds in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
        let service = |_: &str, _: &Stage| seconds;
        let start = |_: &str| seconds;
        let times = Times { service: &service, start: &start };
        for deadline in [u64::MAX as f64 / 1_000.0, f64::INFINITY, f64::NAN, 1_180.0] {
            for waited in [None, Some(seconds), Some(f64::MAX)] {
                let one = Dated { waited, ..at("a", deadline) };
                for one in told("r", &spec, &[one.clone(), Dated { stage: "b".to_owned(), ..one }], times, 1.0) {
                    let numbers = [one.at, one.start_by, one.tasks];
                    assert!(numbers.iter().all(|number| (0.0..1e12).contains(number)), "{one:?} of {seconds}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of a random graph: a stage must end, begun at its last moment, before one behind it must start.
    #[test]
    fn no_stage_uses_up_what_later_ones_need(
        edges in proptest::collection::vec(any::<bool>(), 45),
        services in proptest::collection::vec(0.1f64..300.0, 10),
        starts_after in proptest::collection::vec(prop_oneof![Just(0.0f64), 1.0f64..100.0], 10),
        slack in 0.0f64..10_000.0,
    ) {
        let mut edge = edges.iter();
        let mut stages = Vec::new();
        for index in 0..10 {
            let mut after: Vec<String> =
                (0..index).filter(|_| edge.next().copied().unwrap_or_default()).map(|before| format!("s{before}")).collect();
            if index > 0 && after.is_empty() {
                after.push("s0".to_owned());
            }
            let after: Vec<&str> = after.iter().map(String::as_str).collect();
            stages.push(stage(&format!("s{index}"), &format!("p{index}"), &after));
        }
        let spec = pipeline(json!(stages));
        let number = |name: &str| name[1..].parse::<usize>().expect("a number");
        let service = |_: &str, stage: &Stage| services[number(&stage.name)];
        let start = |pool: &str| starts_after[number(pool)];
        let times = Times { service: &service, start: &start };
        // More than all stages together take, one after the other.
        let all: f64 = services.iter().sum::<f64>() + starts_after.iter().sum::<f64>();
        let deadline = NOW + all + slack;
        let by = |pool: usize| -> f64 {
            let expected = told(&format!("p{pool}"), &spec, &[at("s0", deadline)], times, 1.0);
            expected.first().map_or(f64::NAN, |one| one.start_by)
        };
        for (index, later) in spec.stages.iter().enumerate().skip(1) {
            let own = by(index);
            prop_assert!(own + services[index] <= deadline + 1e-6, "{index} starts at {own} of {deadline}");
            for earlier in later.after.iter().map(|name| number(name)).filter(|earlier| *earlier > 0) {
                let ends = by(earlier) + services[earlier];
                prop_assert!(ends + starts_after[index] <= own + 1e-6, "{earlier} ends at {ends}, {index} starts by {own}");
            }
        }
    }
}
