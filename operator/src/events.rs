//! Kubernetes Events about objects: what went wrong, with everything that caused it.
//!
//! A failure that repeats is one Event, refreshed at most every five minutes; another text of it is another Event. Events are
//! news, not truth (that is the status), so one that cannot be published is logged and forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::{Instant, timeout};

use crate::{chain, metrics::Metrics};

/// The same news again is published after this; kube counts it as one series then.
const REPEAT: Duration = Duration::from_secs(300);
/// Another text about the same is published no earlier: a text that changes with every pass is no news.
const CHANGE: Duration = Duration::from_secs(30);
/// kube forgets a series after six minutes of silence; so do we.
const FORGET: Duration = Duration::from_secs(360);
/// Longest wait: a pass must not hang on its news.
const DEADLINE: Duration = Duration::from_secs(5);
/// The API server takes texts of at most 1,024 bytes.
const LONGEST: usize = 1_000;

/// Publishes Events.
pub struct Events {
    client: Client,
    reporter: Reporter,
    metrics: Arc<Metrics>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    news: HashMap<Subject, News>,
    swept: Option<Instant>,
}

/// What an Event is about: the object's uid, the action and the reason.
type Subject = (String, &'static str, String);

struct News {
    note: String,
    at: Instant,
    /// Holds the series that a repetition continues. kube's recorder keeps the first text of a series, so another text
    /// gets another recorder.
    recorder: Recorder,
}

impl Events {
    /// `instance` names this process.
    pub fn new(client: Client, instance: &str, metrics: &Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: "docket-operator".to_owned(), instance: Some(instance.to_owned()) };
        Self { client, reporter, metrics: Arc::clone(metrics), told: Mutex::default() }
    }

    /// An object cannot be brought to what it should be. `reason` is from a closed set, in UpperCamelCase.
    pub async fn failed<K>(&self, object: &K, reason: &str, error: &(dyn std::error::Error + Sync))
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(object.object_ref(&()), EventType::Warning, "Reconcile", reason, &chain(error)).await;
    }

    /// Something that was done about an object and that its author wants to know.
    pub async fn done<K>(&self, object: &K, action: &'static str, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(object.object_ref(&()), EventType::Normal, action, reason, note).await;
    }

    async fn publish(&self, object: ObjectReference, type_: EventType, action: &'static str, reason: &str, note: &str) {
        let note = shortened(note);
        let subject = (object.uid.clone().unwrap_or_default(), action, reason.to_owned());
        let Some(recorder) = self.recorder_for(subject, &note) else { return self.metrics.event("repeated") };
        let event =
            Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None };
        let failed = match timeout(DEADLINE, recorder.publish(&event, &object)).await {
            Ok(Ok(())) => return self.metrics.event("published"),
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.metrics.event("failed");
        tracing::warn!(error = failed, object = object.name, reason, "failed to publish an Event");
    }

    /// The recorder to publish by, unless this was told a moment ago.
    fn recorder_for(&self, subject: Subject, note: &str) -> Option<Recorder> {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.swept.is_none_or(|swept| now - swept > FORGET) {
            told.swept = Some(now);
            told.news.retain(|_, news| now - news.at < FORGET);
        }
        let fresh = || Recorder::new(self.client.clone(), self.reporter.clone());
        let recorder = match told.news.get(&subject) {
            Some(news) if now - news.at < if news.note == note { REPEAT } else { CHANGE } => return None,
            Some(news) if news.note == note => news.recorder.clone(),
            _ => fresh(),
        };
        told.news.insert(subject, News { note: note.to_owned(), at: now, recorder: recorder.clone() });
        Some(recorder)
    }
}

/// Cut at a character, with a sign that something is missing.
fn shortened(note: &str) -> String {
    if note.len() <= LONGEST {
        return note.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|&end| note.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &note[..end])
}
