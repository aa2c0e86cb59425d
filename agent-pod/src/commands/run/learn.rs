//! Trains a pipeline's heads before its documents flow, and measures them on documents that were held out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use crds::{Head, HeadKind, ModelTask};
use engine::{
    Class,
    heads::{Anomaly, Classifier, ClassifierSettings, Quality},
};
use flow::Plan;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::session::Session;
use crate::{
    Error, Result,
    commands::{
        labels::{self, Feedback, Split},
        note,
    },
    runtime::{heads::TrainedHead, inputs::Input},
    stages::{self, Failure, MAX_BYTES},
};

/// Documents that are read and embedded at once: enough for the engine to make full batches.
const AT_ONCE: usize = 16;
/// Documents that an anomaly head learns from.
const ANOMALY_EXAMPLES: usize = 1_000;
/// Labels of unknown documents that a message names.
const NAMED_UNKNOWN: usize = 3;
/// Numbers of labels after which accuracy is measured, beside all of them.
const MEASURED_AFTER: [usize; 3] = [20, 50, 100];

/// What the heads learned.
#[derive(Default)]
pub(crate) struct Learned(Vec<LearnedHead>);

struct LearnedHead {
    name: String,
    examples: usize,
    accuracy: Vec<Accuracy>,
}

struct Accuracy {
    labels: usize,
    held_out: usize,
    share: f64,
}

impl Learned {
    pub(crate) fn json(&self) -> Value {
        let heads = self.0.iter().map(|head| {
            let accuracy: Vec<Value> = head
                .accuracy
                .iter()
                .map(|point| json!({"labels": point.labels, "heldOut": point.held_out, "accuracy": point.share}))
                .collect();
            json!({"name": head.name, "examples": head.examples, "accuracy": accuracy})
        });
        Value::Array(heads.collect())
    }
}

/// Reads labels; a line that is not one, or that no head can learn from, is a usage error that names file and line.
pub(crate) fn read_feedback(path: &Path, plan: &Plan) -> Result<Vec<Feedback>> {
    if plan.spec.heads.is_empty() {
        return Err(Error::usage(format!("--feedback: pipeline \"{}\" has no heads to train", plan.name)));
    }
    labels::read("--feedback", path, |line| unfit(plan, line))
}

/// Why the head of a line cannot learn from it.
fn unfit(plan: &Plan, line: &Feedback) -> Option<String> {
    let Some(head) = plan.spec.heads.iter().find(|head| head.name == line.head) else {
        return Some(format!("pipeline \"{}\" has no head \"{}\"", plan.name, line.head));
    };
    let reason = match head.kind {
        HeadKind::Classifier if line.label.is_none() => "is a Classifier: it learns from \"label\", not from \"score\"",
        HeadKind::Quality if line.score.is_none() => "is of kind Quality: it learns from \"score\", not from \"label\"",
        HeadKind::Anomaly => "is of kind Anomaly: it learns from the documents alone; leave the line out",
        HeadKind::Classifier | HeadKind::Quality => return None,
    };
    Some(format!("head \"{}\" {reason}", line.head))
}

/// Trains every head that has something to learn from, or that was never trained.
pub(crate) async fn learn(
    session: &Session,
    inputs: impl Iterator<Item = Input>,
    feedback: Vec<Feedback>,
) -> Result<Learned> {
    let plan = &session.plan;
    let wanted: Vec<&Head> = plan
        .spec
        .heads
        .iter()
        .filter(|head| match head.kind {
            HeadKind::Anomaly => session.services.heads.get(&plan.name, &head.name).is_none() || !feedback.is_empty(),
            _ => feedback.iter().any(|line| line.head == head.name),
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Learned::default());
    }
    let named: HashSet<&str> = feedback.iter().map(|line| line.document.as_str()).collect();
    let any = wanted.iter().any(|head| head.kind == HeadKind::Anomaly);
    let mut others = 0;
    let inputs: Vec<Input> = inputs
        .filter(|input| {
            let named = named.contains(input.id.as_str());
            let other = !named && any && others < ANOMALY_EXAMPLES;
            others += usize::from(other);
            named || other
        })
        .collect();
    let mut learned = Learned::default();
    let mut by_embedder: HashMap<String, Arc<HashMap<String, Vec<f32>>>> = HashMap::new();
    for head in wanted {
        let model = model_of(session, head)?;
        let vectors = match by_embedder.get(&model) {
            Some(vectors) => Arc::clone(vectors),
            None => {
                let made = Arc::new(vectors(session, &model, &inputs).await?);
                by_embedder.insert(model, Arc::clone(&made));
                made
            }
        };
        if vectors.is_empty() {
            note(&format!("head \"{}\" has nothing to learn from: no document of the input has text", head.name));
            continue;
        }
        learned.0.extend(train(session, head, &vectors, &feedback)?);
    }
    Ok(learned)
}

/// The engine's model that embeds for a head: that of a pool whose stages use the head.
fn model_of(session: &Session, head: &Head) -> Result<String> {
    let plan = &session.plan;
    let uses = |stage: &&flow::PlannedStage| {
        let classify = stage.spec.classify.as_ref().map(|classify| classify.head.as_str());
        let score = stage.spec.score.as_ref().and_then(|score| score.head.as_deref());
        classify == Some(&head.name) || score == Some(&head.name)
    };
    let pool = plan.stages().iter().find(uses).map(|stage| stage.spec.pool.as_str());
    let pool = pool.or_else(|| plan.pools.keys().next().map(String::as_str)).unwrap_or_default();
    session.services.models.stage_model(plan, pool, Some(&head.embedder), ModelTask::Embed).map_err(|failure| {
        match failure {
            Failure::Document { message, .. } | Failure::System(message) => Error::usage(message),
        }
    })
}

/// Vectors of documents by id. A document that cannot be parsed teaches nothing; the run itself reports it.
async fn vectors(session: &Session, model: &str, inputs: &[Input]) -> Result<HashMap<String, Vec<f32>>> {
    let services = &session.services;
    let made = stream::iter(inputs)
        .map(async |input| {
            let bytes = input.read(MAX_BYTES).ok()?;
            let text = match stages::plain_text(services, &bytes, &input.source).await {
                Ok(text) => text,
                Err(Failure::Document { .. }) => return None,
                Err(Failure::System(message)) => return Some(Err(message)),
            };
            match stages::document_vector(services, model, &text, Class::Bulk).await {
                Ok(vector) => Some(Ok((input.id.clone(), vector))),
                Err(Failure::Document { message, .. } | Failure::System(message)) => Some(Err(message)),
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready);
    let made: Vec<std::result::Result<(String, Vec<f32>), String>> = made.collect().await;
    made.into_iter()
        .collect::<std::result::Result<_, _>>()
        .map_err(Error::system("embed the documents that heads learn from"))
}

/// Nothing where no labelled document is there to learn from: the head stays as it was.
fn train(
    session: &Session,
    head: &Head,
    vectors: &HashMap<String, Vec<f32>>,
    feedback: &[Feedback],
) -> Result<Option<LearnedHead>> {
    let name = &head.name;
    let action = || format!("train head \"{name}\"");
    let lines: Vec<&Feedback> = feedback.iter().filter(|line| &line.head == name).collect();
    let unknown = lines.iter().filter(|line| !vectors.contains_key(&line.document)).count();
    if unknown > 0 {
        let named = lines.iter().filter(|line| !vectors.contains_key(&line.document)).take(NAMED_UNKNOWN);
        let named: Vec<String> = named.map(|line| format!("{} (\"{}\")", line.place, line.document)).collect();
        note(&format!(
            "head \"{name}\": {unknown} of {} labels are for documents that are not in the input or have no text: {}{}",
            lines.len(),
            named.join(", "),
            if unknown > named.len() { ", ..." } else { "" }
        ));
    }
    let (trained, examples, accuracy) = match head.kind {
        HeadKind::Classifier => {
            let of = |split| labelled(&lines, vectors, split);
            let (train, test) = (of(Split::Train), of(Split::Test));
            if train.is_empty() {
                return Ok(untaught(name));
            }
            let fit = |examples: &[(Vec<f32>, String)]| {
                Classifier::train(examples, &ClassifierSettings::default()).map_err(Error::system(action()))
            };
            let mut accuracy = Vec::new();
            let counts = MEASURED_AFTER.into_iter().filter(|&count| count < train.len()).chain([train.len()]);
            for labels in counts.filter(|_| !test.is_empty()) {
                let share = f64::from(fit(&train[..labels])?.accuracy(&test));
                accuracy.push(Accuracy { labels, held_out: test.len(), share });
            }
            (TrainedHead::Classifier(fit(&train)?), train.len(), accuracy)
        }
        HeadKind::Anomaly => {
            let held_out: HashSet<&str> =
                feedback.iter().filter(|line| line.split == Split::Test).map(|line| line.document.as_str()).collect();
            // In the order of ids, so that the same documents give the same head.
            let known: BTreeMap<&str, &Vec<f32>> = vectors
                .iter()
                .filter(|(document, _)| !held_out.contains(document.as_str()))
                .map(|(document, vector)| (document.as_str(), vector))
                .collect();
            let examples: Vec<Vec<f32>> = known.into_values().take(ANOMALY_EXAMPLES).cloned().collect();
            (
                TrainedHead::Anomaly(Anomaly::train(&examples).map_err(Error::system(action()))?),
                examples.len(),
                Vec::new(),
            )
        }
        HeadKind::Quality => {
            #[expect(clippy::cast_possible_truncation, reason = "a score between 0 and 1")]
            let examples: Vec<(Vec<f32>, f32)> = lines
                .iter()
                .filter(|line| line.split == Split::Train)
                .filter_map(|line| Some((vectors.get(&line.document)?.clone(), line.score? as f32)))
                .collect();
            if examples.is_empty() {
                return Ok(untaught(name));
            }
            (
                TrainedHead::Quality(Quality::train(&examples).map_err(Error::system(action()))?),
                examples.len(),
                Vec::new(),
            )
        }
    };
    session.services.heads.put(&session.plan.name, name, trained)?;
    Ok(Some(LearnedHead { name: name.clone(), examples, accuracy }))
}

fn untaught(head: &str) -> Option<LearnedHead> {
    note(&format!("head \"{head}\" has nothing to learn from: no line of split \"train\" is for a document with text"));
    None
}

/// Labelled vectors of one side, shuffled by the digest of their ids: the first twenty are of all kinds.
fn labelled(lines: &[&Feedback], vectors: &HashMap<String, Vec<f32>>, split: Split) -> Vec<(Vec<f32>, String)> {
    let mut chosen: Vec<(String, Vec<f32>, String)> = lines
        .iter()
        .filter(|line| line.split == split)
        .filter_map(|line| {
            let order = blake3::hash(line.document.as_bytes()).to_hex().to_string();
            Some((order, vectors.get(&line.document)?.clone(), line.label.clone()?))
        })
        .collect();
    chosen.sort_by(|a, b| a.0.cmp(&b.0));
    chosen.into_iter().map(|(_, vector, label)| (vector, label)).collect()
}
