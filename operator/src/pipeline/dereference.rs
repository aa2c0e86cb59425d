//! Reads of a pass: the pools of the namespace and its gateway.

use std::collections::BTreeMap;

use crds::{AgentPool, AgentPoolSpec, Pipeline, PipelineSpec};
use flow::{Plan, Problem};
use kube::{Api, ResourceExt, api::ListParams, core::DeserializeGuard};

use super::{
    pools::named_pools,
    serving,
    unkept::{self, Unkept},
};
use crate::{
    apply::{Error, within},
    condition::{self, State},
    context::Context,
    names::is_plain,
    namespace::gather,
    watching::namespace_of,
};

/// What a pipeline depends on, as it was found.
pub struct Found {
    /// The plan, or why there is none.
    pub plan: Result<Plan, Vec<Problem>>,
    /// The pools that it names: whether each is ready, and what its condition says.
    pub pools: BTreeMap<String, (State, String)>,
    /// Whether the gateway serves, and all of it its newest files.
    pub gateway: Gateway,
    /// Why a pod of it does not do its work, where it does not serve what it should.
    pub gateway_trouble: Option<String>,
    /// Why what the namespace has for all its pipelines, the gateway among it, could not be made.
    pub refused: Option<String>,
    /// Whether the broker answers.
    pub broker: Result<(), String>,
    /// What it writes that does not last.
    pub unkept: Vec<Unkept>,
}

/// How the namespace's gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// It serves, and has its newest files.
    Serving,
    /// It serves with older files while newer ones are rolled out.
    RollingOut,
    /// It does not serve.
    Away,
}

impl Found {
    /// Whether nothing is on its way.
    pub fn is_settled(&self) -> bool {
        self.gateway == Gateway::Serving
            && self.broker.is_ok()
            && self.pools.values().all(|(state, _)| *state == State::True)
    }
}

/// Reads what a pipeline depends on.
pub async fn of(ctx: &Context, pipeline: &Pipeline) -> Result<Found, Error> {
    let namespace = namespace_of(pipeline);
    let api: Api<DeserializeGuard<AgentPool>> = Api::namespaced(ctx.client.clone(), &namespace);
    let list = within("list", format!("AgentPools in {namespace}"), api.list(&ListParams::default())).await?;
    let pools: BTreeMap<String, AgentPool> = list
        .items
        .into_iter()
        .filter_map(|pool| pool.0.ok())
        .map(|pool| (pool.name_any(), pool))
        .filter(|(name, _)| is_plain(name))
        .collect();
    let specs: BTreeMap<String, AgentPoolSpec> =
        pools.iter().map(|(name, pool)| (name.clone(), pool.spec.clone())).collect();
    let generation = u64::try_from(pipeline.metadata.generation.unwrap_or_default()).unwrap_or_default();
    let plan = plan(&pipeline.name_any(), generation, &pipeline.spec, &specs);
    let gateway = serving::of(ctx, pipeline, &specs).await?;
    let gateway_trouble = serving::trouble(ctx, &namespace, gateway).await?;
    let plan = with_room(plan, gateway, ctx.namespaces.left_out(&namespace, &pipeline.name_any()));
    let broker = match ctx.brokers.make_pipeline(&namespace, &pipeline.name_any()).await {
        Ok(()) => ctx.brokers.agents(&namespace).await.map(drop),
        Err(error) => Err(error),
    };
    let broker = broker.map_err(|error| crate::chain(&error));
    let named = named_pools(&pipeline.spec).into_iter().map(|name| (name.to_owned(), ready(pools.get(name)))).collect();
    let refused = ctx.namespaces.refused(&namespace);
    let state = gather::gateway_state(ctx, &namespace, &[&pipeline.spec]).await?;
    let unkept = unkept::of(&pipeline.spec, &specs, state);
    Ok(Found { pools: named, gateway, gateway_trouble, refused, plan, broker, unkept })
}

/// The plan of a pipeline, or what is wrong with how it is written.
pub fn plan(
    name: &str,
    generation: u64,
    spec: &PipelineSpec,
    pools: &BTreeMap<String, AgentPoolSpec>,
) -> Result<Plan, Vec<Problem>> {
    if is_plain(name) {
        return flow::compile(name, generation, spec, pools);
    }
    let message =
        format!("\"{name}\" is not made of at most 63 lower-case letters, digits and '-'; give it another name");
    Err(vec![Problem { field: "metadata.name".to_owned(), message, reason: "NameNotPlain" }])
}

/// The plan of a pipeline, which is not accepted where the gateway's files have no room for it; `left_out` is why. That may have
/// been about what was written before: what is served has room.
pub fn with_room(
    plan: Result<Plan, Vec<Problem>>,
    gateway: Gateway,
    left_out: Option<String>,
) -> Result<Plan, Vec<Problem>> {
    match left_out.filter(|_| gateway != Gateway::Serving) {
        Some(message) => {
            plan.and_then(|_| Err(vec![Problem { field: "spec".to_owned(), message, reason: "TooLarge" }]))
        }
        None => plan,
    }
}

/// Whether a pool is ready, and what its condition says.
pub fn ready(pool: Option<&AgentPool>) -> (State, String) {
    let Some(pool) = pool else { return (State::False, "there is no such pool".to_owned()) };
    let conditions = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let message = conditions.iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.message.clone());
    (condition::state(conditions, "Ready"), message.unwrap_or_else(|| "nothing is known of it yet".to_owned()))
}
