//! What a story waits for: a predicate over an object, with words for the message when it does not come about.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use kube::{
    Api,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::connection::WATCH_SECONDS;

/// Longest wait for what should come about: generous, because the machine is busy. Stories assert no speed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What is expected of one object.
pub struct Expectation {
    words: String,
    holds: Box<dyn Fn(Option<&DynamicObject>) -> bool + Send + Sync>,
}

impl Expectation {
    /// Any predicate; `None` is an object that is not there.
    pub fn new(words: &str, holds: impl Fn(Option<&DynamicObject>) -> bool + Send + Sync + 'static) -> Self {
        Self { words: words.to_owned(), holds: Box::new(holds) }
    }

    /// Both.
    pub fn and(self, other: Self) -> Self {
        let words = format!("{} and {}", self.words, other.words);
        Self { words, holds: Box::new(move |object| (self.holds)(object) && (other.holds)(object)) }
    }

    pub(crate) fn holds(&self, object: Option<&DynamicObject>) -> bool {
        (self.holds)(object)
    }
}

/// A condition of the present generation has this status: "True", "False" or "Unknown".
pub fn condition(name: &str, status: &str) -> Expectation {
    let (wanted_name, wanted_status) = (name.to_owned(), status.to_owned());
    Expectation::new(&format!("{name}={status}"), move |object| {
        object.is_some_and(|object| {
            condition_of(object, &wanted_name).is_some_and(|condition| {
                condition["status"] == wanted_status.as_str()
                    && condition["observedGeneration"].as_i64() == object.metadata.generation
            })
        })
    })
}

/// A condition of the present generation has this status and its reason or message contains these words.
pub fn condition_saying(name: &str, status: &str, said: &str) -> Expectation {
    let (wanted_name, wanted) = (name.to_owned(), said.to_owned());
    let says = Expectation::new(&format!("saying \"{said}\""), move |object| {
        object.and_then(|object| condition_of(object, &wanted_name)).is_some_and(|condition| {
            let part = |field: &str| condition[field].as_str().unwrap_or_default().contains(&wanted);
            part("reason") || part("message")
        })
    });
    condition(name, status).and(says)
}

/// The object is not there.
pub fn gone() -> Expectation {
    Expectation::new("to be gone", |object| object.is_none())
}

/// The object is there and not on its way out.
pub fn present() -> Expectation {
    Expectation::new("to be there", |object| object.is_some_and(|object| object.metadata.deletion_timestamp.is_none()))
}

/// So many replicas are ready, and no more exist.
pub fn ready_replicas(wanted: u64) -> Expectation {
    Expectation::new(&format!("{wanted} ready replicas"), move |object| {
        object.is_some_and(|object| {
            let status = |field: &str| object.data["status"][field].as_u64().unwrap_or_default();
            status("readyReplicas") == wanted && status("replicas") == wanted
        })
    })
}

/// A field has this value; the path is a JSON pointer.
pub fn field(pointer: &str, value: Value) -> Expectation {
    let path = pointer.to_owned();
    Expectation::new(&format!("{pointer} = {value}"), move |object| {
        object.and_then(|object| object.data.pointer(&path)).is_some_and(|found| *found == value)
    })
}

/// A condition of an object, as it stands in its status.
pub fn condition_of<'a>(object: &'a DynamicObject, name: &str) -> Option<&'a Value> {
    object.data["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

/// Waits until the expectation holds; the object as it is then, none where it is gone.
pub async fn wait(
    objects: &Api<DynamicObject>,
    name: &str,
    expectation: &Expectation,
    patience: Duration,
) -> Result<Option<DynamicObject>> {
    let one = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    let kind = objects.resource_url().rsplit('/').next().unwrap_or_default().to_owned();
    let mut last: Option<DynamicObject> = None;
    let met = timeout(patience, async {
        // An error of the watch is not the object's: the stream asks again.
        let mut events = std::pin::pin!(watcher(objects.clone(), one).default_backoff());
        let mut seen = false;
        loop {
            match events.next().await {
                Some(Ok(watcher::Event::Init)) => {
                    seen = false;
                    continue;
                }
                Some(Ok(watcher::Event::InitApply(object))) => {
                    seen = true;
                    last = Some(object);
                }
                Some(Ok(watcher::Event::Apply(object))) => last = Some(object),
                Some(Ok(watcher::Event::Delete(_))) => last = None,
                Some(Ok(watcher::Event::InitDone)) if seen => continue,
                Some(Ok(watcher::Event::InitDone)) => last = None,
                Some(Err(_)) => continue,
                None => bail!("the watch of {kind} ended"),
            }
            if expectation.holds(last.as_ref()) {
                return Ok(());
            }
        }
    })
    .await;
    match met {
        Ok(met) => met.map(|()| last),
        Err(_) => {
            let state = last.map_or("there is none".to_owned(), |object| {
                format!(
                    "it is {:#}",
                    serde_json::json!({"metadata": object.metadata.name,
                    "generation": object.metadata.generation, "status": object.data["status"]})
                )
            });
            bail!("{kind} \"{name}\": expected {} within {patience:?}; {state}", expectation.words)
        }
    }
}

/// As [`wait`], for an object that is to be there.
pub async fn wait_for(objects: &Api<DynamicObject>, name: &str, expectation: &Expectation) -> Result<DynamicObject> {
    wait(objects, name, expectation, PATIENCE).await?.with_context(|| format!("\"{name}\" is gone"))
}
