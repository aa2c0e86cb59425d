//! Two pools in a row, second by second: documents with a deadline that are worked for long at the first one, and must start at
//! once at the second one, which sleeps.

use std::collections::BTreeMap;

use crds::{PipelineSpec, Stage};
use flow::DueInWork;
use operator::scaling::{
    deadlines::{Times, ahead, dated, deadlines},
    foreseen::{Branches, Load, foreseen},
    kinds::Waiting,
    observe::Sight,
    pool::{Outlook, PoolScaler},
};
use scaler::Settings;
use serde_json::json;

use crate::scaling_steps::{SLOTS, World};

/// Seconds that a document is in work at the first stage, and a pod of the second pool starts.
const FIRST: u64 = 40;
const START: u64 = 20;

struct Chain {
    spec: PipelineSpec,
    first: World,
    second: World,
    scalers: [PoolScaler; 2],
    settings: [Settings; 2],
    /// When all documents must have ended, in seconds since 1970.
    deadline: Option<u64>,
    /// Whether the second pool knows of deadlines before documents come.
    looks_ahead: bool,
    /// Reasons of the second pool.
    reasons: Vec<String>,
}

impl Chain {
    fn new(looks_ahead: bool) -> Self {
        let spec = json!({"stages": [
            {"name": "a", "pool": "first", "transform": {"template": "x"}},
            {"name": "b", "pool": "second", "after": ["a"], "transform": {"template": "x"}},
        ]});
        let patient = |min: u32| {
            let mut settings = Settings::between(min, 20);
            settings.target.wait = 600.0;
            settings.cooldown_to_zero = Some(30.0);
            settings
        };
        let (mut first, mut second) = (World::new(), World::new());
        (first.service, second.start) = (FIRST, START);
        Self {
            spec: serde_json::from_value(spec).expect("a pipeline"),
            first,
            second,
            scalers: [PoolScaler::default(), PoolScaler::default()],
            settings: [patient(6), patient(0)],
            deadline: None,
            looks_ahead,
            reasons: Vec::new(),
        }
    }

    /// What is seen of a pool, with the deadlines of what waits and of what is in work there.
    fn sight(&self, world: &World, stage: &str) -> Sight {
        let mut sight = world.sight();
        let Some(deadline) = self.deadline.map(|deadline| deadline * 1_000) else { return sight };
        for agent in sight.agents.iter_mut().flatten() {
            let deadlines = vec![deadline; agent.in_work as usize];
            agent.due = vec![DueInWork { pipeline: "review".to_owned(), stage: stage.to_owned(), deadlines }];
        }
        let waits = |since: &u64| Waiting {
            pipeline: "review".to_owned(),
            stage: stage.to_owned(),
            size: 1,
            deadline: Some(deadline),
            waited: (world.now - since) as f64,
            tasks: 1.0,
        };
        sight.waiting = world.waiting.iter().map(waits).collect();
        sight
    }

    fn second(&mut self) {
        let done = self.first.finished;
        self.first.live();
        self.second.live();
        self.second.arrive(self.first.finished - done);
        let now = self.first.now as f64;
        let sights = [self.sight(&self.first, "a"), self.sight(&self.second, "b")];
        let pipelines = [("review".to_owned(), &self.spec)];
        let load = |sight: &Sight, start: u64| {
            let agents = sight.agents.as_deref().unwrap_or_default();
            let slots = f64::from(SLOTS) * agents.len() as f64;
            Load {
                tasks: sight.depth.as_ref().map_or(0.0, |depth| depth.total() as f64),
                slots,
                dated: dated(&sight.waiting, agents),
                start: if slots > 0.0 { 0.0 } else { start as f64 },
                ..Load::default()
            }
        };
        let loads = BTreeMap::from([
            ("first".to_owned(), load(&sights[0], self.first.start)),
            ("second".to_owned(), load(&sights[1], START)),
        ]);
        let service = |_: &str, stage: &Stage| if stage.name == "a" { FIRST as f64 } else { 3.0 };
        let start = |pool: &str| loads[pool].start;
        let times = Times { service: &service, start: &start };
        let outlook = |pool: &str, sight: &Sight| Outlook {
            foreseen: foreseen(pool, &pipelines, &loads, &Branches::default(), now),
            deadlines: deadlines(&sight.waiting, &pipelines, times, now),
            deadlines_ahead: ahead(pool, &pipelines, &loads, times, 1.0, now),
            ..Outlook::default()
        };
        let [of_first, mut of_second] = [outlook("first", &sights[0]), outlook("second", &sights[1])];
        if !self.looks_ahead {
            of_second.deadlines_ahead.clear();
        }
        let [first, second] = &mut self.scalers;
        self.first.step(first, &self.settings[0], &sights[0], of_first);
        let step = self.second.step(second, &self.settings[1], &sights[1], of_second);
        self.reasons.push(step.decision.reason.to_string());
    }

    /// Eight documents come to the first pool, whose six agents are there. Returns the seconds until all have ended.
    fn run(&mut self, within: Option<u64>) -> u64 {
        (0..30).for_each(|_| self.second());
        assert_eq!((self.second.finished, self.second.sight().pods.map(|pods| pods.len())), (0, Some(0)));
        let came = self.first.now;
        self.deadline = within.map(|seconds| came + seconds);
        self.first.arrive(8);
        while self.second.finished < 8 {
            self.second();
            assert!(self.first.now < came + 2_000, "it never ends: {:?}", self.reasons.last());
        }
        let took = self.first.now - came;
        (0..900).for_each(|_| self.second());
        assert_eq!((self.first.interrupted, self.second.interrupted), (0, 0));
        assert_eq!(self.second.sight().pods.map(|pods| pods.len()), Some(0), "nobody is kept for nothing");
        took
    }
}

/// 41 s at the first stage, up to 12 s at the second, where one pod is enough, and less time to wait than a pod takes to start.
const WITHIN: u64 = 60;

#[test]
fn a_later_pool_is_ready_for_documents_that_must_start_by_their_deadlines() {
    let mut chain = Chain::new(true);
    let took = chain.run(Some(WITHIN));
    assert!(took <= WITHIN, "it took {took} s of {WITHIN}");
    let why = "more replicas: documents at earlier stages must start here by their deadlines";
    assert!(chain.reasons.iter().any(|reason| reason == why), "{:?}", chain.reasons);
}

#[test]
fn one_that_does_not_look_ahead_is_too_late() {
    let took = Chain::new(false).run(Some(WITHIN));
    assert!(took > WITHIN, "it took {took} s of {WITHIN}");
}

#[test]
fn without_deadlines_looking_ahead_changes_nothing() {
    let (mut one, mut other) = (Chain::new(true), Chain::new(false));
    assert_eq!(one.run(None), other.run(None));
    assert_eq!(one.reasons, other.reasons);
}
