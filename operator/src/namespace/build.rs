//! The objects of a namespace. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crds::{AgentPoolSpec, PipelineSpec};
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            ConfigMap, Container, PodSpec, PodTemplateSpec, ResourceRequirements, Secret, Service, ServiceAccount,
            ServiceSpec,
        },
        networking::v1::{
            NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use queue::jetstream::Role;
use serde_json::json;

use super::{gather::Gathered, room::ROOM};
use crate::{
    apply::Child,
    claims::Claim,
    config::{Config, Credentials},
    names::{
        self, Component, GATEWAY, GATEWAY_ENV, GRPC, HEALTH, HTTP, METRICS, NATS, PAYLOADS, SECRETS, TOKEN, TOKENS,
    },
    network,
    pod_monitor::pod_monitor,
    pods::{self, Probes},
    prepare::{CA, CREDS},
};

/// What tokens of ServiceAccounts must have been made for.
const AUDIENCE: &str = "docket";
/// Time from SIGTERM to the end of a gateway.
const GRACE: u64 = 30;
/// How much of it a gateway goes on telling clients to come again: until the last node has heard that the Service has lost it. Without
/// it connections that begin meanwhile lead to nobody, and hang.
const FAREWELL: u64 = 5;

/// What is to be there, in this order, and what is not.
pub struct Prepared {
    /// To be there.
    pub present: Vec<Child>,
    /// Not to be there.
    pub absent: Vec<Child>,
}

/// All objects of a namespace.
pub fn all(gathered: &Gathered, config: &Config) -> Prepared {
    let metadata = |name: &str| metadata(&gathered.namespace, name);
    let files = files(gathered, config);
    let mut gateway = vec![
        Child::of(&ServiceAccount {
            metadata: metadata(GATEWAY),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }),
        Child::of(&files),
        Child::of(&Service {
            metadata: metadata(GATEWAY),
            spec: Some(ServiceSpec {
                selector: Some(selector()),
                ports: Some(vec![pods::service_port("http", HTTP), pods::service_port("grpc", GRPC)]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }),
        Child::of(&PodDisruptionBudget {
            metadata: metadata(GATEWAY),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(match_labels(selector())),
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        }),
        Child::of(&network_policy(gathered, config)),
        Child::of(&deployment(gathered, config, &files)),
    ];
    if gathered.pod_monitors {
        gateway.push(pod_monitor(metadata(GATEWAY), &selector(), config));
    }
    let (present, mut absent) = match (gathered.is_empty(), gathered.pipelines.is_empty()) {
        (false, false) => (gateway, Vec::new()),
        // One that is there stays as it is: only its files still say what it last served.
        (false, true) if gathered.has_pipelines => (Vec::new(), Vec::new()),
        _ => (Vec::new(), gateway),
    };
    absent.extend(absent_secrets(gathered, config));
    Prepared { present, absent }
}

/// The Secrets that no pod of the namespace needs. Copies of credentials are among them also where there are none to copy any more: an
/// operator of before had some.
fn absent_secrets(gathered: &Gathered, config: &Config) -> impl Iterator<Item = Child> {
    let is_needed = move |name: &str| match name {
        NATS if config.nats_credentials.is_none() => false,
        PAYLOADS if config.payloads_keys.is_none() => false,
        _ => gathered.outlived || !gathered.is_empty(),
    };
    let named = move |name| Child::of(&Secret { metadata: metadata(&gathered.namespace, name), ..Secret::default() });
    SECRETS.into_iter().filter(move |name| !is_needed(name)).map(named)
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(names::labels(Component::Gateway, GATEWAY)),
        ..ObjectMeta::default()
    }
}

fn selector() -> BTreeMap<String, String> {
    names::selector(Component::Gateway, GATEWAY)
}

fn match_labels(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

/// Who may talk to the gateway: whoever may read this Secret. It is made once; a person may add tokens.
pub fn tokens(namespace: &str) -> Child {
    let token = names::random();
    let file = json!({"tokens": [{"name": "namespace", "token": token}]});
    let data = BTreeMap::from([
        ("tokens.yaml".to_owned(), ByteString(format!("{file:#}").into_bytes())),
        (TOKEN.to_owned(), ByteString(token.into_bytes())),
    ]);
    Child::of(&Secret { metadata: metadata(namespace, TOKENS), data: Some(data), ..Secret::default() })
}

/// Who may read the metrics of the namespace's gateway and agents. It is made once; a person may write another token.
pub fn metrics_token(namespace: &str) -> Child {
    let data = BTreeMap::from([(TOKEN.to_owned(), ByteString(names::random().into_bytes()))]);
    Child::of(&Secret { metadata: metadata(namespace, METRICS), data: Some(data), ..Secret::default() })
}

/// The Secret with the broker's credentials.
pub struct Nats {
    /// The Secret.
    pub secret: Child,
    /// The pools that it has no room for.
    pub left_out: Vec<String>,
}

/// The broker's credentials, for the namespace's pods: the same for all, or a key for each pool and the gateway, of which each
/// pod mounts its own. Pools have room in their order; none is made for one that can have no pods under its name.
pub fn nats<'a>(namespace: &str, config: &Config, pools: impl Iterator<Item = &'a String>) -> Option<Nats> {
    let mut left_out = Vec::new();
    let authorities = config.nats_authorities.as_ref();
    let mut files = match config.nats_credentials.as_ref()? {
        Credentials::User { user, password } => {
            BTreeMap::from([("user".to_owned(), user.clone()), ("password".to_owned(), password.clone())])
        }
        Credentials::Creds(text) => BTreeMap::from([(CREDS.to_owned(), text.clone())]),
        Credentials::Keys(keys) => {
            let account = keys.account(&names::broker_prefix(namespace));
            let gateway = account.user(&pods::GATEWAY_ROLE).creds;
            let mut room = ROOM.saturating_sub(gateway.len() + authorities.map_or(0, String::len));
            let mut files = BTreeMap::from([(names::GATEWAY_CREDS.to_owned(), gateway)]);
            for pool in pools.filter(|pool| names::is_of_pool(pool)) {
                let creds = account.user(&Role::Agents { pool, orders: flow::keys::ORDERS }).creds;
                match room.checked_sub(creds.len()) {
                    Some(rest) => {
                        room = rest;
                        files.insert(names::creds(pool), creds);
                    }
                    None => left_out.push(pool.clone()),
                }
            }
            files
        }
    };
    files.extend(authorities.map(|text| (CA.to_owned(), text.clone())));
    let data = files.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect();
    let secret = Child::of(&Secret { metadata: metadata(namespace, NATS), data: Some(data), ..Secret::default() });
    Some(Nats { secret, left_out })
}

/// What the store of payloads asks for, for the namespace's pods.
pub fn payloads(namespace: &str, config: &Config) -> Option<Child> {
    let data = config.payloads_keys.clone()?;
    Some(Child::of(&Secret { metadata: metadata(namespace, PAYLOADS), data: Some(data), ..Secret::default() }))
}

/// The file of a pool: its name and its text.
pub fn pool_file(name: &str, pool: &AgentPoolSpec) -> (String, String) {
    (format!("pool-{name}.yaml"), resource("AgentPool", name, &json!(pool.as_worked())))
}

/// The file of a pipeline: its name and its text.
pub fn pipeline_file(name: &str, pipeline: &PipelineSpec) -> (String, String) {
    (format!("pipeline-{name}.yaml"), resource("Pipeline", name, &json!(pipeline.as_worked())))
}

/// The file of a pool as it was, by which one pipeline alone goes on: its name and its text. A plain name has no dot.
pub fn former_file(pipeline: &str, name: &str, pool: &AgentPoolSpec) -> (String, String) {
    (format!("former-{pipeline}.{name}.yaml"), resource("AgentPool", name, &json!(pool.as_worked())))
}

/// JSON, which is YAML too; compact, because all files of a namespace share one ConfigMap.
fn resource(kind: &str, name: &str, spec: &serde_json::Value) -> String {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

/// The gateway's file, and a file a pool and pipeline.
fn files(gathered: &Gathered, config: &Config) -> ConfigMap {
    let pools = gathered.pools.iter().map(|(name, pool)| pool_file(name, pool));
    let mut resources: Vec<(String, String)> = pools.collect();
    let mut former: Vec<Vec<(String, String)>> = Vec::new();
    for (name, pipeline) in &gathered.pipelines {
        let file = pipeline_file(name, pipeline);
        match gathered.former.get(name) {
            Some(pools) => {
                let pools = pools.iter().map(|(pool, spec)| former_file(name, pool, spec));
                former.push(pools.chain([file]).collect());
            }
            None => resources.push(file),
        }
    }
    let mut files: BTreeMap<String, String> = resources.iter().chain(former.iter().flatten()).cloned().collect();
    let named = |files: Vec<(String, String)>| -> Vec<String> { files.into_iter().map(|(file, _)| file).collect() };
    let mut gateway = json!({
        "resources": named(resources),
        "closed": gathered.closed,
        "nats": pods::nats(config, &gathered.namespace, &pods::GATEWAY_ROLE),
        "payloads": config.payloads_of(&gathered.namespace),
        "state": pods::STATE,
        "health": format!("0.0.0.0:{HEALTH}"),
        "http": format!("0.0.0.0:{HTTP}"),
        "grpc": format!("0.0.0.0:{GRPC}"),
        "tokens": pods::TOKENS_FILE,
        "calls": pods::calls(),
    });
    // Where the next one begins only after this one has ended, there is nobody to come again to until then.
    let farewell = if keeps_state(gathered) { 0 } else { FAREWELL };
    gateway["farewell"] = json!(format!("{farewell}s"));
    gateway["grace"] = json!(format!("{}s", GRACE - farewell));
    if !former.is_empty() {
        gateway["former"] = former.into_iter().map(named).collect();
    }
    if config.reviews_tokens(&gathered.namespace) {
        gateway["kubernetes"] = json!({"audience": AUDIENCE, "namespace": gathered.namespace});
    }
    if config.authenticates_metrics() {
        gateway["metricsTokenFile"] = json!(pods::METRICS_TOKEN_FILE);
    }
    files.insert("gateway.yaml".to_owned(), format!("{gateway:#}"));
    ConfigMap { metadata: metadata(&gathered.namespace, GATEWAY), data: Some(files), ..ConfigMap::default() }
}

fn deployment(gathered: &Gathered, config: &Config, files: &ConfigMap) -> Deployment {
    let labels = names::labels(Component::Gateway, GATEWAY);
    let annotations = pods::annotations(files, config, &gathered.namespace, &pods::GATEWAY_ROLE);
    let template = ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() };
    let replicas = if keeps_state(gathered) { 1 } else { config.gateway_replicas };
    Deployment {
        metadata: metadata(&gathered.namespace, GATEWAY),
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: match_labels(selector()),
            strategy: Some(strategy(gathered)),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod(gathered, config)) },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// Whether the gateway's state is on a claim. It has one gateway then, whatever the claim allows: processes of several machines
/// cannot write the same table.
fn keeps_state(gathered: &Gathered) -> bool {
    gathered.state == Claim::Allowed
}

fn strategy(gathered: &Gathered) -> DeploymentStrategy {
    // The next one may be on a node where the claim is only after the one before has let go of it.
    if keeps_state(gathered) {
        return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    }
    // Clients always find one: the new one is ready before the old one goes.
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}

fn pod(gathered: &Gathered, config: &Config) -> PodSpec {
    let quantity = |text: &str| Quantity(text.to_owned());
    let amounts = |cpu: Option<&str>, memory: &str| {
        let cpu = cpu.map(|cpu| ("cpu".to_owned(), quantity(cpu)));
        cpu.into_iter().chain([("memory".to_owned(), quantity(memory))]).collect()
    };
    let mut volumes = pods::volumes(config, GATEWAY, names::GATEWAY_CREDS);
    volumes.push(match keeps_state(gathered) {
        true => pods::claim("state", names::GATEWAY_STATE),
        false => pods::empty("state"),
    });
    volumes.push(pods::optional_secret("given", GATEWAY_ENV));
    let mut mounts = pods::mounts(config);
    mounts.push(pods::mount("state", pods::HOME));
    mounts.push(pods::read_only("given", pods::GIVEN));
    if config.reviews_tokens(&gathered.namespace) {
        volumes.push(pods::account("account"));
        mounts.push(pods::read_only("account", pods::ACCOUNT));
    }
    PodSpec {
        service_account_name: Some(GATEWAY.to_owned()),
        termination_grace_period_seconds: Some(GRACE as i64 + 10),
        containers: vec![Container {
            name: "gateway".to_owned(),
            args: Some(["gateway", "--config", "/etc/docket/gateway.yaml"].map(str::to_owned).to_vec()),
            env: Some(pods::environment(pods::Addressed::ByService)),
            env_from: Some(pods::of_secrets(config, GATEWAY_ENV)),
            ports: Some(vec![pods::port("http", HTTP), pods::port("grpc", GRPC), pods::port("health", HEALTH)]),
            resources: Some(ResourceRequirements {
                requests: Some(amounts(Some("100m"), "128Mi")),
                limits: Some(amounts(None, "1Gi")),
                ..ResourceRequirements::default()
            }),
            volume_mounts: Some(mounts),
            ..pods::container(config, Some(&Probes { port: HEALTH, starting: 120 }))
        }],
        volumes: Some(volumes),
        ..pods::restricted(config, &selector())
    }
}

/// Servers that pools and pipelines name and that the gateway calls: databases for results, and the Redis of pools, where it
/// erases too.
fn called(gathered: &Gathered) -> BTreeSet<u16> {
    let databases = gathered.pipelines.values().filter_map(|pipeline| pipeline.results.as_ref()?.postgres.as_ref());
    let databases = databases.flat_map(|database| network::ports_of_postgres(&database.url));
    databases.chain(gathered.pools.values().flat_map(network::ports_of_redis)).collect()
}

/// The gateway is the door: clients of the whole cluster may knock, with a token.
fn network_policy(gathered: &Gathered, config: &Config) -> NetworkPolicy {
    let from_cluster = |ports: &[u16]| NetworkPolicyIngressRule {
        from: Some(vec![network::cluster()]),
        ports: Some(ports.iter().map(|port| network::tcp(*port)).collect()),
    };
    let agents = NetworkPolicyPeer {
        pod_selector: Some(match_labels(BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "docket".to_owned()),
            ("app.kubernetes.io/component".to_owned(), "agents".to_owned()),
        ]))),
        ..NetworkPolicyPeer::default()
    };
    let to_agents = NetworkPolicyEgressRule { to: Some(vec![agents]), ports: Some(vec![network::tcp(HTTP)]) };
    let mut egress = vec![network::dns(), network::servers(config), to_agents];
    egress.extend(network::stores(config));
    egress.extend(network::servers_of_users(&called(gathered)));
    egress.extend(config.reviews_tokens(&gathered.namespace).then(|| network::api_server(config)));
    NetworkPolicy {
        metadata: metadata(&gathered.namespace, GATEWAY),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(match_labels(selector())),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![from_cluster(&[HTTP, GRPC]), from_cluster(&[HEALTH])]),
            egress: Some(egress),
        }),
    }
}
