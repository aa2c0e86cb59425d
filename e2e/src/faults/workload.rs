//! What users do to pools and pipelines, as rows of steps; each is waited for before the next.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::lab::until;
use crate::Kind;

/// Who users write as.
const MANAGER: &str = "user";
/// Longest wait for a step's effect; more than a crash, a restart and what follows may take.
const STEP: Duration = Duration::from_secs(120);

/// One thing that a user does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Makes an object, or makes it so.
    Apply(Kind, &'static str, Value),
    /// Changes an object by a merge patch.
    Change(Kind, &'static str, Value),
    /// Writes the number of replicas by the scale subresource.
    Scale(&'static str, u32),
    /// Deletes an object.
    Delete(Kind, &'static str),
}

/// A row of steps: what comes before, and what is looked at.
#[derive(Clone, Debug)]
pub struct Workload {
    /// For reports.
    pub name: &'static str,
    /// Taken without faults.
    pub before: Vec<Step>,
    /// Taken with them.
    pub steps: Vec<Step>,
    /// Whether nothing at all may be left at the end.
    pub leaves_nothing: bool,
}

impl Step {
    /// Does it.
    pub async fn take(&self, client: &Client, namespace: &str) -> Result<()> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = |kind: Kind| kind.within(client, namespace);
        let taken = match self {
            Self::Apply(kind, name, spec) => {
                let resource = kind.resource();
                let object = json!({"apiVersion": resource.api_version, "kind": resource.kind,
                    "metadata": {"name": name}, "spec": spec});
                api(*kind).patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await.map(drop)
            }
            Self::Change(kind, name, change) => {
                api(*kind).patch(name, &params, &Patch::Merge(&json!({"spec": change}))).await.map(drop)
            }
            Self::Scale(name, replicas) => {
                let change = json!({"spec": {"replicas": replicas}});
                api(Kind::AgentPool).patch_scale(name, &params, &Patch::Merge(&change)).await.map(drop)
            }
            Self::Delete(kind, name) => api(*kind).delete(name, &DeleteParams::default()).await.map(drop),
        };
        taken.with_context(|| format!("take the step {self:?}"))
    }

    /// Waits for as much of its effect as comes about while the operator sees nothing: an object without finalizers is gone.
    pub async fn wait_unseen(&self, client: &Client, namespace: &str) -> Result<()> {
        let Self::Delete(kind, name) = self else { return Ok(()) };
        let api: Api<DynamicObject> = kind.within(client, namespace);
        let deadline = Duration::from_secs(3);
        // One that has a finalizer stays: the step after that is a change of what is on its way out.
        let _ = until("gone", deadline, async || Ok(api.get_opt(name).await?.is_none())).await;
        Ok(())
    }

    /// Waits until it has its effect.
    pub async fn wait(&self, client: &Client, namespace: &str) -> Result<()> {
        let (kind, name) = match self {
            Self::Apply(kind, name, _) | Self::Change(kind, name, _) | Self::Delete(kind, name) => (*kind, *name),
            Self::Scale(name, _) => (Kind::AgentPool, *name),
        };
        let api: Api<DynamicObject> = kind.within(client, namespace);
        let deleted = matches!(self, Self::Delete(..));
        until(&format!("the effect of {self:?}"), STEP, async || {
            let object = api.get_opt(name).await.context("look at an object")?;
            Ok(object.as_ref().map_or(deleted, |object| !deleted && is_settled(object)))
        })
        .await
        .map(drop)
    }
}

/// Whether what is written is so: ready, nothing under way, and all of it about the present generation.
pub fn is_settled(object: &DynamicObject) -> bool {
    let is = |kind: &str, status: &str| {
        object.data["status"]["conditions"].as_array().into_iter().flatten().any(|condition| {
            condition["type"] == kind
                && condition["status"] == status
                && condition["observedGeneration"].as_i64() == object.metadata.generation
        })
    };
    is("Ready", "True") && !is("Progressing", "True")
}

/// A pool without models.
pub fn pool(name: &'static str, replicas: u32) -> Step {
    Step::Apply(Kind::AgentPool, name, json!({"replicas": replicas, "concurrency": 4}))
}

/// A pipeline with these stages, one after the other.
pub fn pipeline(name: &'static str, stages: &[&str]) -> Step {
    Step::Apply(Kind::Pipeline, name, json!({"stages": stages_of(stages)}))
}

fn stages_of(names: &[&str]) -> Value {
    let stage = |(index, name): (usize, &&str)| {
        let after: Vec<&str> = index.checked_sub(1).and_then(|before| names.get(before)).into_iter().copied().collect();
        json!({"name": name, "pool": "clerks", "after": after, "transform": {"template": format!("{name}: {{{{ document.text }}}}")}})
    };
    json!(names.iter().enumerate().map(stage).collect::<Vec<_>>())
}

fn stages(name: &'static str, stages: &[&str]) -> Step {
    Step::Change(Kind::Pipeline, name, json!({"stages": stages_of(stages)}))
}

fn change(change: Value) -> Step {
    Step::Change(Kind::AgentPool, "clerks", change)
}

/// Workloads whose steps cancel each other: who misses the first ones must not be able to tell.
pub fn cancelling() -> Vec<Workload> {
    let work = |name, before, steps| Workload { name, before, steps, leaves_nothing: false };
    let (clerks, letters) = (pool("clerks", 1), pipeline("letters", &["read", "write"]));
    let notes = pipeline("notes", &["note"]);
    vec![
        work("scale 1, 3, 1", vec![clerks.clone()], vec![Step::Scale("clerks", 3), Step::Scale("clerks", 1)]),
        work(
            "scale 1, 0, 2, 1",
            vec![clerks.clone()],
            vec![Step::Scale("clerks", 0), Step::Scale("clerks", 2), Step::Scale("clerks", 1)],
        ),
        work(
            "create, delete, create",
            vec![],
            vec![clerks.clone(), Step::Delete(Kind::AgentPool, "clerks"), clerks.clone()],
        ),
        work(
            "policy off and on, another concurrency",
            vec![clerks.clone()],
            vec![
                change(json!({"networkPolicy": {"enabled": false}})),
                change(json!({"concurrency": 2})),
                change(json!({"networkPolicy": {"enabled": true}})),
            ],
        ),
        work(
            "three stages, one, two",
            vec![clerks.clone(), letters.clone()],
            vec![
                stages("letters", &["read", "write", "sign"]),
                stages("letters", &["read"]),
                stages("letters", &["read", "write"]),
            ],
        ),
        work(
            "a second pipeline comes, goes, comes",
            vec![clerks.clone(), letters.clone()],
            vec![notes.clone(), Step::Delete(Kind::Pipeline, "notes"), notes],
        ),
    ]
}

/// All workloads.
pub fn all() -> Vec<Workload> {
    let work = |name, before, steps| Workload { name, before, steps, leaves_nothing: false };
    let to_nothing = |name, before, steps| Workload { name, before, steps, leaves_nothing: true };
    let suspend = |suspend: bool| Step::Change(Kind::Pipeline, "letters", json!({"suspend": suspend}));
    let (clerks, letters) = (pool("clerks", 2), pipeline("letters", &["read", "write"]));
    let both = || vec![clerks.clone(), letters.clone()];
    vec![
        work("pool: create", vec![], vec![clerks.clone()]),
        work(
            "pool: scale",
            vec![clerks.clone()],
            vec![Step::Scale("clerks", 4), Step::Scale("clerks", 0), Step::Scale("clerks", 1)],
        ),
        work(
            "pool: update",
            vec![clerks.clone()],
            vec![
                change(json!({"concurrency": 2, "template": {"env": [{"name": "EDITION", "value": "2"}]}})),
                change(json!({"networkPolicy": {"enabled": false}})),
                change(json!({"networkPolicy": null, "template": null})),
            ],
        ),
        to_nothing("pool: delete", vec![clerks.clone()], vec![Step::Delete(Kind::AgentPool, "clerks")]),
        work("pipeline: create", vec![clerks.clone()], vec![letters.clone()]),
        work("pipeline: add a stage", both(), vec![stages("letters", &["read", "write", "sign"])]),
        work("pipeline: remove a stage", both(), vec![stages("letters", &["read"])]),
        work("pipeline: suspend and resume", both(), vec![suspend(true), suspend(false)]),
        work("pipeline: delete", both(), vec![Step::Delete(Kind::Pipeline, "letters")]),
        work(
            "two pipelines, of which one goes",
            vec![clerks.clone()],
            vec![letters.clone(), pipeline("notes", &["note"]), Step::Delete(Kind::Pipeline, "letters")],
        ),
        to_nothing(
            "all of a namespace goes",
            both(),
            vec![Step::Delete(Kind::Pipeline, "letters"), Step::Delete(Kind::AgentPool, "clerks")],
        ),
    ]
}
