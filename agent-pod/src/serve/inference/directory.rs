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
pub(super) struct Held {
    /// The pool.
    pub(super) pool: String,
    /// Its name there.
    pub(super) name: String,
    pub(super) task: ModelTask,
    /// The engine's name of it, where this process holds it.
    pub(super) engine: Option<String>,
    /// What it is, whatever it is called: the same for pools that hold the same model.
    identity: String,
}

/// The models of some pools.
#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct Directory {
    held: Vec<Held>,
    /// The pipelines that use a pool: a client that may use one of them may use its pools.
    users: BTreeMap<String, BTreeSet<String>>,
}

impl Directory {
    /// Adds a pool, the pipelines that use it and, where this process holds its models, their names in the engine.
    pub(in crate::serve) fn add(
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
    pub(super) fn find(&self, caller: &Caller, model: &str, task: ModelTask) -> Result<Vec<&Held>, Refusal> {
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
    pub(super) fn names(&self, caller: &Caller) -> Vec<(String, &Held)> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(models: &[(&str, &str, &str)]) -> AgentPoolSpec {
        let model = |(name, task, source): &(&str, &str, &str)| json!({"name": name, "task": task, "source": {"catalog": source}});
        let models: Vec<_> = models.iter().map(model).collect();
        serde_json::from_value(json!({"models": models})).expect("a pool")
    }

    fn directory() -> Directory {
        let mut directory = Directory::default();
        let readers = pool(&[("mini", "Embed", "minilm"), ("small", "Generate", "one")]);
        directory.add("readers", &readers, ["p".to_owned()], None);
        directory.add("readers", &readers, ["q".to_owned()], None);
        let writers = pool(&[("mini", "Embed", "minilm"), ("small", "Generate", "another")]);
        directory.add("writers", &writers, ["q".to_owned()], None);
        directory
    }

    fn client(pipelines: Option<&[&str]>) -> Caller {
        let pipelines = pipelines.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Caller { pipelines, ..Caller::default() }
    }

    fn pools_of(caller: &Caller, model: &str, task: ModelTask) -> Result<Vec<String>, String> {
        let directory = directory();
        let found = directory.find(caller, model, task);
        found
            .map(|held| held.iter().map(|held| held.pool.clone()).collect())
            .map_err(|refusal| refusal.body().to_string())
    }

    #[test]
    fn a_model_is_found_in_every_pool_that_holds_it() {
        let all = client(None);
        assert_eq!(pools_of(&all, "mini", ModelTask::Embed), Ok(vec!["readers".to_owned(), "writers".to_owned()]));
        assert_eq!(pools_of(&all, "writers/mini", ModelTask::Embed), Ok(vec!["writers".to_owned()]));
        assert_eq!(pools_of(&all, "writers/small", ModelTask::Generate), Ok(vec!["writers".to_owned()]));
    }

    #[test]
    fn a_name_of_different_models_a_wrong_task_and_an_unknown_name_are_refused() {
        let all = client(None);
        assert!(pools_of(&all, "small", ModelTask::Generate).is_err_and(|body| body.contains("write pool/small")));
        assert!(pools_of(&all, "mini", ModelTask::Generate).is_err_and(|body| body.contains("is for embeddings")));
        let unknown = pools_of(&all, "gpt-4o", ModelTask::Generate);
        assert!(unknown.is_err_and(|body| body.contains("model_not_found") && body.contains("readers/small")));
    }

    #[test]
    fn a_client_sees_the_pools_of_its_pipelines_alone() {
        let of_p = client(Some(&["p"]));
        assert_eq!(pools_of(&of_p, "small", ModelTask::Generate), Ok(vec!["readers".to_owned()]));
        assert!(pools_of(&of_p, "writers/small", ModelTask::Generate).is_err());
        let names = |caller: &Caller| directory().names(caller).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&of_p), ["mini", "readers/mini", "readers/small", "small"]);
        assert_eq!(names(&client(Some(&[]))), Vec::<String>::new());
        assert!(!names(&client(None)).contains(&"small".to_owned()), "it would be ambiguous");
    }
}
