//! What the pools and pipelines of a namespace say, and which of it a gateway can serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crds::{AgentPool, AgentPoolSpec, DeletionPolicy, Model, Pipeline, PipelineSpec};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::DeserializeGuard};
use serde::de::DeserializeOwned;

use super::room::{self, Candidate, Fitting};
use crate::{
    apply::{Error, within},
    claims::{self, Claim},
    context::Context,
    names::{FIELD_MANAGER, GATEWAY, GATEWAY_ALLOWED_LABEL, GATEWAY_STATE, POOL_LABEL, is_plain},
    pipeline::pools::names_pool,
};

/// A namespace as it was read.
pub struct Gathered {
    /// The namespace.
    pub namespace: String,
    /// Its pools, also those that are being deleted, and those that are gone and that a gateway still serves pipelines by.
    pub pools: BTreeMap<String, AgentPoolSpec>,
    /// Whether objects of ours are still there, perhaps on their way out: they need the broker until they are gone.
    pub objects: usize,
    /// How many of them are not on their way out.
    pub staying: usize,
    /// Whether pipelines are there, also those that no gateway can serve.
    pub has_pipelines: bool,
    /// Whether agents are there whose pool is gone: they mount the namespace's Secrets, which stay for them alone.
    pub outlived: bool,
    /// Names of pipelines that are being deleted, or whose agents do not hold their models any more: no further document comes in.
    pub closed: Vec<String>,
    /// The pipelines that a gateway serves: as they are written, or, where that cannot work or has no room, as they last did.
    pub pipelines: BTreeMap<String, PipelineSpec>,
    /// By pipeline, the pools as they were, of those that work by them alone.
    pub former: BTreeMap<String, BTreeMap<String, AgentPoolSpec>>,
    /// Why there is no room for what is written, by pipeline.
    pub left_out: BTreeMap<String, String>,
    /// The claim for the gateway's state, as it was found where a pipeline has a table; [`Claim::Missing`] elsewhere.
    pub state: Claim,
    /// Whether the cluster knows PodMonitors.
    pub pod_monitors: bool,
}

impl Gathered {
    /// Whether nothing of ours is here any more.
    pub fn is_empty(&self) -> bool {
        self.objects == 0
    }
}

/// Reads a namespace.
pub async fn of(ctx: &Context, namespace: &str) -> Result<Gathered, Error> {
    let all = ListParams::default();
    let pools: Api<DeserializeGuard<AgentPool>> = Api::namespaced(ctx.client.clone(), namespace);
    let pools = within("list", format!("AgentPools in {namespace}"), pools.list(&all)).await?.items;
    let pipelines = pipelines(ctx, namespace).await?;
    let objects = pools.len() + pipelines.len();
    let metas = pools.iter().map(Resource::meta).chain(pipelines.iter().map(Resource::meta));
    let staying = metas.filter(|meta| meta.deletion_timestamp.is_none()).count();
    // The last object of a namespace is to know it, and nobody else.
    let outlived = objects <= 1 && !orphans(ctx, namespace).await?.is_empty();
    let served = served_now(ctx, namespace).await?;
    // One that is being deleted still works what is in flight.
    let pools = works(pools, &served.pools);
    let former = with_former(&pools, &served.pools);
    let has_pipelines = !pipelines.is_empty();
    let is_closed = |pipeline: &&DeserializeGuard<Pipeline>| pipeline.meta().deletion_timestamp.is_some();
    let mut closed: BTreeSet<String> = pipelines.iter().filter(is_closed).map(ResourceExt::name_any).collect();
    let candidates = pipelines.into_iter().map(|pipeline| {
        let (name, written) = match &pipeline.0 {
            Ok(pipeline) => (pipeline.name_any(), Some(&pipeline.spec)),
            Err(invalid) => (invalid.metadata.name.clone().unwrap_or_default(), None),
        };
        let candidate = candidate(&name, written, served.now(&name), (&pools, &former));
        let policy = written.map(|written| written.deletion_policy).unwrap_or_default();
        let leaves = pipeline.meta().deletion_timestamp.is_some();
        (name, if leaves { until_it_leaves(candidate, policy) } else { candidate })
    });
    let fitting = room::fitting(&candidates.collect(), &former);
    closed.extend(unworked(&fitting, &pools));
    let Fitting { pipelines, former: kept, left_out } = fitting;
    let pools = needed(former, &pools, &pipelines);
    let state = gateway_state(ctx, namespace, &pipelines.values().collect::<Vec<_>>()).await?;
    let pod_monitors = ctx.pod_monitors.are_known(&ctx.client, Instant::now()).await;
    Ok(Gathered {
        namespace: namespace.to_owned(),
        pools,
        objects,
        staying,
        has_pipelines,
        outlived,
        closed: closed.into_iter().collect(),
        pipelines,
        former: kept,
        left_out,
        state,
        pod_monitors,
    })
}

/// The claim for the state of a namespace's gateway. Only a table lasts there: without one the claim is not asked for, and the
/// gateway needs none.
pub async fn gateway_state(ctx: &Context, namespace: &str, pipelines: &[&PipelineSpec]) -> Result<Claim, Error> {
    let has_table =
        pipelines.iter().filter_map(|pipeline| pipeline.results.as_ref()).any(|results| results.table.is_some());
    if !has_table {
        return Ok(Claim::Missing);
    }
    claims::of(ctx, namespace, GATEWAY_STATE, GATEWAY_ALLOWED_LABEL).await
}

/// The pipelines of a namespace, also those that cannot be read.
pub async fn pipelines(ctx: &Context, namespace: &str) -> Result<Vec<DeserializeGuard<Pipeline>>, Error> {
    let api: Api<DeserializeGuard<Pipeline>> = Api::namespaced(ctx.client.clone(), namespace);
    let listed = within("list", format!("Pipelines in {namespace}"), api.list(&ListParams::default())).await?;
    Ok(listed.items)
}

/// The names of pools whose agents may be at work, those that have been there longest first: also of pools that cannot be read, and
/// of those that are gone without their agents.
pub async fn pools(ctx: &Context, namespace: &str) -> Result<Vec<String>, Error> {
    let pools: Api<DeserializeGuard<AgentPool>> = Api::namespaced(ctx.client.clone(), namespace);
    let mut pools =
        within("list", format!("AgentPools in {namespace}"), pools.list(&ListParams::default())).await?.items;
    pools.sort_by_key(|pool| (pool.creation_timestamp(), pool.name_any()));
    // After the pools: one that is not among them has left its agents by now.
    let mut names = orphans(ctx, namespace).await?;
    for pool in pools.iter().map(ResourceExt::name_any) {
        if !names.contains(&pool) {
            names.push(pool);
        }
    }
    Ok(names)
}

/// The pools that were deleted without their agents, which are still there (`kubectl delete --cascade=orphan`).
pub async fn orphans(ctx: &Context, namespace: &str) -> Result<Vec<String>, Error> {
    let agents = ListParams::default().labels(&format!("{POOL_LABEL},app.kubernetes.io/managed-by={FIELD_MANAGER}"));
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), namespace);
    let found = within("list", format!("Deployments in {namespace}"), api.list_metadata(&agents)).await?;
    let is_orphan = |meta: &ObjectMeta| {
        meta.deletion_timestamp.is_none() && meta.owner_references.iter().flatten().next().is_none()
    };
    let orphans = found.items.iter().filter(|found| is_orphan(&found.metadata));
    Ok(orphans.filter_map(|found| found.labels().get(POOL_LABEL).cloned()).collect())
}

/// The pools that do a namespace's work: as they are written, or, where that cannot be read, as a gateway serves them now.
/// Their agents still are as they were then.
pub fn works(
    written: Vec<DeserializeGuard<AgentPool>>,
    now: &BTreeMap<String, AgentPoolSpec>,
) -> BTreeMap<String, AgentPoolSpec> {
    let pools = written.into_iter().filter_map(|pool| {
        let name = pool.name_any();
        let spec = pool.0.ok().map(|pool| pool.spec).or_else(|| now.get(&name).cloned())?;
        Some((name, spec))
    });
    pools.filter(|(name, _)| is_plain(name)).collect()
}

/// These pools, and beside them those that are gone, as a gateway serves them now.
pub fn with_former(
    pools: &BTreeMap<String, AgentPoolSpec>,
    now: &BTreeMap<String, AgentPoolSpec>,
) -> BTreeMap<String, AgentPoolSpec> {
    now.iter().chain(pools).map(|(name, pool)| (name.clone(), pool.clone())).collect()
}

/// A pipeline as a gateway serves it now, and the pools by which it does.
pub type Now<'a> = (&'a PipelineSpec, &'a BTreeMap<String, AgentPoolSpec>);

/// What a gateway can serve of a pipeline: what is written, by the pools that are there, and what it served until now. With that it
/// goes on also where a pool is gone: results and dead letters are asked for, and a pool that is made again finds its work. Where a
/// pool is another one now, by which that works no more, it goes on by its pools as they were.
pub fn candidate(
    name: &str,
    written: Option<&PipelineSpec>,
    now: Option<Now<'_>>,
    (pools, former): (&BTreeMap<String, AgentPoolSpec>, &BTreeMap<String, AgentPoolSpec>),
) -> Candidate {
    let works = |spec: &PipelineSpec, pools: &BTreeMap<String, AgentPoolSpec>| {
        is_plain(name) && flow::compile(name, 1, spec, pools).is_ok()
    };
    let written = written.filter(|&spec| works(spec, pools)).cloned();
    match now {
        Some((now, _)) if works(now, former) => Candidate { written, now: Some(now.clone()), former: BTreeMap::new() },
        Some((now, by)) if works(now, by) => {
            let named = by.iter().filter(|(pool, _)| names_pool(now, pool));
            let former = named.map(|(pool, spec)| (pool.clone(), spec.clone())).collect();
            Candidate { written, now: Some(now.clone()), former }
        }
        _ => Candidate { written, ..Candidate::default() },
    }
}

/// The pipelines that go on by pools as they were and whose agents, which are as these pools say, do not hold their models any more:
/// a further document would become a dead letter. A pool that is gone is waited for.
pub fn unworked(fitting: &Fitting, pools: &BTreeMap<String, AgentPoolSpec>) -> Vec<String> {
    let holds = |pool: &str, model: &Model| {
        pools.get(pool).is_none_or(|pool| pool.models.iter().any(|held| unnamed(held) == unnamed(model)))
    };
    let is_worked = |name: &str, former: &BTreeMap<String, AgentPoolSpec>| {
        let plan = fitting.pipelines.get(name).and_then(|spec| flow::compile(name, 1, spec, former).ok());
        plan.is_some_and(|plan| {
            plan.stages().iter().all(|stage| plan.model(&stage.name).is_none_or(|model| holds(&stage.spec.pool, model)))
        })
    };
    let former = fitting.former.iter().filter(|(name, former)| !is_worked(name, former));
    former.map(|(name, _)| name.clone()).collect()
}

/// A model by which agents find it: whatever it is called, and whatever it costs.
fn unnamed(model: &Model) -> Model {
    Model { name: String::new(), price: None, ..model.clone() }
}

/// The same of a pipeline that is being deleted: documents that are to end before are not held back any more.
pub fn until_it_leaves(candidate: Candidate, policy: DeletionPolicy) -> Candidate {
    let going_on =
        |spec: PipelineSpec| PipelineSpec { suspend: spec.suspend && policy != DeletionPolicy::Drain, ..spec };
    Candidate { written: candidate.written.map(going_on), now: candidate.now.map(going_on), ..candidate }
}

/// Of these pools those that are there, and those that pipelines are served by.
pub fn needed(
    former: BTreeMap<String, AgentPoolSpec>,
    pools: &BTreeMap<String, AgentPoolSpec>,
    pipelines: &BTreeMap<String, PipelineSpec>,
) -> BTreeMap<String, AgentPoolSpec> {
    let is_needed =
        |name: &str| pools.contains_key(name) || pipelines.values().any(|pipeline| names_pool(pipeline, name));
    former.into_iter().filter(|(name, _)| is_needed(name)).collect()
}

/// What a gateway serves.
pub struct Served {
    /// The pools.
    pub pools: BTreeMap<String, AgentPoolSpec>,
    pipelines: BTreeMap<String, PipelineSpec>,
    /// By pipeline, the pools as they were, of those that work by them alone.
    former: BTreeMap<String, BTreeMap<String, AgentPoolSpec>>,
}

impl Served {
    /// A pipeline, where it is served.
    pub fn now(&self, pipeline: &str) -> Option<Now<'_>> {
        Some((self.pipelines.get(pipeline)?, self.former.get(pipeline).unwrap_or(&self.pools)))
    }
}

/// What the gateway serves now, by its files.
async fn served_now(ctx: &Context, namespace: &str) -> Result<Served, Error> {
    let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let files = within("get", format!("ConfigMap {namespace}/{GATEWAY}"), api.get_opt(GATEWAY)).await?;
    Ok(served(&files.and_then(|files| files.data).unwrap_or_default()))
}

/// What a gateway serves that has these files.
pub fn served(files: &BTreeMap<String, String>) -> Served {
    let mut former: BTreeMap<String, BTreeMap<String, AgentPoolSpec>> = BTreeMap::new();
    for (name, pool) in specs(files, "former-") {
        if let Some((pipeline, name)) = name.split_once('.') {
            former.entry(pipeline.to_owned()).or_default().insert(name.to_owned(), pool);
        }
    }
    Served { pools: specs(files, "pool-"), pipelines: specs(files, "pipeline-"), former }
}

/// The specifications in files of a kind, by name; those that cannot be read are left out.
fn specs<S: DeserializeOwned>(files: &BTreeMap<String, String>, kind: &str) -> BTreeMap<String, S> {
    let read = files.iter().filter_map(|(file, text)| {
        let name = file.strip_prefix(kind)?.strip_suffix(".yaml")?;
        let object: serde_json::Value = serde_json::from_str(text).ok()?;
        Some((name.to_owned(), serde_json::from_value(object["spec"].clone()).ok()?))
    });
    read.collect()
}
