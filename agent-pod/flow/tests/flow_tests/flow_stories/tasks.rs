//! Which tasks are stale, and ids.

use crds::Priority;
use flow::{Alarm, Effect, Event, Task, Timer};

use crate::flow_story::{Story, plain};

#[test]
fn a_task_is_stale_once_its_stage_waits_for_another_or_none() {
    let mut story = Story::stages(&[plain("a", &[]), plain("b", &["a"])]);
    let first = task(&story, 0);
    assert!(!story.record.is_stale(&first));
    for other in [
        Task { epoch: 1, ..first.clone() },
        Task { round: 1, ..first.clone() },
        Task { attempt: 2, ..first.clone() },
        Task { stage: "b".to_owned(), ..first.clone() },
        Task { stage: "nowhere".to_owned(), ..first.clone() },
        Task { plan: "another".to_owned(), ..first.clone() },
        Task { document: "another".to_owned(), ..first.clone() },
    ] {
        assert!(story.record.is_stale(&other), "{other:?}");
    }
    story.fails("a", true);
    assert!(story.record.is_stale(&first));
    story.retry_rings("a");
    let second = task(&story, 0);
    assert!(story.record.is_stale(&first) && !story.record.is_stale(&second));
    story.event(Event::Cancel);
    assert!(story.record.is_stale(&second));
}

fn task(story: &Story, position: usize) -> Task {
    match &story.record.outbox(&story.plan)[position] {
        Effect::Publish(task) => task.clone(),
        other => panic!("{other:?} is no task"),
    }
}

#[test]
fn ids_stay_apart_whatever_a_document_is_called() {
    let task = |document: &str, plan: &str, stage: &str| Task {
        document: document.to_owned(),
        pipeline: "p".to_owned(),
        plan: plan.to_owned(),
        stage: stage.to_owned(),
        pool: "readers".to_owned(),
        round: 0,
        epoch: 0,
        attempt: 1,
        priority: Priority::Normal,
        deadline: None,
        bytes: None,
    };
    let ids = [
        task("a", "b", "c").id(),
        task("a/b", "c", "d").id(),
        task("a", "b/c", "d").id(),
        task("a", "b", "c/d").id(),
        task("a%2Fb", "c", "d").id(),
        task("ä b\n", "b", "c").id(),
        Task { attempt: 11, ..task("a", "b", "c") }.id(),
        Task { epoch: 1, ..task("a", "b", "c") }.id(),
        Task { round: 1, ..task("a", "b", "c") }.id(),
    ];
    for (position, id) in ids.iter().enumerate() {
        assert!(!ids[..position].contains(id), "{id}");
        assert!(id.is_ascii() && !id.contains([' ', '\n']));
    }
    let timer = |alarm| Timer { document: "a/b".to_owned(), pipeline: "p".to_owned(), at: 1, alarm }.id();
    let (stage, join) = ("a".to_owned(), |stage| Alarm::JoinTimeout { stage, round: 0, epoch: 1 });
    let ids = [
        timer(Alarm::Deadline { epoch: 0 }),
        timer(Alarm::Deadline { epoch: 1 }),
        timer(join(stage.clone())),
        timer(join("b".to_owned())),
        timer(Alarm::ApprovalTimeout { stage: stage.clone(), round: 0, epoch: 1 }),
        timer(Alarm::Retry { stage, round: 0, epoch: 1, attempt: 1 }),
    ];
    assert!(ids.iter().enumerate().all(|(position, id)| !ids[..position].contains(id)), "{ids:?}");
}
