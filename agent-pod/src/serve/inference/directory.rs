//! Which models there are, what they are called, and who may use them.

use std::collections::{BTreeMap, BTreeSet};

use crds::{AgentPoolSpec, Model, ModelTask};

use super::refusal::Refusal;
use crate::{
    runtime::models::{self, ModelNames},
    serve::gateway::tokens::Caller,
};

/// A model of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The pool.
    pub pool: String,
    /// Its name there.
    pub name: String,
    pub task: ModelTask,
    /// The engine's name of it, where this process holds it.
    pub engine: Option<String>,
    /// What it is, whatever it is called: the same for pools that hold the same model.
    identity: String,
}

/// The models of some pools.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    held: Vec<Held>,
    /// The pipelines that use a pool: a client that may use one of them may use its pools.
    users: BTreeMap<String, BTreeSet<String>>,
}

impl Directory {
    /// Adds a pool, the pipelines that use it and, where this process holds its models, their names in the engine.
    pub fn add(
        &mut self,
        pool: &str,
        spec: &AgentPoolSpec,
        pipelines: impl IntoIterator<Item = String>,
        names: Option<&ModelNames>,
    ) {
        self.users.entry(pool.to_owned()).or_default().extend(pipelines);
        if self.held.iter().any(|held| held.pool == pool) {
            return;
        }
        for model in spec.models.iter().filter(|model| has_files(model)) {
            let engine = names.and_then(|names| names.of(model)).map(str::to_owned);
            if names.is_none() || engine.is_some() {
                let (pool, name, identity) = (pool.to_owned(), model.name.clone(), models::identity(model));
                self.held.push(Held { pool, name, task: model.task, engine, identity });
            }
        }
    }

    /// The pools.
    pub(in crate::serve) fn pools(&self) -> impl Iterator<Item = &String> {
        self.users.keys()
    }

    /// The model that a client means by `model` or `pool/model`, once for each pool that holds it.
    pub fn find(&self, caller: &Caller, model: &str, task: ModelTask) -> Result<Vec<&Held>, Refusal> {
        let (pool, name) = match model.split_once('/') {
            Some((pool, name)) => (Some(pool), name),
            None => (None, model),
        };
        let named = |held: &&Held| held.name == name && pool.is_none_or(|pool| pool == held.pool);
        let found: Vec<&Held> = self.visible(caller).filter(named).collect();
        let Some(first) = found.first() else {
            let known: Vec<String> = self.names(caller).into_iter().map(|(name, _)| name).collect();
            return Err(Refusal::UnknownModel(format!(
                "no pool holds a model \"{model}\" for you; there are: {}",
                known.join(", ")
            )));
        };
        if let Some(other) = found.iter().find(|held| held.identity != first.identity) {
            return Err(Refusal::of_field(
                "model",
                format!(
                    "pools \"{}\" and \"{}\" hold different models \"{name}\"; write pool/{name}",
                    first.pool, other.pool
                ),
            ));
        }
        if first.task != task {
            return Err(Refusal::of_field("model", format!("model \"{model}\" is for {}", work(first.task))));
        }
        Ok(found)
    }

    /// The names that a client can use, each with a model that it means.
    pub fn names(&self, caller: &Caller) -> Vec<(String, &Held)> {
        let visible: Vec<&Held> = self.visible(caller).collect();
        let is_clear = |held: &Held| {
            visible.iter().filter(|other| other.name == held.name).all(|other| other.identity == held.identity)
        };
        let mut names = BTreeMap::new();
        for held in &visible {
            names.insert(format!("{}/{}", held.pool, held.name), *held);
            if is_clear(held) {
                names.entry(held.name.clone()).or_insert(*held);
            }
        }
        names.into_iter().collect()
    }

    fn visible(&self, caller: &Caller) -> impl Iterator<Item = &Held> {
        let may_use = |pool: &str| match &caller.pipelines {
            None => true,
            Some(allowed) => {
                self.users.get(pool).is_some_and(|users| allowed.iter().any(|pipeline| users.contains(pipeline)))
            }
        };
        self.held.iter().filter(move |held| may_use(&held.pool))
    }
}

/// Whether it is one that a worker loads.
fn has_files(model: &Model) -> bool {
    model.source.catalog.is_some() || model.source.file.is_some() || model.source.http.is_some()
}

fn work(task: ModelTask) -> &'static str {
    match task {
        ModelTask::Embed => "embeddings and rerank",
        ModelTask::Generate => "chat completions",
    }
}
