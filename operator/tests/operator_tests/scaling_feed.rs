//! What the decision is fed with: work by stage and size, and deadlines. Pure.

use std::{collections::BTreeMap, time::Duration};

use crds::{PipelineSpec, Priority, Stage};
use flow::{PodStatus, ServiceTime, Task};
use operator::scaling::{
    deadlines::{Times, deadlines},
    foreseen::{Load, service_of},
    kinds::{Waiting, waiting, work},
};
use queue::{Depth, jetstream::Sampled};
use serde_json::{Value, json};

fn depth(pending: u64, in_work: u64) -> Depth {
    Depth { pending: [0, 0, pending, 0], in_work, arrived: 50, finished: 40, ..Depth::default() }
}

fn waits(stage: &str, size: u8, tasks: f64) -> Waiting {
    Waiting { pipeline: "review".to_owned(), stage: stage.to_owned(), size, deadline: None, waited: 0.0, tasks }
}

fn agent(times: &[(&str, u8, u32, f64)]) -> PodStatus {
    let time = |(stage, size, count, mean): &(&str, u8, u32, f64)| ServiceTime {
        pipeline: "review".to_owned(),
        stage: (*stage).to_owned(),
        document_size: *size,
        count: *count,
        mean: *mean,
        p95: *mean,
        ..ServiceTime::default()
    };
    PodStatus { service_times: times.iter().map(time).collect(), ..PodStatus::default() }
}

/// Stage, size, what waits, what is in work, and the mean time.
fn told(depth: &Depth, waiting: &[Waiting], agents: &[PodStatus]) -> Vec<(String, u8, u64, u64, Option<f64>)> {
    let work = work(depth, waiting, agents).into_iter();
    work.map(|work| (work.stage, work.size, work.pending, work.in_work, work.service.map(|time| time.mean))).collect()
}

// Work by stage and size.

#[test]
fn what_was_sampled_says_stage_size_and_deadline() {
    let task = Task {
        document: "d".to_owned(),
        pipeline: "review".to_owned(),
        plan: "11".to_owned(),
        stage: "draft".to_owned(),
        pool: "writers".to_owned(),
        round: 0,
        epoch: 0,
        attempt: 1,
        priority: Priority::Normal,
        deadline: Some(90_000),
        bytes: Some(70_000),
    };
    let sampled = |body: Vec<u8>| Sampled {
        priority: queue::Priority::Normal,
        body: body.into(),
        stands_for: 12.5,
        waited: Duration::from_millis(2_500),
    };
    let found = waiting(&[sampled(task.encode()), sampled(b"nonsense".to_vec())]);
    let expected = Waiting { deadline: Some(90_000), waited: 2.5, ..waits("draft", 3, 12.5) };
    assert_eq!(found, [expected]);
}

#[test]
fn work_is_told_by_stage_and_size_and_its_sums_are_the_brokers() {
    let agents = [agent(&[("parse", 1, 30, 1.0), ("draft", 1, 10, 9.0), ("draft", 3, 10, 30.0)])];
    let sample = [waits("parse", 1, 60.0), waits("draft", 3, 30.0), waits("draft", 5, 10.0)];
    let all = told(&depth(101, 42), &sample, &agents);
    assert_eq!((all.iter().map(|kind| kind.2).sum::<u64>(), all.iter().map(|kind| kind.3).sum::<u64>()), (101, 42));
    // In work is what keeps agents busy: 30, 90 and 300 seconds of the newest tasks.
    assert_eq!(all[0], ("review/draft".to_owned(), 1, 0, 9, Some(9.0)));
    assert_eq!(all[1], ("review/draft".to_owned(), 3, 30, 30, Some(30.0)));
    assert_eq!(all[2], ("review/draft".to_owned(), 5, 10, 0, Some(19.5)), "of another size, the stage's mean");
    assert_eq!(all[3], ("review/parse".to_owned(), 1, 61, 3, Some(1.0)));
}

#[test]
fn kinds_count_as_often_as_they_come_however_many_of_each_are_measured() {
    // Of a hundred tasks 97 take 1.6 s and 3 two minutes, of one stage and size and of two; the newest 128 of each are measured.
    let often = |mut agent: PodStatus| {
        for (time, of_all) in agent.service_times.iter_mut().zip([132, 4_267]) {
            time.of_all = of_all;
        }
        agent
    };
    let by_size = [often(agent(&[("draft", 1, 128, 1.6), ("draft", 3, 128, 120.0)]))];
    let all = work(&depth(0, 50), &[], &by_size);
    let share = |kind: usize| all[kind].share.expect("it is known");
    assert!((share(1) / (share(0) + share(1)) - 0.03).abs() < 1e-3, "{all:?}");
    // In work for 1.55 of 5.15 s, and for 3.6.
    assert_eq!((all[0].in_work, all[1].in_work), (15, 35));
    let of_one_size = [often(agent(&[("draft", 1, 128, 1.6), ("draft", 1, 128, 120.0)]))];
    let mean = told(&depth(0, 50), &[], &of_one_size)[0].4.expect("it is known");
    assert!((mean - 5.15).abs() < 0.05, "{mean}");
    // An agent of an earlier version does not say.
    let all = work(&depth(0, 50), &[], &[by_size[0].clone(), agent(&[("draft", 1, 128, 1.6)])]);
    assert_eq!((all[0].share, all[1].share), (None, None));
}

#[test]
fn a_burst_of_short_tasks_is_less_work_than_one_of_long_ones() {
    let agents = [agent(&[("parse", 1, 50, 1.0), ("draft", 1, 50, 30.0)])];
    let seconds = |stage: &str| -> f64 {
        let all = told(&depth(100, 0), &[waits(stage, 1, 100.0)], &agents);
        all.iter().map(|(_, _, pending, _, mean)| *pending as f64 * mean.unwrap_or(f64::NAN)).sum()
    };
    assert_eq!((seconds("parse"), seconds("draft")), (100.0, 3_000.0));
}

#[test]
fn without_a_sample_the_newest_tasks_say_what_waits() {
    let agents = [agent(&[("parse", 1, 30, 1.0), ("draft", 1, 10, 9.0)])];
    let all = told(&depth(40, 0), &[], &agents);
    assert_eq!(
        all.iter().map(|kind| (kind.0.as_str(), kind.2)).collect::<Vec<_>>(),
        [("review/draft", 10), ("review/parse", 30)]
    );
    assert_eq!(told(&depth(40, 2), &[], &[]), [(String::new(), 0, 40, 2, None)], "nobody knows anything");
}

#[test]
fn more_kinds_than_can_be_learned_are_told_less_finely() {
    let stages: Vec<String> = (0..20).map(|number| format!("stage-{number:02}")).collect();
    let by_size: Vec<Waiting> =
        stages.iter().take(5).flat_map(|stage| (1..4).map(|size| waits(stage, size, 1.0))).collect();
    let all = told(&depth(15, 0), &by_size, &[]);
    assert_eq!((all.len(), all[0].0.as_str(), all[0].1, all[0].2), (5, "review/stage-00", 0, 3));
    let by_stage: Vec<Waiting> = stages.iter().map(|stage| waits(stage, 1, 1.0)).collect();
    let times: Vec<(&str, u8, u32, f64)> = stages.iter().map(|stage| (stage.as_str(), 1, 2, 4.0)).collect();
    assert_eq!(told(&depth(20, 3), &by_stage, &[agent(&times)]), [(String::new(), 0, 20, 3, Some(4.0))]);
}

// Deadlines.

fn pipeline(stages: Value) -> PipelineSpec {
    serde_json::from_value(json!({"stages": stages})).expect("a pipeline")
}

fn stage(name: &str, pool: &str, after: &[&str]) -> Value {
    json!({"name": name, "pool": pool, "after": after, "transform": {"template": "x"}})
}

fn diamond() -> PipelineSpec {
    pipeline(json!([
        stage("a", "p", &[]),
        stage("quick", "q", &["a"]),
        stage("slow", "q", &["a"]),
        stage("end", "r", &["quick", "slow"]),
    ]))
}

fn seconds(_: &str, stage: &Stage) -> f64 {
    match stage.name.as_str() {
        "a" => 10.0,
        "quick" => 1.0,
        "slow" => 30.0,
        _ => 20.0,
    }
}

const READY: Times<'_> = Times { service: &seconds, start: &|_| 0.0 };

fn start_by(stage: &str, deadline: u64) -> Vec<f64> {
    start_by_after(stage, deadline, 0.0, READY)
}

fn start_by_after(stage: &str, deadline: u64, waited: f64, times: Times<'_>) -> Vec<f64> {
    let spec = diamond();
    let one = Waiting { deadline: Some(deadline), waited, ..waits(stage, 1, 3.0) };
    let due = deadlines(&[one], &[("review".to_owned(), &spec)], times, 1_000.0);
    assert!(due.iter().all(|due| due.tasks == 3.0));
    due.iter().map(|due| due.start_by).collect()
}

#[test]
fn what_a_document_may_wait_is_split_over_the_longest_path() {
    // 60 s of work by 1,180 s, so 120 s to wait; 10 of 60 s of the work are this stage's.
    assert_eq!(start_by("a", 1_180_000), [1_020.0]);
    // Behind the quick branch are 20 s alone.
    assert_eq!(start_by("quick", 1_063_000), [1_002.0]);
    assert_eq!(start_by("end", 1_120_000), [1_100.0]);
    assert_eq!(start_by("a", 1_030_000), [1_000.0], "there is no time to wait");
    assert_eq!(start_by("a", 999_000), [0.0; 0], "nothing helps it");
    assert_eq!(start_by("elsewhere", 1_180_000), [0.0; 0]);
    assert_eq!(start_by("a", u64::MAX), [0.0; 0], "it has for ever");
}

#[test]
fn what_a_document_has_waited_already_is_of_its_own_share() {
    // It came 60 s ago, at 940, and had 120 s to wait in all: the 20 s of this stage are over, and the others keep theirs.
    assert_eq!(start_by_after("a", 1_120_000, 60.0, READY), [960.0]);
    assert_eq!(start_by_after("a", 1_120_000, f64::NAN, READY), [1_010.0]);
}

#[test]
fn a_later_pool_without_agents_leaves_the_earlier_ones_less_to_wait() {
    let times = Times { service: &seconds, start: &|pool| if pool == "r" { 60.0 } else { 0.0 } };
    // 60 s of work and a start of 60 s by 1,240: 120 s more, of which a twelfth is the first stage's.
    assert_eq!(start_by_after("a", 1_240_000, 0.0, times), [1_010.0]);
    assert_eq!(start_by("a", 1_240_000), [1_030.0]);
}

#[test]
fn a_cycle_ends() {
    let spec = pipeline(json!([stage("a", "p", &["b"]), stage("b", "p", &["a"])]));
    let one = Waiting { deadline: Some(1_100_000), ..waits("a", 1, 1.0) };
    let times = Times { service: &|_, _| 10.0, start: &|_| 0.0 };
    assert_eq!(deadlines(&[one], &[("review".to_owned(), &spec)], times, 1_000.0).len(), 1);
}

#[test]
fn a_stage_that_was_never_measured_takes_as_long_as_the_others() {
    let spec = diamond();
    let pipelines = [("review".to_owned(), &spec)];
    let times = |stage: &str, mean: f64| (("review".to_owned(), stage.to_owned()), (5.0, mean));
    let loads = BTreeMap::from([
        ("p".to_owned(), Load { stages: BTreeMap::from([times("a", 2.0)]), ..Load::default() }),
        ("q".to_owned(), Load { stages: BTreeMap::from([times("slow", 4.0)]), ..Load::default() }),
    ]);
    let of = |position: usize, loads| service_of("review", &spec.stages[position], &pipelines, loads);
    assert_eq!((of(0, &loads), of(2, &loads), of(3, &loads)), (2.0, 4.0, 3.0));
    assert_eq!(of(3, &BTreeMap::new()), 10.0);
}
