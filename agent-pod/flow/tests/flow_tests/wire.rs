//! What is written can be read, and what cannot be read says why.

use crate::flow_support::{plan, stage, submission};
use flow::{
    Alarm, CacheCounts, Completion, DecodeError, DocumentRecord, DueInWork, Effect, GatewayStatus, HeldModel,
    LearnedHead, PipelineTally, Plan, PodStatus, PoolOrders, ServiceTime, Spent, StageStatus, Task, Timer, Traces,
    WaitCounts, submit,
};
use serde_json::json;

fn example() -> (Plan, DocumentRecord) {
    let plan = plan(json!({"stages": [stage("a", &[], json!({})), stage("b", &["a"], json!({}))], "deadline": "10m"}));
    let record = submit(&plan, submission(), 1_000).record;
    (plan, record)
}

/// The first field, which is the version, set to another one.
fn with_version(mut bytes: Vec<u8>, version: u8) -> Vec<u8> {
    assert_eq!(bytes[..2], [8, 1], "a message begins with its version");
    bytes[1] = version;
    bytes
}

#[test]
fn a_newer_version_is_named() {
    let (_, record) = example();
    let error = DocumentRecord::decode(&with_version(record.encode(), 9)).expect_err("version 9 is newer");
    assert_eq!(error.to_string(), "a record of version 9 is newer than version 1, which this program reads");
}

#[test]
fn a_newer_form_is_named_even_where_it_looks_malformed() {
    let mut bytes = with_version(example().1.encode(), 2);
    // Field 3, here a text, as a number.
    bytes.extend([24, 5]);
    assert!(matches!(DocumentRecord::decode(&bytes), Err(DecodeError::Newer { found: 2, .. })));
    bytes[1] = 1;
    assert!(matches!(DocumentRecord::decode(&bytes), Err(DecodeError::Malformed { .. })));
}

#[test]
fn a_field_of_a_later_minor_form_is_passed_over() {
    let (_, record) = example();
    let mut bytes = record.encode();
    // Field 100, a number.
    bytes.extend([0xa0, 0x06, 7]);
    assert_eq!(DocumentRecord::decode(&bytes).expect("an unknown field does no harm"), record);
}

/// A record in its second round with one stage that is done, written before records kept an account of earlier rounds.
const WITHOUT_ACCOUNT: &str = "0801122c0a0b6c656173652f372e74787412056c6567616c1a10646f63732f6c656173652f372e7478742202616230031a09\
    636f6e747261637473220263642801380140e80748e80750d00f621f0a0161121a080110024a140a02656621000000000000\
    e03f280a30013a0177";

#[test]
fn a_record_without_an_account_of_earlier_rounds_has_that_of_its_last_one() {
    let byte = |place| u8::from_str_radix(&WITHOUT_ACCOUNT[place..place + 2], 16).expect("two digits");
    let bytes: Vec<u8> = (0..WITHOUT_ACCOUNT.len()).step_by(2).map(byte).collect();
    let record = DocumentRecord::decode(&bytes).expect("it was written by an earlier version");
    assert_eq!(record.stages["a"].spent, Spent::default());
    assert_eq!(record.consumed(), Spent { seconds: 0.5, prompt_tokens: 10, completion_tokens: 1, cost: 0 });
    assert_eq!(record.encode(), bytes);
}

#[test]
fn what_a_person_is_asked_is_needed_until_the_answer() {
    let (_, mut record) = example();
    let (request, unanswered) = ("asked".to_owned(), "silence".to_owned());
    let waits = StageStatus::Awaiting { since: 1, request, unanswered };
    record.stages.get_mut("a").expect("a stage").status = waits;
    assert!(["asked", "silence"].iter().all(|payload| record.needed().any(|needed| needed == payload)));
    assert!(record.traces().payloads.contains("asked"));
    record.stages.get_mut("a").expect("a stage").status = StageStatus::Skipped;
    assert!(record.needed().all(|needed| needed != "asked"));
}

#[test]
fn what_stages_left_comes_back() {
    let (_, mut record) = example();
    let texts = |texts: [&str; 2]| texts.map(str::to_owned);
    record.outdated = Traces { payloads: texts(["p1", "p2"]).into(), cache_keys: texts(["k1", "k2"]).into() };
    let completion = Completion {
        output: "o".to_owned(),
        references: texts(["r1", "r2"]).into(),
        cache_key: Some("k3".to_owned()),
        ..Completion::default()
    };
    record.stages.get_mut("a").expect("a stage").status = StageStatus::Done(completion);
    assert_eq!(DocumentRecord::decode(&record.encode()).expect("it was just written"), record);
}

#[test]
fn which_part_of_the_cache_answered_comes_back() {
    let (_, mut record) = example();
    for level in [None, Some("semantic".to_owned())] {
        let completion = Completion { cached: level.is_some(), cache_level: level, ..Completion::default() };
        record.stages.get_mut("a").expect("a stage").status = StageStatus::Done(completion);
        assert_eq!(DocumentRecord::decode(&record.encode()).expect("it was just written"), record);
    }
}

#[test]
fn bytes_that_are_no_message_are_errors() {
    for bytes in [&b""[..], b"not a record", &[0xff; 40], &[8]] {
        assert!(DocumentRecord::decode(bytes).is_err());
        assert!(Task::decode(bytes).is_err());
        assert!(Timer::decode(bytes).is_err());
        assert!(Plan::decode(bytes).is_err());
        assert!(PodStatus::decode(bytes).is_err());
    }
    let only_a_version = [8, 1];
    let error = DocumentRecord::decode(&only_a_version).expect_err("a record has a submission");
    assert_eq!(error.to_string(), "a record has no valid submission");
    let error = Timer::decode(&only_a_version).expect_err("a timer has an alarm");
    assert_eq!(error.to_string(), "a timer has no valid alarm");
    assert_eq!(
        Task::decode(&only_a_version).expect_err("a task has a priority").to_string(),
        "a task has no valid priority"
    );
}

#[test]
fn a_truncated_record_is_an_error_or_another_record_but_never_a_panic() {
    let bytes = example().1.encode();
    for length in 0..bytes.len() {
        if let Ok(record) = DocumentRecord::decode(&bytes[..length]) {
            assert_ne!(record, example().1);
        }
    }
}

#[test]
fn a_task_says_when_its_document_must_have_ended_and_how_large_it_is() {
    let (plan, _) = example();
    let record = submit(&plan, flow::Submission { bytes: Some(70_000), ..submission() }, 1_000).record;
    assert_eq!(DocumentRecord::decode(&record.encode()).expect("it was just written"), record);
    let Effect::Publish(task) = &record.outbox(&plan)[0] else { panic!("the first stage is ready") };
    assert_eq!((task.deadline, task.bytes), (Some(601_000), Some(70_000)));
    assert_eq!(Task::decode(&task.encode()).expect("it was just written"), *task);
    // One that was written before says neither.
    let before = Task { deadline: None, bytes: None, ..task.clone() };
    assert_eq!(Task::decode(&before.encode()).expect("it was just written"), before);
}

#[test]
fn timers_of_all_kinds_come_back() {
    let stage = || "a".to_owned();
    for alarm in [
        Alarm::Retry { stage: stage(), round: 1, epoch: 2, attempt: 3 },
        Alarm::JoinTimeout { stage: stage(), round: 1, epoch: 2 },
        Alarm::Deadline { epoch: 0 },
    ] {
        let timer = Timer { document: "d".to_owned(), pipeline: "p".to_owned(), at: u64::MAX, alarm };
        assert_eq!(Timer::decode(&timer.encode()).expect("it was just written"), timer);
    }
}

#[test]
fn a_status_comes_back_and_a_newer_one_is_named() {
    let time = |up_to_tokens| ServiceTime {
        pipeline: "p".to_owned(),
        stage: "a".to_owned(),
        up_to_tokens,
        document_size: 4,
        count: 3,
        of_all: 1_234_567_890_123,
        mean: 0.5,
        p50: 0.25,
        p95: 1.0,
    };
    let status = PodStatus {
        name: "worker-1".to_owned(),
        pool: "readers".to_owned(),
        slots: 8,
        in_work: 2,
        interactive: 1,
        ready: true,
        cordoned: true,
        service_times: vec![time(Some(0)), time(Some(256)), time(None)],
        model_load_seconds: Some(0.0),
        ready_after_seconds: None,
        cache: vec![CacheCounts { level: "memory".to_owned(), hits: 1, misses: 2, errors: 3 }],
        interrupted: 4,
        models: vec![HeldModel { name: "minilm".to_owned(), digest: "53aa".to_owned() }],
        heads: vec![LearnedHead { pipeline: "review".to_owned(), head: "kind".to_owned(), examples: 7 }],
        address: Some("10.0.0.7:8080".to_owned()),
        waits: Some(WaitCounts { started: 3, counts: vec![1, 0, 2] }),
        cpu: Some(0.5),
        tokens: 1200,
        cost: 0.25,
        began: 1_600_000_000_000,
        resting: true,
        due: vec![DueInWork {
            pipeline: "p".to_owned(),
            stage: "a".to_owned(),
            deadlines: vec![1_700_000_060_000, u64::MAX],
        }],
        at: 1_700_000_000_000,
    };
    assert_eq!(PodStatus::decode(&status.encode()).expect("it was just written"), status);
    let orders = PoolOrders { epoch: 7, resting: vec!["worker-1".to_owned(), "worker-2".to_owned()] };
    assert_eq!(PoolOrders::decode(&orders.encode()).expect("they were just written"), orders);
    assert!(PodStatus::decode(&orders.encode()).is_err(), "orders are no agent's status");
    let tally = PipelineTally {
        pipeline: "review".to_owned(),
        open: 3,
        done_per_minute: 40,
        dead_letters: 1,
        p50: Some(0.5),
        p95: None,
    };
    let gateway = GatewayStatus { name: "gateway-1".to_owned(), pipelines: vec![tally], at: 9 };
    assert_eq!(GatewayStatus::decode(&gateway.encode()).expect("it was just written"), gateway);
    let error = PodStatus::decode(&with_version(status.encode(), 2)).expect_err("version 2 is newer");
    assert_eq!(error.to_string(), "a status of version 2 is newer than version 1, which this program reads");
}

#[test]
fn a_plan_comes_back_with_its_digest() {
    let (plan, _) = example();
    assert_eq!(Plan::decode(&plan.encode()).expect("it was just written"), plan);
}

#[test]
fn a_plan_that_no_longer_compiles_is_an_error_with_its_field() {
    let mut bytes = example().0.encode();
    let written = b"\"pool\":\"readers\"";
    let place = bytes.windows(written.len()).position(|window| window == written).expect("a stage names its pool");
    bytes[place + written.len() - 2] = b'z';
    let error = Plan::decode(&bytes).expect_err("there is no such pool").to_string();
    assert!(error.contains("spec.stages[0].pool: there is no pool \"readerz\""), "{error}");
}

#[test]
fn the_same_record_always_gives_the_same_bytes() {
    assert_eq!(example().1.encode(), example().1.encode());
}
