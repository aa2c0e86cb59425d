//! Heads that learn from feedback while documents flow.
//!
//! Looks now and then at what people have said; where there is something new for a head that a pool of this process uses,
//! the head is trained anew from all of it, beside the work, and swapped in. Every process that holds the pool does the
//! same from the same examples, so that all come to the same head. Its version is part of cache keys.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crds::{Head, HeadKind, ModelTask};
use engine::{
    Class,
    heads::{Anomaly, Classifier, ClassifierSettings, Quality},
};
use flow::Plan;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    driver,
    drivers::Drivers,
    feedback::{self, Example},
    heads::{Lesson, TrainedHead},
    services::Services,
    stop::Stop,
    sweeper::rest,
};
use crate::{
    Error,
    error::chain,
    stages::{self, Failure, MAX_BYTES},
};

/// How often feedback is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often all feedback is read although nobody said that there is any: whoever kept it may have died before saying
/// so, or be of a version that never does.
const ANYWAY: Duration = Duration::from_secs(300);
/// Examples that a head learns from, the newest: more teach a small head little.
const MOST_EXAMPLES: usize = 2_000;
/// Documents that are read and embedded at once; the engine's other work goes before.
const AT_ONCE: usize = 4;

/// What the heads of some pools learn from.
pub struct Learner {
    /// The store with feedback and plans.
    pub drivers: Drivers,
    /// The heads, and what is needed to train them.
    pub services: Arc<Services>,
    /// The pools of this process.
    pub pools: Vec<String>,
}

type Named = (String, String);

/// What a learner has seen so far.
#[derive(Default)]
pub struct Seen {
    turn: Option<u64>,
    read_at: Option<Instant>,
    /// Something could not be learned for a reason that passes.
    unsettled: bool,
    learned: BTreeMap<Named, String>,
}

/// Why a head has not learned.
enum Problem {
    /// It cannot learn from these examples.
    Lasting(String),
    /// The store or the model was away. Another time it can.
    Passing(String),
}

impl Learner {
    /// Learns until it is asked to stop. What cannot be learned from is tried again when there is new feedback; where
    /// the store or a model is away, at the next look. Heads learn over vectors: pools without a model that makes them
    /// have no heads.
    pub async fn run(self, stop: Stop) {
        if !self.services.models.embeds() {
            return stop.cordoned().await;
        }
        let mut seen = Seen::default();
        loop {
            tokio::select! {
                () = stop.cordoned() => return,
                () = self.look(&mut seen) => {}
            }
            if !rest(LOOK, &stop).await {
                return;
            }
        }
    }

    /// Looks once, and learns what there is to be learned. Reads one small record where there is nothing new.
    pub async fn look(&self, seen: &mut Seen) {
        if let Err(error) = self.look_and_learn(seen).await {
            tracing::warn!(error = %chain(&error), "feedback could not be read");
        }
    }

    async fn look_and_learn(&self, seen: &mut Seen) -> Result<(), driver::Error> {
        let records = &self.drivers.ports().records;
        // Before the examples: what comes while they are read is seen next time.
        let turn = feedback::turn(records.as_ref()).await?;
        let is_fresh = seen.read_at.is_some_and(|at| at.elapsed() < ANYWAY);
        if is_fresh && !seen.unsettled && turn == seen.turn {
            return Ok(());
        }
        let found = feedback::all(records).await?;
        (seen.turn, seen.read_at, seen.unsettled) = (turn, Some(Instant::now()), false);
        for ((pipeline, head), examples) in found {
            let digest = digest(&examples);
            let named = (pipeline, head);
            if seen.learned.get(&named) == Some(&digest) {
                continue;
            }
            if self.learn(&named, examples, &digest).await {
                seen.learned.insert(named, digest);
            } else {
                seen.unsettled = true;
            }
        }
        Ok(())
    }

    /// Whether that is settled: until there is other feedback, looking again would change nothing.
    async fn learn(&self, (pipeline, name): &Named, examples: Vec<Example>, digest: &str) -> bool {
        if self.services.heads.learned(pipeline, name).is_some_and(|lesson| lesson.digest == digest) {
            return true;
        }
        let Some(newest) = examples.iter().max_by_key(|example| example.at) else { return true };
        let plan = match self.drivers.plans().get(&newest.plan).await {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(pipeline, head = name, error = %chain(&error), "feedback's plan cannot be had");
                return !is_of_the_store(&error);
            }
        };
        let Some(head) = plan.spec.heads.iter().find(|head| head.name == *name) else { return true };
        let Some(pool) = self.pools.iter().find(|pool| uses(&plan, pool, name)) else { return true };
        match self.train(&plan, pool, head, examples).await {
            Ok((trained, examples)) => match self.services.heads.put(pipeline, name, trained) {
                Ok(()) => {
                    let lesson = Lesson { digest: digest.to_owned(), examples: examples as u64 };
                    self.services.heads.has_learned(pipeline, name, &lesson);
                    tracing::info!(pipeline, head = name, examples, "a head has learned");
                }
                Err(error) => tracing::error!(pipeline, head = name, error = %chain(&error), "a head is not kept"),
            },
            Err(Problem::Lasting(problem)) => tracing::warn!(pipeline, head = name, problem, "a head could not learn"),
            Err(Problem::Passing(problem)) => {
                tracing::warn!(pipeline, head = name, problem, "a head learns later");
                return false;
            }
        }
        true
    }

    async fn train(
        &self,
        plan: &Plan,
        pool: &str,
        head: &Head,
        mut examples: Vec<Example>,
    ) -> Result<(TrainedHead, usize), Problem> {
        let model = self.services.models.stage_model(plan, pool, Some(&head.embedder), ModelTask::Embed);
        let model = model.map_err(|failure| Problem::Lasting(message(failure)))?;
        examples.sort_by_key(|example| std::cmp::Reverse(example.at));
        examples.truncate(MOST_EXAMPLES);
        // The same order everywhere, and the kinds mixed.
        examples.sort_by_cached_key(|example| blake3::hash(example.document.as_bytes()).to_hex().to_string());
        let model = &model;
        let known = stream::iter(examples)
            .map(|example| async move {
                let vector = self.vector(model, &example).await?;
                Ok::<_, Problem>(vector.map(|vector| (vector, example)))
            })
            .buffered(AT_ONCE)
            .try_filter_map(|known| std::future::ready(Ok(known)));
        let known: Vec<(Vec<f32>, Example)> = known.try_collect().await?;
        let (kind, count) = (head.kind, known.len());
        let trained = tokio::task::spawn_blocking(move || fit(kind, known)).await;
        let trained = trained.map_err(|error| Problem::Lasting(error.to_string()))?;
        Ok((trained.map_err(Problem::Lasting)?, count))
    }

    /// `None` for a document that is gone or has no text: it teaches nothing. Where the store or the model is away,
    /// nobody knows what it teaches, and a head that learned without it would be another one than elsewhere.
    async fn vector(&self, model: &str, example: &Example) -> Result<Option<Vec<f32>>, Problem> {
        let made = match self.services.ports.payloads.get(&example.payload).await {
            Ok(bytes) if bytes.len() as u64 > MAX_BYTES => Err(Problem::Lasting("it is too large".to_owned())),
            Ok(bytes) => self.vector_of(model, &bytes, &example.source).await.map_err(Problem::of),
            Err(error @ (queue::Error::NotFound { .. } | queue::Error::Damaged { .. })) => {
                Err(Problem::Lasting(chain(&error)))
            }
            Err(error) => Err(Problem::Passing(chain(&error))),
        };
        match made {
            Ok(vector) => Ok(Some(vector)),
            Err(Problem::Lasting(problem)) => {
                tracing::debug!(document = example.document, problem, "an example teaches nothing");
                Ok(None)
            }
            Err(problem @ Problem::Passing(_)) => Err(problem),
        }
    }

    async fn vector_of(&self, model: &str, bytes: &[u8], source: &str) -> Result<Vec<f32>, Failure> {
        let text = stages::plain_text(&self.services, bytes, source).await?;
        stages::document_vector(&self.services, model, &text, Class::Bulk).await
    }
}

impl Problem {
    fn of(failure: Failure) -> Self {
        match failure {
            Failure::Document { message, transient: false, .. } => Self::Lasting(message),
            Failure::Document { message, .. } | Failure::System(message) => Self::Passing(message),
        }
    }
}

/// Whether the store did not answer: what is not there, or cannot be read, does not become so by itself.
fn is_of_the_store(error: &Error) -> bool {
    matches!(error, Error::System { source, .. } if source.is::<queue::Error>())
}

fn fit(kind: HeadKind, known: Vec<(Vec<f32>, Example)>) -> Result<TrainedHead, String> {
    let wrong = |error: &dyn std::error::Error| chain(error);
    match kind {
        HeadKind::Classifier => {
            let labelled: Vec<(Vec<f32>, String)> =
                known.into_iter().filter_map(|(vector, example)| Some((vector, example.label?))).collect();
            let trained = Classifier::train(&labelled, &ClassifierSettings::default());
            trained.map(TrainedHead::Classifier).map_err(|error| wrong(&error))
        }
        HeadKind::Anomaly => {
            let usual: Vec<Vec<f32>> = known.into_iter().map(|(vector, _)| vector).collect();
            Anomaly::train(&usual).map(TrainedHead::Anomaly).map_err(|error| wrong(&error))
        }
        HeadKind::Quality => {
            #[expect(clippy::cast_possible_truncation, reason = "a score between 0 and 1")]
            let scored: Vec<(Vec<f32>, f32)> =
                known.into_iter().filter_map(|(vector, example)| Some((vector, example.score? as f32))).collect();
            Quality::train(&scored).map(TrainedHead::Quality).map_err(|error| wrong(&error))
        }
    }
}

fn message(failure: Failure) -> String {
    match failure {
        Failure::Document { message, .. } | Failure::System(message) => message,
    }
}

/// Whether a stage of the pool uses the head.
fn uses(plan: &Plan, pool: &str, head: &str) -> bool {
    plan.stages().iter().any(|stage| {
        let classify = stage.spec.classify.as_ref().map(|classify| classify.head.as_str());
        let score = stage.spec.score.as_ref().and_then(|score| score.head.as_deref());
        stage.spec.pool == pool && (classify == Some(head) || score == Some(head))
    })
}

/// Names what was said; the order does not matter.
fn digest(examples: &[Example]) -> String {
    let mut said: Vec<String> = examples
        .iter()
        .map(|example| {
            let Example { tenant, document, payload, label, score, by, plan, .. } = example;
            serde_json::json!([tenant, document, payload, label, score, by, plan]).to_string()
        })
        .collect();
    said.sort_unstable();
    blake3::hash(said.join("\n").as_bytes()).to_hex().to_string()
}
