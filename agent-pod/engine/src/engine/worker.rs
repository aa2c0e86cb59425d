//! The one thread that owns the device and its models: it alternates between embedding passes and generation steps,
//! each lane getting its share of the time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use super::error::Error;
use super::inbox::{Inbox, Queues};
use super::settings::{Class, Settings};
use super::shares::Shares;
use super::statistics::Counters;
use crate::batcher::{Lane, Sequence, TokenBudget, requests_of};
use crate::embedding::{EmbeddingModel, Packed};
use crate::generation::Generator;

pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) models: Vec<Model>,
    pub(crate) pool: ThreadPool,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
}

pub(crate) enum Model {
    Embedder(Embedder),
    Generator(Generating),
}

pub(crate) struct Embedder {
    pub(crate) model: EmbeddingModel,
    pub(crate) budget: TokenBudget,
    /// Requests that the last pass served: under steady load about as many come back at once.
    pub(crate) companions: usize,
}

pub(crate) struct Generating {
    pub(crate) generator: Generator,
    pub(crate) admissions: Shares<Class>,
    /// The highest class among the sequences in work, `None` when there are none.
    pub(crate) working: Option<Class>,
}

/// What shares the device's time: one lane a class of an embedding model, one for all sequences of a generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Turn {
    Embed(Lane),
    Generate(usize),
}

enum Step {
    Embed(Lane, Vec<Sequence>),
    Generate(usize, Class),
}

impl Worker {
    /// Works until the inbox is stopped. A panic in a model stops the engine and fails its requests; it does not
    /// pass in silence.
    pub(crate) fn run(mut self) {
        let inbox = Arc::clone(&self.inbox);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work()));
        // The models' own requests must be failed before the reason is asked for.
        if let Err(panic) = outcome {
            let reason = panic_message(panic.as_ref());
            tracing::error!(reason, "The engine's thread panicked");
            inbox.stop(&reason);
        }
        drop(self);
    }

    fn work(&mut self) {
        let mut shares = Shares::new();
        while let Some(step) = self.next_step(&mut shares) {
            let started = Instant::now();
            match step {
                Step::Embed(lane, batch) => {
                    self.embed(lane, batch);
                    shares.charge(Turn::Embed(lane), lane.class, started.elapsed());
                }
                Step::Generate(model, class) => {
                    self.generate(model);
                    shares.charge(Turn::Generate(model), class, started.elapsed());
                }
            }
        }
    }

    fn next_step(&mut self, shares: &mut Shares<Turn>) -> Option<Step> {
        let inbox = Arc::clone(&self.inbox);
        let mut queues = inbox.lock();
        loop {
            if queues.stopped.is_some() {
                return None;
            }
            let now = Instant::now();
            self.admit(&mut queues, now);
            let lanes = queues.embeds.lanes(now);
            self.counters.dropped.fetch_add(queues.embeds.take_dropped(), Relaxed);
            let working = self.models.iter().enumerate().filter_map(|(index, model)| match model {
                Model::Generator(generating) => Some((Turn::Generate(index), generating.working?)),
                Model::Embedder(_) => None,
            });
            let working: Vec<_> = working.collect();
            let is_alone = working.is_empty() && lanes.len() == 1;
            let turns = lanes.into_iter().map(|lane| (Turn::Embed(lane), lane.class)).chain(working);
            match shares.pick(turns) {
                None => queues = inbox.wait(queues, None),
                Some((Turn::Generate(model), class)) => return Some(Step::Generate(model, class)),
                Some((Turn::Embed(lane), _)) => match self.gather_time(&queues, lane, now).filter(|_| is_alone) {
                    Some(most) => queues = inbox.wait(queues, Some(most)),
                    None => {
                        let budget = self.budget(lane);
                        let batch = queues.embeds.take(lane, self.settings.max_batch.max(1), budget, now);
                        return Some(Step::Embed(lane, batch));
                    }
                },
            }
        }
    }

    /// How long to wait for companions: not at all unless the last pass served several requests of which not all are
    /// back, and never longer than `max_wait` after the oldest arrived.
    fn gather_time(&self, queues: &Queues, lane: Lane, now: Instant) -> Option<Duration> {
        let Model::Embedder(embedder) = &self.models[lane.model] else { return None };
        let is_complete = queues.embeds.requests(lane, embedder.companions) >= embedder.companions;
        if lane.class == Class::Interactive || is_complete || queues.embeds.sequences() >= self.settings.max_batch {
            return None;
        }
        let until = queues.embeds.oldest(lane)? + self.settings.max_wait;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn budget(&self, lane: Lane) -> usize {
        match &self.models[lane.model] {
            Model::Embedder(embedder) => embedder.budget.tokens(lane.class),
            Model::Generator(_) => 0,
        }
    }

    /// Gives free slots of the generators to those that wait, by class.
    fn admit(&mut self, queues: &mut Queues, now: Instant) {
        for (index, model) in self.models.iter_mut().enumerate() {
            let Model::Generator(generating) = model else { continue };
            loop {
                let (classes, dropped) = queues.generation_classes(index, now);
                self.counters.dropped.fetch_add(dropped, Relaxed);
                if generating.generator.free_slots() == 0 {
                    break;
                }
                let Some((class, _)) = generating.admissions.pick(classes.into_iter().map(|class| (class, class)))
                else {
                    break;
                };
                let Some(generation) = queues.take_generation(Lane { model: index, class }) else { break };
                generating.admissions.charge(class, class, Duration::from_secs(1));
                generating.generator.admit(generation.prepared, generation.reply);
                generating.working = generating.working.max(Some(class));
            }
        }
    }

    fn embed(&mut self, lane: Lane, batch: Vec<Sequence>) {
        let Model::Embedder(embedder) = &mut self.models[lane.model] else { return };
        embedder.companions = requests_of(&batch);
        let packed = Packed::new(batch.iter().map(|sequence| sequence.ids.as_slice()));
        let started = Instant::now();
        let vectors = self.pool.install(|| embedder.model.embed(&packed));
        embedder.budget.observe(packed.tokens(), started.elapsed());
        self.counters.pass(batch.len(), packed.tokens(), embedder.budget.seconds_per_token());
        match vectors {
            Ok(vectors) => batch.into_iter().zip(vectors).for_each(|(sequence, vector)| sequence.complete(vector)),
            Err(error) => {
                let error: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
                batch.into_iter().for_each(|sequence| sequence.fail(Error::Embed(Arc::clone(&error))));
            }
        }
    }

    fn generate(&mut self, model: usize) {
        let Model::Generator(generating) = &mut self.models[model] else { return };
        if !generating.generator.step() {
            generating.working = None;
        }
        self.counters.generation_steps.fetch_add(1, Relaxed);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a model panicked".to_owned())
}
