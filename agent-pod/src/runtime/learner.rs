//! Heads that learn from feedback while documents flow.
//!
//! Looks now and then at what people have said; where there is something new for a head that a pool of this process uses,
//! the head is trained anew from all of it, beside the work, and swapped in. Every process that holds the pool does the
//! same from the same examples, so that all come to the same head. Its version is part of cache keys.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crds::{Head, HeadKind, ModelTask};
use engine::{
    Class,
    heads::{Anomaly, Classifier, ClassifierSettings, Quality},
};
use flow::Plan;
use futures::{StreamExt as _, stream};

use super::{
    drivers::Drivers,
    feedback::{self, Example},
    heads::{Lesson, TrainedHead},
    services::Services,
    stop::Stop,
    sweeper::rest,
};
use crate::{
    error::chain,
    stages::{self, Failure, MAX_BYTES},
};

/// How often feedback is looked at.
const LOOK: Duration = Duration::from_secs(10);
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

impl Learner {
    /// Learns until it is asked to stop. What cannot be learned now is tried again when there is new feedback.
    pub async fn run(self, stop: Stop) {
        let mut learned: BTreeMap<Named, String> = BTreeMap::new();
        loop {
            match feedback::all(&self.drivers.ports().records).await {
                Ok(found) => {
                    for ((pipeline, head), examples) in found {
                        let digest = digest(&examples);
                        let named = (pipeline, head);
                        if learned.get(&named) == Some(&digest) {
                            continue;
                        }
                        tokio::select! {
                            () = stop.cordoned() => return,
                            () = self.learn(&named, examples, &digest) => {}
                        }
                        learned.insert(named, digest);
                    }
                }
                Err(error) => tracing::warn!(error = %chain(&error), "feedback could not be read"),
            }
            if !rest(LOOK, &stop).await {
                return;
            }
        }
    }

    async fn learn(&self, (pipeline, name): &Named, examples: Vec<Example>, digest: &str) {
        if self.services.heads.learned(pipeline, name).is_some_and(|lesson| lesson.digest == digest) {
            return;
        }
        let Some(newest) = examples.iter().max_by_key(|example| example.at) else { return };
        let plan = match self.drivers.plans().get(&newest.plan).await {
            Ok(plan) => plan,
            Err(error) => {
                return tracing::warn!(pipeline, head = name, error = %chain(&error), "feedback's plan cannot be had");
            }
        };
        let Some(head) = plan.spec.heads.iter().find(|head| head.name == *name) else { return };
        let Some(pool) = self.pools.iter().find(|pool| uses(&plan, pool, name)) else { return };
        match self.train(&plan, pool, head, examples).await {
            Ok((trained, examples)) => match self.services.heads.put(pipeline, name, trained) {
                Ok(()) => {
                    let lesson = Lesson { digest: digest.to_owned(), examples: examples as u64 };
                    self.services.heads.has_learned(pipeline, name, &lesson);
                    tracing::info!(pipeline, head = name, examples, "a head has learned");
                }
                Err(error) => tracing::error!(pipeline, head = name, error = %chain(&error), "a head is not kept"),
            },
            Err(problem) => tracing::warn!(pipeline, head = name, problem, "a head could not learn"),
        }
    }

    async fn train(
        &self,
        plan: &Plan,
        pool: &str,
        head: &Head,
        mut examples: Vec<Example>,
    ) -> Result<(TrainedHead, usize), String> {
        let model = self.services.models.stage_model(plan, pool, Some(&head.embedder), ModelTask::Embed);
        let model = model.map_err(message)?;
        examples.sort_by_key(|example| std::cmp::Reverse(example.at));
        examples.truncate(MOST_EXAMPLES);
        // The same order everywhere, and the kinds mixed.
        examples.sort_by_cached_key(|example| blake3::hash(example.document.as_bytes()).to_hex().to_string());
        let model = &model;
        let known = stream::iter(examples)
            .map(|example| async move { Some((self.vector(model, &example).await?, example)) })
            .buffered(AT_ONCE)
            .filter_map(std::future::ready);
        let known: Vec<(Vec<f32>, Example)> = known.collect().await;
        let (kind, count) = (head.kind, known.len());
        let trained = tokio::task::spawn_blocking(move || fit(kind, known)).await;
        Ok((trained.map_err(|error| error.to_string())??, count))
    }

    /// `None` for a document that is gone or has no text: it teaches nothing.
    async fn vector(&self, model: &str, example: &Example) -> Option<Vec<f32>> {
        let embed = async {
            let bytes = self.services.ports.payloads.get(&example.payload).await.map_err(|error| chain(&error))?;
            if bytes.len() as u64 > MAX_BYTES {
                return Err("it is too large".to_owned());
            }
            let text = stages::plain_text(&self.services, &bytes, &example.source).await.map_err(message)?;
            stages::document_vector(&self.services, model, &text, Class::Bulk).await.map_err(message)
        };
        let made = embed.await;
        made.inspect_err(|problem| tracing::debug!(document = example.document, problem, "an example teaches nothing"))
            .ok()
    }
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
