//! A world that treats one document badly: messages are lost, doubled and reordered, workers die at any point, timers ring
//! in any order. Only the record is written safely, by one writer at a time.

pub(crate) mod graphs;
mod laws;

use std::collections::{BTreeMap, VecDeque};

use crds::Fallback;
use flow::{
    Alarm, Answer, Cause, Completion, DocumentRecord, Effect, Event, Plan, RESULTS_STAGE, Spent, Task, Timer,
    Transition, reason, submit, transition,
};
use proptest::prelude::*;

use crate::flow_support::submission;
use laws::Laws;

/// One thing that happens; numbers choose among what is there.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A worker takes a message; it stays in the queue until it is acknowledged.
    Take(u16),
    /// A worker reports; then it publishes and acknowledges, unless it dies on the way.
    Report(u16, Report, Fault),
    /// A worker dies.
    Die(u16),
    /// A person answers, or somebody answers for a stage that nobody asks for.
    Answer(u16, bool, Fault),
    /// A timer rings.
    Ring(u16, Fault),
    /// Something that happened is heard of once more.
    Echo(u16),
    /// The sweeper publishes the outbox.
    Sweep,
    Suspend,
    Resume,
    Replay,
    Cancel,
}

#[derive(Clone, Debug)]
pub(crate) enum Report {
    Done(f64),
    Scoreless,
    Skipped,
    Transient,
    CircuitOpen,
    Permanent,
}

/// Where the one who writes a transition dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    BeforeWrite,
    BeforePublish,
    /// After the first effect.
    WhilePublishing,
    BeforeAcknowledge,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::BeforeWrite),
        1 => Just(Fault::BeforePublish),
        1 => Just(Fault::WhilePublishing),
        1 => Just(Fault::BeforeAcknowledge),
    ];
    let report = prop_oneof![
        10 => prop_oneof![Just(0.2), Just(0.9)].prop_map(Report::Done),
        1 => Just(Report::Scoreless),
        2 => Just(Report::Skipped),
        4 => Just(Report::Transient),
        2 => Just(Report::CircuitOpen),
        2 => Just(Report::Permanent),
    ];
    let step = prop_oneof![
        24 => any::<u16>().prop_map(Step::Take),
        24 => (any::<u16>(), report, fault.clone()).prop_map(|(which, report, fault)| Step::Report(which, report, fault)),
        4 => any::<u16>().prop_map(Step::Die),
        6 => (any::<u16>(), fault.clone()).prop_map(|(which, fault)| Step::Ring(which, fault)),
        6 => (any::<u16>(), prop::bool::weighted(0.8), fault).prop_map(|(which, yes, fault)| Step::Answer(which, yes, fault)),
        8 => any::<u16>().prop_map(Step::Echo),
        4 => Just(Step::Sweep),
        1 => Just(Step::Suspend),
        2 => Just(Step::Resume),
        2 => Just(Step::Replay),
        1 => prop::bool::weighted(0.2).prop_map(|cancels| if cancels { Step::Cancel } else { Step::Sweep }),
    ];
    prop::collection::vec(step, 0..80)
}

struct Message {
    task: Task,
    deliveries: u32,
}

pub(crate) struct World {
    plan: Plan,
    record: DocumentRecord,
    queue: VecDeque<Message>,
    working: Vec<Task>,
    timers: BTreeMap<String, Timer>,
    heard: Vec<Event>,
    now: u64,
    laws: Laws,
}

impl World {
    /// The document is written; its submitter may die before it publishes anything.
    pub(crate) fn begin(plan: Plan, dies: bool) -> Self {
        let start = submit(&plan, submission(), 1_000);
        let mut laws = Laws::default();
        laws.check(&plan, None, None, &start);
        let (queue, working, timers, heard) = Default::default();
        let mut world = Self { plan, record: start.record, queue, working, timers, heard, now: 1_000, laws };
        if !dies {
            world.publish(start.effects);
        }
        world
    }

    pub(crate) fn step(&mut self, step: Step) {
        self.now += 100;
        match step {
            Step::Take(which) => self.take(which),
            Step::Report(which, report, fault) => {
                if let Some(which) = choose(which, self.working.len()) {
                    let task = self.working.swap_remove(which);
                    let event = self.event(&task, report);
                    if self.tell(event, fault) {
                        self.acknowledge(&task);
                    }
                }
            }
            Step::Die(which) => {
                if let Some(which) = choose(which, self.working.len()) {
                    self.working.swap_remove(which);
                }
            }
            Step::Answer(which, approved, fault) => {
                let stage = choose(which, self.plan.stages().len()).map(|place| self.plan.stages()[place].name.clone());
                if let Some(stage) = stage {
                    self.tell(self.answer(&stage, approved), fault);
                }
            }
            Step::Ring(which, fault) => {
                if let Some(id) =
                    choose(which, self.timers.len()).and_then(|which| self.timers.keys().nth(which).cloned())
                {
                    self.ring(&id, fault);
                }
            }
            Step::Echo(which) => {
                if let Some(which) = choose(which, self.heard.len()) {
                    self.tell(self.heard[which].clone(), Fault::None);
                }
            }
            Step::Sweep => self.publish(self.record.outbox(&self.plan)),
            Step::Suspend => self.order(Event::Suspend),
            Step::Resume => self.order(Event::Resume),
            Step::Replay => self.order(Event::Replay),
            Step::Cancel => self.order(Event::Cancel),
        }
    }

    /// From now on nothing goes wrong; the document must end within a bound.
    pub(crate) fn end_in_peace(mut self) -> DocumentRecord {
        self.working.clear();
        self.order(Event::Resume);
        for _ in 0..500 {
            if self.record.end.is_some() {
                self.laws.check_end(&self.record);
                return self.record;
            }
            self.publish(self.record.outbox(&self.plan));
            let asking = self.record.asking().first().map(|name| (*name).to_owned());
            if let Some(stage) = asking {
                self.tell(self.answer(&stage, true), Fault::None);
            } else if let Some(message) = self.queue.front() {
                let task = message.task.clone();
                let event = self.event(&task, Report::Done(0.9));
                self.tell(event, Fault::None);
                self.acknowledge(&task);
            } else {
                let first = self.timers.iter().min_by_key(|(_, timer)| timer.at).map(|(id, _)| id.clone());
                self.ring(&first.expect("a document that has not ended waits for something"), Fault::None);
            }
        }
        panic!("the document does not end: {:#?}", self.record);
    }

    fn take(&mut self, which: u16) {
        let Some(which) = choose(which, self.queue.len()) else { return };
        let message = &mut self.queue[which];
        message.deliveries += 1;
        let (task, deliveries) = (message.task.clone(), message.deliveries);
        if self.record.is_stale(&task) {
            self.publish(self.record.outbox(&self.plan));
            self.acknowledge(&task);
            return;
        }
        if deliveries > 1 {
            let Task { stage, round, epoch, attempt, .. } = task.clone();
            let worker = format!("worker-{deliveries}");
            self.order(Event::AttemptStarted { stage, round, epoch, attempt, worker });
        }
        self.working.push(task);
    }

    fn ring(&mut self, id: &str, fault: Fault) {
        let timer = self.timers[id].clone();
        self.now = self.now.max(timer.at);
        if self.tell(Event::Alarm(timer.alarm), fault) {
            self.timers.remove(id);
        }
    }

    fn answer(&self, stage: &str, approved: bool) -> Event {
        let (round, epoch) = (self.record.stages[stage].round, self.record.epoch);
        let answer =
            Answer { approved, by: "ann".to_owned(), comment: None, output: format!("answer {stage} {round}") };
        Event::Answered { stage: stage.to_owned(), round, epoch, answer }
    }

    fn event(&self, task: &Task, report: Report) -> Event {
        let Task { stage, round, epoch, attempt, .. } = task.clone();
        let asks = self.plan.stage(&stage).is_some_and(|planned| planned.spec.approve.is_some());
        if asks && matches!(report, Report::Done(_) | Report::Scoreless) {
            let (request, unanswered) = (format!("question {stage}"), format!("silence {stage}"));
            return Event::ApprovalRequested { stage, round, epoch, attempt, request, unanswered };
        }
        // Halves add up exactly, in whatever order.
        let spent = Spent { seconds: 0.5, prompt_tokens: 10, completion_tokens: 1, cost: 7 };
        let level = self.record.stages[&stage].level();
        let fallback = self.plan.stage(&stage).and_then(|planned| planned.fallback(level)).map(Fallback::label);
        let completes = |score| {
            let (output, worker) = (format!("{stage} {round}"), "worker-1".to_owned());
            let Spent { seconds, prompt_tokens, completion_tokens, cost } = spent;
            let tokens = Completion { prompt_tokens, completion_tokens, cost, ..Completion::default() };
            Completion { output, score, worker, seconds, fallback, ..tokens }
        };
        let reason = if matches!(report, Report::CircuitOpen) { reason::CIRCUIT_OPEN } else { "Broken" };
        let cause = Cause { reason: reason.to_owned(), ..Cause::default() };
        let of = stage.clone();
        let failed = move |transient, after| Event::StageFailed {
            stage: of,
            round,
            epoch,
            attempt,
            cause,
            transient,
            spent,
            after,
        };
        match report {
            Report::Done(score) => {
                let completion = completes(Some(score));
                Event::StageCompleted { stage, round, epoch, attempt, completion }
            }
            Report::Scoreless => {
                let completion = completes(None);
                Event::StageCompleted { stage, round, epoch, attempt, completion }
            }
            Report::Skipped => Event::StageSkipped { stage, round, epoch },
            Report::Transient => failed(true, None),
            Report::CircuitOpen => failed(true, Some(60_000)),
            Report::Permanent => failed(false, None),
        }
    }

    /// Reads, transitions, writes, publishes; true where the one who told may acknowledge what made him tell.
    fn tell(&mut self, event: Event, fault: Fault) -> bool {
        if fault == Fault::BeforeWrite {
            return false;
        }
        self.heard.push(event.clone());
        let next = self.write(&event);
        // Who changed nothing may be a repetition of one who died before he published.
        let mut effects = if next.changed { next.effects } else { self.record.outbox(&self.plan) };
        match fault {
            Fault::BeforePublish => return false,
            Fault::WhilePublishing => effects.truncate(1),
            _ => {}
        }
        self.publish(effects);
        fault == Fault::None
    }

    fn write(&mut self, event: &Event) -> Transition {
        let next = transition(&self.plan, &self.record, event.clone(), self.now);
        assert_eq!(next.changed, next.record != self.record, "{event:?} on {:#?}", self.record);
        self.laws.check(&self.plan, Some(&self.record), Some(event), &next);
        // A start counts each time. A document that fails again as soon as it is replayed can be replayed again.
        let repeatable = match event {
            Event::AttemptStarted { .. } | Event::AttemptInterrupted { .. } => true,
            Event::Replay => next.record.end.is_some(),
            _ => false,
        };
        if !repeatable {
            let again = transition(&self.plan, &next.record, event.clone(), self.now + 1);
            assert!(
                !again.changed && again.record == next.record && again.effects.is_empty(),
                "{event:?} counts twice"
            );
        }
        self.record = next.record.clone();
        next
    }

    /// An event that nobody redelivers; its effects may be lost, since the sweeper finds them.
    fn order(&mut self, event: Event) {
        self.write(&event);
    }

    fn publish(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish(task) => {
                    if !self.queue.iter().any(|message| message.task.id() == task.id()) {
                        self.queue.push_back(Message { task, deliveries: 0 });
                    }
                }
                Effect::SetTimer(timer) => {
                    self.timers.insert(timer.id(), timer);
                }
                Effect::Report(end) => assert_eq!(Some(&end), self.record.end.as_ref()),
            }
        }
    }

    fn acknowledge(&mut self, task: &Task) {
        self.queue.retain(|message| message.task.id() != task.id());
    }
}

fn choose(which: u16, among: usize) -> Option<usize> {
    usize::from(which).checked_rem(among)
}

/// Events about stages that may exist, with numbers that may fit.
pub(crate) fn events() -> impl Strategy<Value = Event> {
    let stage = || {
        prop_oneof![
            (0..7_u8).prop_map(|place| format!("s{place}")),
            Just("nowhere".to_owned()),
            Just(RESULTS_STAGE.to_owned())
        ]
    };
    let number = || prop_oneof![6 => 0..3_u32, 1 => Just(u32::MAX)];
    let task = (stage(), number(), number(), number());
    let kind = (0..14_u8, prop::option::of(prop_oneof![Just(0.0), Just(1.0)]), any::<bool>());
    (task, kind).prop_map(|((stage, round, epoch, attempt), (kind, score, transient))| match kind {
        0 => Event::AttemptStarted { stage, round, epoch, attempt, worker: String::new() },
        1 => Event::StageSkipped { stage, round, epoch },
        2 => {
            let (cause, spent) = (Cause::default(), Spent { completion_tokens: u64::MAX, ..Spent::default() });
            let after = transient.then_some(u64::MAX);
            Event::StageFailed { stage, round, epoch, attempt, cause, transient, spent, after }
        }
        3 => Event::Alarm(Alarm::Retry { stage, round, epoch, attempt }),
        4 => Event::Alarm(Alarm::JoinTimeout { stage, round, epoch }),
        5 => Event::Alarm(Alarm::Deadline { epoch }),
        6 => Event::Replay,
        11 => {
            Event::ApprovalRequested { stage, round, epoch, attempt, request: String::new(), unanswered: String::new() }
        }
        12 => {
            let answer = Answer { approved: transient, by: String::new(), comment: None, output: String::new() };
            Event::Answered { stage, round, epoch, answer }
        }
        13 => Event::Alarm(Alarm::ApprovalTimeout { stage, round, epoch }),
        10 => Event::AttemptInterrupted { stage, round, epoch, attempt },
        7 => {
            if transient {
                Event::Suspend
            } else {
                Event::Resume
            }
        }
        _ => {
            let completion = Completion { score, completion_tokens: u64::MAX, ..Completion::default() };
            Event::StageCompleted { stage, round, epoch, attempt, completion }
        }
    })
}
