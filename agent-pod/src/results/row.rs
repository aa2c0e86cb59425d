//! The row of a document: what sinks keep of it.

use flow::{DocumentRecord, Plan, StageStatus};
use minijinja::value::Serde;
use queue::Payloads;
use serde_json::{Map, Value, json};

use crate::{
    commands::run::report,
    error::chain,
    runtime::{services::payload_json, templates::Templates},
    stages::Failure,
};

/// Stands where a text had U+0000, which no database of texts takes.
const NUL_MARK: &str = "\u{2400}";

/// What is kept of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Names the document among those of all pipelines and tenants.
    pub key: String,
    /// Names this end of it.
    pub ended_key: String,
    pub pipeline: String,
    pub tenant: String,
    pub document: String,
    pub source: String,
    pub outcome: &'static str,
    /// JSON.
    pub output: String,
    /// A JSON list.
    pub citations: String,
    /// A JSON list.
    pub degraded: String,
    pub quality: Option<f64>,
    pub anomaly: Option<f64>,
    /// Whether a person is to look at it.
    pub audit: bool,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cost: Option<f64>,
    pub seconds: f64,
    pub plan: String,
    pub epoch: u32,
    pub submitted_at: u64,
    pub ended_at: u64,
    /// Whether U+0000 was replaced somewhere.
    pub nul_replaced: bool,
    /// What people answered on the way: a JSON list of objects.
    pub answers: String,
}

impl Row {
    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.output, &self.citations, &self.degraded, &self.answers, &self.document, &self.source];
        512 + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

/// A name of fixed length for parts that may hold anything.
pub fn key(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().as_str()[..32].to_owned()
}

/// Names an answer of a person in the log.
pub(crate) fn answer_key(record: &DocumentRecord, stage: &str, approved: bool) -> String {
    let submission = &record.submission;
    let round = record.stages.get(stage).map_or(0, |state| state.round);
    key(&[
        if approved { "approved" } else { "rejected" },
        &record.pipeline,
        &submission.tenant,
        &submission.document,
        stage,
        &format!("{}/{}/{round}", record.submitted_at, record.epoch),
    ])
}

/// The row of a document whose last stages have ended.
pub(super) async fn of(
    payloads: &dyn Payloads,
    templates: &Templates,
    plan: &Plan,
    record: &DocumentRecord,
) -> Result<Row, Failure> {
    let mut line = report::result(payloads, plan, record).await?;
    let anomaly = anomaly(payloads, templates, plan, record, &line).await?;
    let threshold = plan.spec.results.as_ref().map_or(1.0, |results| results.anomaly_threshold);
    let mut nul_replaced = false;
    let mut answers = answers(plan, record, &line);
    let mut degraded = json!(record.degraded);
    for value in [&mut line["output"], &mut degraded, &mut answers] {
        nul_replaced |= replace_nul(value);
    }
    nul_replaced |= replace_nul(&mut line["citations"]);
    let mut text = |text: &str| {
        nul_replaced |= text.contains('\0');
        text.replace('\0', NUL_MARK)
    };
    let submission = &record.submission;
    let (tenant, document, source) = (text(&submission.tenant), text(&submission.document), text(&submission.source));
    let consumed = record.consumed();
    let execution = format!("{}/{}", record.submitted_at, record.epoch);
    let names = [record.pipeline.as_str(), &submission.tenant, &submission.document];
    Ok(Row {
        key: key(&names),
        ended_key: key(&["ended", names[0], names[1], names[2], &execution]),
        pipeline: record.pipeline.clone(),
        tenant,
        document,
        source,
        outcome: if record.degraded.is_empty() { "succeeded" } else { "partial" },
        output: line["output"].to_string(),
        citations: line["citations"].to_string(),
        degraded: degraded.to_string(),
        quality: record.quality,
        anomaly,
        audit: anomaly.is_some_and(|anomaly| anomaly > threshold),
        prompt_tokens: consumed.prompt_tokens,
        completion_tokens: consumed.completion_tokens,
        cost: line["cost"].as_f64(),
        seconds: line["seconds"].as_f64().unwrap_or(0.0),
        plan: record.plan.clone(),
        epoch: record.epoch,
        submitted_at: record.submitted_at,
        ended_at: record.changed_at,
        nul_replaced,
        answers: answers.to_string(),
    })
}

/// How unusual the document is: as the pipeline's expression says, else the highest score of its anomaly heads.
async fn anomaly(
    payloads: &dyn Payloads,
    templates: &Templates,
    plan: &Plan,
    record: &DocumentRecord,
    line: &Value,
) -> Result<Option<f64>, Failure> {
    let Some(expression) = plan.spec.results.as_ref().and_then(|results| results.anomaly.as_ref()) else {
        return Ok(highest_score(plan, record));
    };
    let metadata = match &record.submission.metadata {
        Some(digest) => payload_json(payloads, digest).await?,
        None => json!({}),
    };
    let stages: Map<String, Value> = line["stages"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, stage)| stage["outcome"] == "succeeded")
        .map(|(name, stage)| (name.clone(), stage["output"].clone()))
        .collect();
    let document = json!({
        "id": record.submission.document, "source": record.submission.source, "metadata": metadata,
    });
    let context = minijinja::context! {
        document => minijinja::Value::from(Serde(&document)),
        stages => minijinja::Value::from(Serde(&stages)),
    };
    let found = templates.number(expression, &context).await;
    found.map_err(|error| Failure::permanent("TemplateFailed", format!("results.anomaly: {}", chain(&error))))
}

fn highest_score(plan: &Plan, record: &DocumentRecord) -> Option<f64> {
    let is_anomaly =
        |head: &str| plan.spec.heads.iter().any(|known| known.name == head && known.kind == crds::HeadKind::Anomaly);
    let scored = plan
        .stages()
        .iter()
        .filter(|stage| stage.spec.score.as_ref().and_then(|score| score.head.as_deref()).is_some_and(is_anomaly));
    let scores = scored.filter_map(|stage| match &record.stages.get(&stage.name)?.status {
        StageStatus::Done(completion) => completion.score,
        _ => None,
    });
    scores.max_by(f64::total_cmp)
}

/// What people answered at the stages that asked.
fn answers(plan: &Plan, record: &DocumentRecord, line: &Value) -> Value {
    let asked = plan.stages().iter().filter(|stage| stage.spec.approve.is_some());
    let answered = asked.filter_map(|stage| {
        let output = &line["stages"][&stage.name]["output"];
        let approved = output["approved"].as_bool()?;
        Some(json!({
            "key": answer_key(record, &stage.name, approved), "event": "approved", "stage": stage.name,
            "who": output["by"], "comment": output["comment"], "at": output["at"],
        }))
    });
    Value::Array(answered.collect())
}

/// Replaces U+0000 in all texts and keys; whether there was any.
pub fn replace_nul(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text.contains('\0') => {
            *text = text.replace('\0', NUL_MARK);
            true
        }
        Value::Array(items) => items.iter_mut().map(replace_nul).fold(false, |any, found| any | found),
        Value::Object(fields) => {
            let mut found = fields.values_mut().map(replace_nul).fold(false, |any, found| any | found);
            if fields.keys().any(|key| key.contains('\0')) {
                found = true;
                let whole = std::mem::take(fields);
                fields.extend(whole.into_iter().map(|(key, value)| (key.replace('\0', NUL_MARK), value)));
            }
            found
        }
        _ => false,
    }
}
