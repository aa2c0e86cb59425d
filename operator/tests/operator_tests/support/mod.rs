//! What the operator's tests share: a configuration, and objects as an API server gives them.

pub(crate) mod http;

use std::{path::Path, sync::Arc};

use clap::Parser;
use crds::{AgentPool, Pipeline, file};
use operator::{
    agent_pool::{
        dereference::Dereferenced,
        validate::{self, ValidatedPool},
    },
    args::{Arguments, Command},
    broker::Brokers,
    client::Clients,
    config::{Config, Problems},
    context::Context,
    events::Events,
    lease::Leadership,
    metrics::Metrics,
    namespace::Namespaces,
    pod_monitor::PodMonitors,
    scaling::board::Board,
};
use tokio::sync::watch;

/// A configuration like that of a small cluster.
pub(crate) fn config() -> Config {
    resolved(&[]).expect("a configuration")
}

/// The same with further flags, or what is wrong with them.
pub(crate) fn resolved(further: &[&str]) -> Result<Config, Problems> {
    let words =
        ["docket-operator", "run", "--agent-image", "registry.example/docket:1", "--namespace", "docket-system"];
    let words = [&words[..], further].concat();
    let Command::Run(arguments) = Arguments::try_parse_from(words).expect("known flags").command else {
        panic!("it is the command run");
    };
    Config::resolve(&arguments)
}

/// What an operator works with that may lead.
pub(crate) fn context(clients: Clients, config: Config, leadership: watch::Receiver<Leadership>) -> Context {
    let metrics = Arc::new(Metrics::default());
    Context {
        events: Events::new(clients.calls.clone(), "operator-a_1", &metrics),
        client: clients.calls,
        watches: clients.watches,
        metrics,
        brokers: Brokers::new(config.clone(), leadership.clone()),
        config,
        scaling: Board::default(),
        namespaces: Namespaces::default(),
        pod_monitors: PodMonitors::default(),
        leadership,
    }
}

/// The pools of a sample, as an API server gives them.
pub(crate) fn pools_of(sample: &Path) -> Vec<AgentPool> {
    let resources = file::read(&[sample.to_path_buf()]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    resources.pools.into_iter().map(|pool| served(pool.resource)).collect()
}

/// A pool made of YAML, as an API server gives it.
pub(crate) fn pool(spec: serde_json::Value) -> AgentPool {
    served(AgentPool::new("readers", serde_json::from_value(spec).expect("a pool")))
}

/// A pipeline, as an API server gives it.
pub(crate) fn pipeline(spec: serde_json::Value) -> Pipeline {
    let mut pipeline = Pipeline::new("review", serde_json::from_value(spec).expect("a pipeline"));
    pipeline.metadata.namespace = Some("documents".to_owned());
    pipeline.metadata.generation = Some(3);
    pipeline.metadata.uid = Some("22222222-2222-2222-2222-222222222222".to_owned());
    pipeline
}

fn served(mut pool: AgentPool) -> AgentPool {
    pool.metadata.namespace = Some("documents".to_owned());
    pool.metadata.generation = Some(2);
    pool.metadata.uid = Some("11111111-1111-1111-1111-111111111111".to_owned());
    pool
}

/// A pool that refers to nothing that is missing.
pub(crate) fn validated(pool: &AgentPool) -> ValidatedPool {
    validated_with(pool, &config())
}

/// The same, with another configuration.
pub(crate) fn validated_with(pool: &AgentPool, config: &Config) -> ValidatedPool {
    let claims = pool.spec.template.volumes.iter().map(|_| operator::agent_pool::dereference::Claim::Allowed).collect();
    let found = Dereferenced { claims, pod_monitors: true, ..Dereferenced::default() };
    validate::pool(pool, &found, config).expect("a pool that can be built")
}
