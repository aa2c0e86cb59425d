//! What clients can ask for, whichever protocol they speak.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use crds::Priority;
use flow::{DocumentRecord, Event, Outcome, Plan, Submission};
use futures::Stream;
use queue::Ports;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::{
    credits::{Credits, Spent},
    estimate,
    intake::{Intake, Room},
    refusal::Refusal,
    stats::Loads,
    tally::Tallies,
    tokens::{Caller, Tokens, bearer},
};
use crate::{
    commands::{dlq, explain::time, run::report, run::submit::TENANT},
    results::Sinks,
    runtime::{
        cache::RedisSettings,
        driver::{self, Driver, Submitted},
        drivers::Drivers,
        erasure::Eraser,
        now,
        progress::status_word,
        stop::Stop,
    },
    serve::{
        config::{Limits, Passes},
        status::Live,
    },
    stages::MAX_BYTES,
};

/// Longest id of a document in bytes: names in stores and brokers are made of it.
const MAX_ID_BYTES: usize = 512;
/// Longest source of a document in bytes, as of a path: the record holds it.
const MAX_SOURCE_BYTES: usize = 4_096;
/// Largest metadata of a document in bytes: every stage reads it.
const MAX_METADATA_BYTES: usize = 256 << 10;
/// Most records that one request looks through for those that it wants.
const LOOKED_THROUGH: usize = 5_000;
const PAGE: usize = 500;
/// What a document may have come to.
const OUTCOMES: [&str; 5] = ["succeeded", "partial", "dead-lettered", "cancelled", "unfinished"];

/// Everything that requests need.
pub struct Api {
    pub drivers: Drivers,
    pub ports: Ports,
    pub plans: BTreeMap<String, Arc<Plan>>,
    /// Names of pipelines that take no further documents.
    pub closed: BTreeSet<String>,
    pub credits: Arc<Credits>,
    pub tokens: Arc<Tokens>,
    pub limits: Limits,
    pub watchers: Arc<Semaphore>,
    pub intake: Intake,
    pub eraser: Eraser,
    pub passes: Passes,
    pub live: Arc<Live>,
    pub loads: Loads,
    pub tallies: Tallies,
    pub stop: Stop,
    pub sinks: Arc<Sinks>,
    /// Whether this gateway works all pools itself, those of earlier plans too.
    pub works_alone: bool,
    /// The server of the cache that processes share.
    pub redis: Option<RedisSettings>,
}

/// What is said of a document before its bytes come.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub pipeline: String,
    pub id: Option<String>,
    pub idempotency_key: Option<String>,
    pub source: Option<String>,
    pub tenant: Option<String>,
    pub priority: Option<Priority>,
    pub deadline: Option<Duration>,
    pub metadata: Map<String, Value>,
    /// How many bytes are announced.
    pub length: Option<u64>,
}

/// A document that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub document: String,
    /// Whether an earlier submission brought it.
    pub repeated: bool,
    /// When it will have ended, as RFC 3339 writes times, where that can be said.
    pub expected_finish: Option<String>,
}

/// A part of a list.
pub(super) struct Listed {
    pub(super) items: Vec<Value>,
    /// Where the next part begins.
    pub(super) next: Option<String>,
}

impl Api {
    /// Who calls. A gateway that leaves lets nobody in: it may know plans that are past.
    pub(super) async fn caller(&self, authorization: Option<&str>) -> Result<Caller, Refusal> {
        if self.stop.is_leaving() {
            return Err(Refusal::Unavailable("this gateway is leaving; ask again, and another one answers".to_owned()));
        }
        self.tokens.caller(authorization.and_then(bearer)).await.map_err(Refusal::from)
    }

    /// The plan of a pipeline that the caller may use.
    pub(super) fn plan(&self, caller: &Caller, pipeline: &str) -> Result<&Arc<Plan>, Refusal> {
        let allowed = caller.pipelines.as_ref().is_none_or(|names| names.iter().any(|name| name == pipeline));
        let plan = self.plans.get(pipeline).filter(|_| allowed);
        plan.ok_or_else(|| Refusal::NotFound(format!("there is no pipeline \"{pipeline}\"")))
    }

    /// The pipelines that the caller may use.
    pub(super) fn pipelines(&self, caller: &Caller) -> Vec<Value> {
        let allowed = self.plans.values().filter(|plan| self.plan(caller, &plan.name).is_ok());
        let describe = |plan: &Arc<Plan>| {
            let stages: Vec<Value> = plan
                .stages()
                .iter()
                .map(|stage| json!({"name": stage.name, "pool": stage.spec.pool, "after": stage.predecessors}))
                .collect();
            json!({
                "name": plan.name, "plan": plan.digest, "suspended": plan.spec.suspend, "maxBytes": self.largest(plan),
                "stages": stages,
            })
        };
        allowed.map(describe).collect()
    }

    /// Takes a document: payload, record, first tasks, in this order; only then the caller gets its id.
    ///
    /// `room` is what the bytes have been given in memory before they came.
    pub async fn submit(
        &self,
        caller: &Caller,
        head: Head,
        (body, room): (impl Stream<Item = Result<Bytes, Refusal>> + Send, Room),
    ) -> Result<Accepted, Refusal> {
        let pipeline = head.pipeline.clone();
        let taken = self.take(caller, head, (body, room)).await;
        let result = match &taken {
            Ok(Accepted { repeated: false, .. }) => "accepted",
            Ok(Accepted { repeated: true, .. }) => "repeated",
            Err(refusal) => refusal.reason(),
        };
        // A name that a client made up must not become a label.
        let pipeline = if self.plans.contains_key(&pipeline) { pipeline.as_str() } else { "" };
        self.drivers.metrics().submission(pipeline, result);
        taken
    }

    /// A pipeline that takes no further documents still knows those that it has taken.
    async fn admits(&self, plan: &Plan, document: &str) -> Result<(), Refusal> {
        if !self.closed.contains(&plan.name) {
            return Ok(());
        }
        match self.drivers.of(&plan.name).get(document).await {
            Ok(_) => Ok(()),
            Err(driver::Error::Unknown { .. }) => Err(Refusal::Conflict(format!(
                "pipeline \"{}\" takes no further documents: it is being closed, or its pools no longer hold its models",
                plan.name
            ))),
            Err(error) => Err(error.into()),
        }
    }

    async fn take(
        &self,
        caller: &Caller,
        head: Head,
        (body, room): (impl Stream<Item = Result<Bytes, Refusal>> + Send, Room),
    ) -> Result<Accepted, Refusal> {
        let plan = self.plan(caller, &head.pipeline)?;
        let tenant = tenant(caller, head.tenant.as_deref())?;
        let document = document_id(&head, &tenant)?;
        let source = match head.source.as_deref() {
            None | Some("") => document.clone(),
            Some(source) => named("source", source, MAX_SOURCE_BYTES)?,
        };
        self.admits(plan, &document).await?;
        let reservation = self.credits.reserve(&plan.name, &tenant, &document).map_err(|spent| Refusal::Busy {
            message: format!(
                "tenant \"{tenant}\" has {} documents in flight in pipeline \"{}\", which is the limit",
                self.limits.in_flight, plan.name
            ),
            retry_after: self.when_free(plan, &spent),
        })?;
        let (payload, bytes) =
            self.intake.take(self.ports.payloads.as_ref(), self.largest(plan), (head.length, room), body).await?;
        let metadata = match head.metadata.is_empty() {
            true => None,
            false => Some(self.ports.payloads.put(Bytes::from(Value::Object(head.metadata).to_string())).await?),
        };
        let submission = Submission {
            document: document.clone(),
            tenant: tenant.clone(),
            source,
            payload,
            metadata,
            priority: head.priority.unwrap_or(plan.spec.priority_default),
            deadline: head
                .deadline
                .map(|span| now().saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))),
            bytes: Some(bytes),
        };
        let driver = self.drivers.of(&plan.name);
        let taken_by_another = || {
            let message = format!("another document has the id \"{document}\"; choose another id or key");
            Refusal::Conflict(message)
        };
        let mut expected_finish = self.loads.expected_finish(plan, None);
        let repeated = match driver.submit(plan, submission, None).await? {
            Submitted::New => false,
            Submitted::OtherPayload => return Err(taken_by_another()),
            Submitted::Known { ended } => {
                let record = driver.get(&document).await?;
                if record.submission.tenant != tenant {
                    return Err(taken_by_another());
                }
                if ended {
                    return Ok(Accepted { document, repeated: true, expected_finish: None });
                }
                expected_finish = self.loads.expected_finish(plan, Some(&record));
                // The first try may have died between its record and its first tasks.
                driver.publish_outstanding(&record).await?;
                true
            }
        };
        reservation.keep();
        Ok(Accepted { document, repeated, expected_finish })
    }

    /// When a credit should have come back: by how long documents take, or by how often they have ended so far.
    fn when_free(&self, plan: &Plan, spent: &Spent) -> Duration {
        let seconds = self.loads.remaining(plan, None);
        estimate::retry_after(seconds, spent.in_flight).unwrap_or(spent.retry_after)
    }

    /// Most bytes of a document of this plan.
    fn largest(&self, plan: &Plan) -> u64 {
        // What one parse stage refuses another may take.
        let parses = plan.stages().iter().filter_map(|stage| stage.spec.parse.as_ref());
        let parsed = parses.map(|parse| parse.max_bytes.unwrap_or(MAX_BYTES)).max().unwrap_or(u64::MAX);
        self.limits.document_bytes.min(parsed)
    }

    /// A document's record, if it is the caller's.
    pub async fn record(
        &self,
        caller: &Caller,
        pipeline: &str,
        document: &str,
    ) -> Result<(Arc<Driver>, DocumentRecord), Refusal> {
        self.plan(caller, pipeline)?;
        let driver = self.drivers.of(pipeline);
        let record = driver.get(document).await?;
        if !may_see(caller, &record) {
            let message = format!("there is no document \"{document}\" in pipeline \"{pipeline}\"");
            return Err(Refusal::NotFound(message));
        }
        Ok((driver, record))
    }

    /// A document as `docket run` prints it.
    pub async fn result(&self, driver: &Driver, record: &DocumentRecord) -> Result<Value, Refusal> {
        let plan = driver.plan(record).await?;
        let mut result = report::result(self.ports.payloads.as_ref(), &plan, record).await?;
        if record.end.is_none()
            && let Some(expected) = self.loads.expected_finish(&plan, Some(record))
        {
            result["expectedFinish"] = json!(expected);
        }
        Ok(result)
    }

    /// Gives a document up; one that has ended stays as it is.
    pub(super) async fn cancel(&self, caller: &Caller, pipeline: &str, document: &str) -> Result<Value, Refusal> {
        let (driver, record) = self.record(caller, pipeline, document).await?;
        let record = if record.end.is_some() { record } else { driver.apply(document, Event::Cancel).await? };
        self.result(&driver, &record).await
    }

    /// Works a dead letter again. Asked for once more, because the answer was lost or the tasks could not be published, it is
    /// the same replay.
    pub(super) async fn replay(&self, caller: &Caller, pipeline: &str, document: &str) -> Result<Value, Refusal> {
        let (driver, record) = self.record(caller, pipeline, document).await?;
        if !is_dead(&record) {
            if !is_replayed(&record) {
                return Err(Refusal::Conflict(format!("\"{document}\" is not a dead letter")));
            }
            driver.publish_outstanding(&record).await?;
            return self.result(&driver, &record).await;
        }
        let tenant = &record.submission.tenant;
        let plan = driver.plan(&record).await?;
        let reservation = self.credits.reserve(pipeline, tenant, document).map_err(|spent| Refusal::Busy {
            message: format!("tenant \"{tenant}\" has as many documents in flight as it may"),
            retry_after: self.when_free(&plan, &spent),
        })?;
        let record = driver.apply(document, Event::Replay).await?;
        reservation.keep();
        self.result(&driver, &record).await
    }

    /// Documents of a pipeline in the order of their ids, in short.
    pub(super) async fn list(
        &self,
        caller: &Caller,
        pipeline: &str,
        (after, limit, outcome): (Option<String>, usize, Option<&str>),
    ) -> Result<Listed, Refusal> {
        if let Some(word) = outcome.filter(|word| !OUTCOMES.contains(word)) {
            let message = format!("outcome: \"{word}\" is not one of {}", OUTCOMES.join(", "));
            return Err(Refusal::Invalid(message));
        }
        let wanted = |record: &DocumentRecord| {
            let found = record.end.as_ref().map_or("unfinished", |end| report::end_word(end.outcome));
            outcome.is_none_or(|outcome| outcome == found)
        };
        self.look_through(caller, pipeline, (after, limit), wanted, in_short).await
    }

    /// Dead letters of a pipeline in the order of their documents' ids.
    pub(super) async fn dead_letters(
        &self,
        caller: &Caller,
        pipeline: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        self.look_through(caller, pipeline, (after, limit), is_dead, dlq::letter).await
    }

    async fn look_through(
        &self,
        caller: &Caller,
        pipeline: &str,
        part: (Option<String>, usize),
        wanted: impl Fn(&DocumentRecord) -> bool,
        describe: impl Fn(&DocumentRecord) -> Value,
    ) -> Result<Listed, Refusal> {
        let (records, next) = self.records(caller, pipeline, part, wanted).await?;
        Ok(Listed { items: records.iter().map(describe).collect(), next })
    }

    /// Records of the caller's documents that are wanted, and where the next ones begin.
    pub(super) async fn records(
        &self,
        caller: &Caller,
        pipeline: &str,
        (mut after, limit): (Option<String>, usize),
        wanted: impl Fn(&DocumentRecord) -> bool,
    ) -> Result<(Vec<DocumentRecord>, Option<String>), Refusal> {
        self.plan(caller, pipeline)?;
        let driver = self.drivers.of(pipeline);
        let mut records = Vec::new();
        let mut seen = 0;
        while seen < LOOKED_THROUGH {
            let page = driver.scan(after.as_deref(), PAGE).await?;
            if page.is_empty() {
                return Ok((records, None));
            }
            seen += page.len();
            for record in page {
                after = Some(record.submission.document.clone());
                if may_see(caller, &record) && wanted(&record) {
                    records.push(record);
                }
                if records.len() == limit {
                    return Ok((records, after));
                }
            }
        }
        Ok((records, after))
    }
}

fn is_dead(record: &DocumentRecord) -> bool {
    record.end.as_ref().is_some_and(|end| end.outcome == Outcome::DeadLettered)
}

/// Whether a document was a dead letter and is worked again, or has been since.
fn is_replayed(record: &DocumentRecord) -> bool {
    let outcome = record.end.as_ref().map(|end| end.outcome);
    record.epoch > 0 && matches!(outcome, None | Some(Outcome::Succeeded | Outcome::Partial))
}

/// Whether a document is of the caller's tenant.
pub(super) fn may_see(caller: &Caller, record: &DocumentRecord) -> bool {
    caller.tenant.as_ref().is_none_or(|tenant| *tenant == record.submission.tenant)
}

fn in_short(record: &DocumentRecord) -> Value {
    let stages: Map<String, Value> =
        record.stages.iter().map(|(name, state)| (name.clone(), json!(status_word(&state.status)))).collect();
    let end = record.end.as_ref();
    json!({
        "document": record.submission.document,
        "source": record.submission.source,
        "tenant": record.submission.tenant,
        "outcome": end.map_or("unfinished", |end| report::end_word(end.outcome)),
        "submitted": time(record.submitted_at),
        "changed": time(record.changed_at),
        "round": record.round,
        "stages": stages,
        "plan": record.plan,
    })
}

/// The tenant that a document belongs to.
fn tenant(caller: &Caller, asked: Option<&str>) -> Result<String, Refusal> {
    let tenant = match (&caller.tenant, asked) {
        (Some(own), Some(asked)) if own != asked => {
            return Err(Refusal::Forbidden(format!("the token is of tenant \"{own}\", not \"{asked}\"")));
        }
        (Some(own), _) => own,
        (None, asked) => asked.unwrap_or(TENANT),
    };
    named("tenant", tenant, 253)
}

/// The id: as it was given, or made of the key, or new.
fn document_id(head: &Head, tenant: &str) -> Result<String, Refusal> {
    match (&head.id, &head.idempotency_key) {
        // Neither can be written in an address.
        (Some(id), _) if id == "." || id == ".." => Err(Refusal::Invalid(format!("id: \"{id}\" is not a name"))),
        (Some(id), _) => named("id", id, MAX_ID_BYTES),
        (None, Some(key)) => {
            let key = named("Idempotency-Key", key, MAX_ID_BYTES)?;
            let mut hasher = blake3::Hasher::new();
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            for part in [head.pipeline.as_str(), tenant, &key] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
            }
            Ok(hasher.finalize().to_hex().as_str()[..32].to_owned())
        }
        (None, None) => Ok(uuid::Uuid::now_v7().simple().to_string()),
    }
}

/// Metadata that is not too large.
pub(super) fn metadata(text: &str) -> Result<Map<String, Value>, Refusal> {
    if text.len() > MAX_METADATA_BYTES {
        return Err(Refusal::Invalid(format!("metadata: has more than {MAX_METADATA_BYTES} bytes")));
    }
    serde_json::from_str(text).map_err(|error| Refusal::Invalid(format!("metadata: is not a JSON object: {error}")))
}

/// A priority by its word.
pub(super) fn priority(word: &str) -> Result<Priority, Refusal> {
    let all = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
    let found = all.into_iter().find(|priority| format!("{priority:?}").eq_ignore_ascii_case(word));
    found.ok_or_else(|| Refusal::Invalid(format!("priority: \"{word}\" is not one of Critical, High, Normal, Low")))
}

fn named(what: &str, text: &str, longest: usize) -> Result<String, Refusal> {
    let problem = if text.is_empty() {
        "must not be empty".to_owned()
    } else if text.len() > longest {
        format!("has {} bytes, at most {longest} are allowed", text.len())
    } else if text.chars().any(char::is_control) {
        "must not hold control characters".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Refusal::Invalid(format!("{what}: {problem}")))
}
