//! Watches how the status of pools and pipelines changes while a story runs, and finds where it said what was not so.
//!
//! An object whose specification has just changed still carries the status of the one before; that is no lie, because the
//! condition names the generation that it is about. What is looked for: a condition about a generation that does not exist
//! yet, one that names none, one that was there and is gone, and a status that goes back to an earlier generation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use kube::{
    Client,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::task::JoinHandle;

use crate::{Kind, connection::WATCH_SECONDS};

/// What one story's objects have said so far.
pub(crate) struct History {
    lies: Arc<Mutex<Vec<String>>>,
    watches: Vec<JoinHandle<()>>,
}

impl History {
    /// Watches both kinds in a namespace.
    pub(crate) fn of(client: &Client, namespace: &str) -> Self {
        let lies = Arc::new(Mutex::new(Vec::new()));
        let watches = [Kind::AgentPool, Kind::Pipeline].into_iter().map(|kind| {
            let objects = kind.within(client, namespace);
            let lies = Arc::clone(&lies);
            tokio::spawn(async move {
                let mut said: BTreeMap<String, Said> = BTreeMap::new();
                let events = watcher(objects, watcher::Config::default().timeout(WATCH_SECONDS)).default_backoff();
                let mut events = std::pin::pin!(events);
                while let Some(event) = events.next().await {
                    if let Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) = event {
                        let said = said.entry(object.metadata.uid.clone().unwrap_or_default()).or_default();
                        let found = said.hear(&object);
                        lies.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                    }
                }
            })
        });
        Self { watches: watches.collect(), lies }
    }

    /// Ends the watches; an error where a status was not true.
    pub(crate) fn check(&self) -> Result<()> {
        let lies = self.lies.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(lies.is_empty(), "status was not true:\n{}", lies.join("\n"));
        Ok(())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Default)]
struct Said {
    conditions: BTreeSet<String>,
    newest: i64,
}

impl Said {
    fn hear(&mut self, object: &DynamicObject) -> Vec<String> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let generation = object.metadata.generation.unwrap_or_default();
        let mut lies = Vec::new();
        let mut names = BTreeSet::new();
        for condition in object.data["status"]["conditions"].as_array().into_iter().flatten() {
            let kind = condition["type"].as_str().unwrap_or_default();
            match condition["observedGeneration"].as_i64() {
                None => lies.push(format!("\"{name}\": condition {kind} names no generation: {condition}")),
                Some(observed) if observed > generation => {
                    lies.push(format!("\"{name}\" has generation {generation}, and {kind} is about {observed}"));
                }
                Some(observed) if kind == "Ready" => {
                    if observed < self.newest {
                        lies.push(format!("\"{name}\": Ready was about generation {}, then {observed}", self.newest));
                    }
                    self.newest = observed;
                }
                Some(_) => {}
            }
            names.insert(kind.to_owned());
        }
        lies.extend(self.conditions.difference(&names).map(|kind| format!("\"{name}\": condition {kind} has gone")));
        self.conditions.extend(names);
        lies
    }
}
