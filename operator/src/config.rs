//! How this operator is to work: what was typed, checked. Knows neither the environment nor the cluster.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use k8s_openapi::ByteString;
use queue::jetstream::Keys;

use crate::{
    args::{PullPolicy, RunArguments},
    names::SECRETS,
};

/// Payloads in the broker itself, where each namespace has a store of its own.
const IN_BROKER: &str = "nats:";

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Image of agents and gateways.
    pub agent_image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Secrets of the pods' namespaces with which nodes pull that image.
    pub image_pull_secrets: Vec<String>,
    /// Whether that image holds models.
    pub models_in_image: bool,
    /// Namespaces whose gateways let ServiceAccounts of their namespace in.
    pub token_review: Vec<String>,
    /// Whether pods name the user and group that they run as; otherwise the cluster chooses them.
    pub fixed_ids: bool,
    /// Ports of the API server.
    pub api_server_ports: Vec<u16>,
    /// Gateways of each namespace.
    pub gateway_replicas: u32,
    /// URLs of NATS servers.
    pub nats_servers: Vec<String>,
    /// Copies of streams and buckets.
    pub nats_replicas: u32,
    /// Secret of the operator's namespace with the credentials of all.
    pub nats_credentials_secret: Option<String>,
    /// Secret of the operator's namespace with the keys by which each has its own.
    pub nats_keys_secret: Option<String>,
    /// What one of these Secrets says; set once it was read.
    pub nats_credentials: Option<Credentials>,
    /// Certificates (PEM) of who vouches for the servers, where one of these Secrets has some.
    pub nats_authorities: Option<String>,
    /// Which content of the first of them that is, as [`crate::prepare::digest_of`] tells it.
    pub nats_credentials_digest: Option<String>,
    /// Where documents' bytes lie.
    pub payloads: String,
    /// Secret of the operator's namespace with what that place asks for.
    pub payloads_secret: Option<String>,
    /// What that Secret says; set once it was read.
    pub payloads_keys: Option<BTreeMap<String, ByteString>>,
    /// Which content that is.
    pub payloads_keys_digest: Option<String>,
    /// Namespaces to look after; all where none is named.
    pub watch_namespaces: Vec<String>,
    /// Name of the Lease.
    pub lease_name: String,
    /// The operator's own namespace.
    pub namespace: String,
    /// Name of this process; not unique yet.
    pub identity: String,
    /// Address of /livez, /readyz and /metrics.
    pub health: SocketAddr,
    /// Secret of the operator's namespace with the token of those who may read its metrics.
    pub metrics_secret: Option<String>,
    /// File with that token; none: anyone may read them.
    pub metrics_token_file: Option<PathBuf>,
    /// What PodMonitors are labelled with besides.
    pub pod_monitor_labels: BTreeMap<String, String>,
    /// How often Prometheus reads what PodMonitors name; `None`: as often as it usually does.
    pub pod_monitor_interval: Option<String>,
    /// Address of the external scaler for KEDA.
    pub external_scaler: Option<SocketAddr>,
}

/// How NATS knows the operator, and agents and gateways.
#[derive(Clone)]
pub enum Credentials {
    /// All are the same user of its configuration.
    User {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// All have the same `.creds` file, of which this is the text.
    Creds(String),
    /// Each has its own, signed by these keys, in an account of its namespace.
    Keys(Box<Keys>),
}

impl std::fmt::Debug for Credentials {
    // Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User { user, .. } => f.debug_struct("User").field("user", user).finish_non_exhaustive(),
            Self::Creds(_) => f.write_str("Creds"),
            Self::Keys(keys) => f.debug_tuple("Keys").field(keys).finish(),
        }
    }
}

/// Settings that cannot be used, a line each. Whoever deploys can fix them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(pub Vec<String>);

impl Config {
    /// Whether the gateway of a namespace asks the API server whose a token is.
    pub fn reviews_tokens(&self, namespace: &str) -> bool {
        self.token_review.iter().any(|listed| listed == namespace)
    }

    /// Where the payloads of a namespace lie. Each has a folder of its own in a store that several share: a payload that nobody in
    /// its namespace names any more is removed.
    pub fn payloads_of(&self, namespace: &str) -> String {
        match self.payloads.as_str() {
            IN_BROKER => IN_BROKER.to_owned(),
            store => format!("{}/{namespace}", store.trim_end_matches('/')),
        }
    }

    /// Whether the metrics of agents and gateways are for whoever has their namespace's token.
    pub fn authenticates_metrics(&self) -> bool {
        self.metrics_secret.is_some()
    }

    /// Checks everything and names all that is wrong at once.
    pub fn resolve(arguments: &RunArguments) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut check = |result: Result<(), String>| problems.extend(result.err());
        let (nats_servers, watch_namespaces) = (list(&arguments.nats), list(&arguments.watch_namespaces));
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let (secret, payloads_secret) = (named(&arguments.nats_credentials_secret), named(&arguments.payloads_secret));
        let (keys_secret, metrics_secret) = (named(&arguments.nats_keys_secret), named(&arguments.metrics_secret));
        let metrics_token_file = arguments.metrics_token_file.clone();
        let pod_monitor_interval = named(&arguments.pod_monitor_interval);
        let image_pull_secrets = list(&arguments.image_pull_secrets);

        check(image(&arguments.agent_image));
        for secret in &image_pull_secrets {
            check(name("--image-pull-secrets (DOCKET_IMAGE_PULL_SECRETS)", secret, 253, true));
        }
        if nats_servers.is_empty() {
            check(Err("--nats (DOCKET_NATS) is empty: name the servers, such as nats://docket-nats:4222".to_owned()));
        }
        nats_servers.iter().for_each(|server| check(nats_server(server)));
        check(nats_replicas(arguments.nats_replicas));
        check(payloads(&arguments.payloads));
        for (flag, named) in [
            ("--nats-credentials-secret (DOCKET_NATS_CREDENTIALS_SECRET)", &secret),
            ("--nats-keys-secret (DOCKET_NATS_KEYS_SECRET)", &keys_secret),
            ("--payloads-secret (DOCKET_PAYLOADS_SECRET)", &payloads_secret),
            ("--metrics-secret (DOCKET_METRICS_SECRET)", &metrics_secret),
        ] {
            check(named.as_ref().map_or(Ok(()), |name| secret_of_its_own(flag, name)));
        }
        if secret.is_some() && keys_secret.is_some() {
            check(Err("--nats-keys-secret (DOCKET_NATS_KEYS_SECRET) and --nats-credentials-secret \
                       (DOCKET_NATS_CREDENTIALS_SECRET) are both set: leave one out, agents have credentials of one kind"
                .to_owned()));
        }
        if metrics_secret.is_some() && metrics_token_file.is_none() {
            check(Err("--metrics-secret (DOCKET_METRICS_SECRET) needs --metrics-token-file (DOCKET_METRICS_TOKEN_FILE): name \
                       the file at which that Secret is mounted, or anyone could read the operator's metrics"
                .to_owned()));
        }
        let pod_monitor_labels = labels(&arguments.pod_monitor_labels).unwrap_or_else(|problem| {
            check(Err(problem));
            BTreeMap::new()
        });
        check(pod_monitor_interval.as_deref().map_or(Ok(()), interval));
        let api_server_ports = ports(&arguments.api_server_ports).unwrap_or_else(|problem| {
            check(Err(problem));
            Vec::new()
        });
        for namespace in &watch_namespaces {
            check(name("--watch-namespaces (DOCKET_WATCH_NAMESPACES)", namespace, 63, false));
        }
        for namespace in list(&arguments.token_review) {
            check(name("--token-review (DOCKET_TOKEN_REVIEW)", &namespace, 63, false));
        }
        check(name("--lease-name (DOCKET_LEASE_NAME)", &arguments.lease_name, 253, true));
        check(name("--namespace (POD_NAMESPACE)", &arguments.namespace, 63, false));
        // The Lease's holder has 17 more characters, and Events take 128.
        check(name("--identity (POD_NAME)", &arguments.identity, 110, true));

        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Self {
            agent_image: arguments.agent_image.clone(),
            image_pull_policy: pull_policy(arguments.image_pull_policy).to_owned(),
            image_pull_secrets,
            models_in_image: arguments.models_in_image,
            token_review: list(&arguments.token_review),
            fixed_ids: arguments.fixed_ids,
            api_server_ports,
            gateway_replicas: arguments.gateway_replicas,
            nats_servers,
            nats_replicas: arguments.nats_replicas,
            nats_credentials_secret: secret,
            nats_keys_secret: keys_secret,
            nats_credentials: None,
            nats_authorities: None,
            nats_credentials_digest: None,
            payloads: arguments.payloads.clone(),
            payloads_secret,
            payloads_keys: None,
            payloads_keys_digest: None,
            watch_namespaces,
            lease_name: arguments.lease_name.clone(),
            namespace: arguments.namespace.clone(),
            identity: arguments.identity.clone(),
            health: arguments.health,
            metrics_secret,
            metrics_token_file,
            pod_monitor_labels,
            pod_monitor_interval,
            external_scaler: arguments.external_scaler,
        })
    }
}

impl Config {
    /// The keys, where each has credentials of its own.
    pub fn nats_keys(&self) -> Option<&Keys> {
        match &self.nats_credentials {
            Some(Credentials::Keys(keys)) => Some(keys),
            _ => None,
        }
    }
}

/// Items of a list with commas; spaces around them and empty ones do not count.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// `key=value`, separated by commas.
fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let label = |item: String| {
        let (key, value) = item.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            format!("--pod-monitor-labels (DOCKET_POD_MONITOR_LABELS) \"{item}\" is no label: write key=value")
        })?;
        Ok((key.to_owned(), value.to_owned()))
    };
    list(text).into_iter().map(label).collect()
}

/// A time as Prometheus writes it, the largest unit first.
fn interval(text: &str) -> Result<(), String> {
    let mut rest = text;
    for unit in ["h", "m", "s", "ms"] {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        // A number that is followed by "ms" is none of minutes.
        let is_of_this = after.len() < rest.len() && (unit != "m" || !after.starts_with("ms"));
        if is_of_this && let Some(after) = after.strip_prefix(unit) {
            rest = after;
        }
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(format!(
        "--pod-monitor-interval (DOCKET_POD_MONITOR_INTERVAL) \"{text}\" is no time: write hours, minutes, seconds and \
         milliseconds in this order, such as 30s or 1m30s"
    ))
}

/// Numbers of ports, separated by commas; one at least.
fn ports(text: &str) -> Result<Vec<u16>, String> {
    let said = "--api-server-ports (DOCKET_API_SERVER_PORTS)";
    let port = |item: String| {
        let number = item.parse::<u16>().ok().filter(|&port| port > 0);
        number.ok_or_else(|| format!("{said} \"{item}\" is no port: use numbers from 1 to 65535"))
    };
    let ports = list(text).into_iter().map(port).collect::<Result<Vec<u16>, String>>()?;
    if ports.is_empty() { Err(format!("{said} is empty: name the ports, such as 443,6443")) } else { Ok(ports) }
}

fn pull_policy(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}

fn image(image: &str) -> Result<(), String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
    if !image.is_empty() && image.chars().all(is_known) {
        return Ok(());
    }
    Err(format!("--agent-image (DOCKET_AGENT_IMAGE) \"{image}\" is no image: write registry/name:tag"))
}

fn nats_server(server: &str) -> Result<(), String> {
    let said = format!("--nats (DOCKET_NATS) \"{server}\"");
    let authority = server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://"));
    let Some(authority) = authority.map(|authority| authority.trim_end_matches('/')) else {
        return Err(format!("{said} is no NATS server: write nats://host:4222 or tls://host:4222"));
    };
    if authority.contains('@') {
        // It would stand in every ConfigMap.
        return Err("--nats (DOCKET_NATS) holds a password: put user and password into a Secret and name it with \
             --nats-credentials-secret"
            .to_string());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host_is_known = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "[]:.-_".contains(c));
    if host_is_known && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Ok(());
    }
    Err(format!("{said} has no host or a port that is none: write nats://host:4222"))
}

fn nats_replicas(replicas: u32) -> Result<(), String> {
    if matches!(replicas, 1 | 3 | 5) {
        return Ok(());
    }
    Err(format!(
        "--nats-replicas (DOCKET_NATS_REPLICAS) is {replicas}: use 1, 3 or 5, and no more than NATS has servers"
    ))
}

fn payloads(url: &str) -> Result<(), String> {
    let bucket = url.strip_prefix("s3://").and_then(|place| place.split('/').next());
    if url == IN_BROKER || url.starts_with("file:///") || bucket.is_some_and(|bucket| !bucket.is_empty()) {
        return Ok(());
    }
    Err(format!(
        "--payloads (DOCKET_PAYLOADS) \"{url}\" is no place for payloads: write nats:, file:///folder or s3://bucket/prefix"
    ))
}

/// The name of a Secret of the operator's namespace. If pools are there too, one that is written for their pods under the same name
/// would be the same Secret, and go with the last pool.
fn secret_of_its_own(flag: &str, secret: &str) -> Result<(), String> {
    name(flag, secret, 253, true)?;
    if !SECRETS.contains(&secret) {
        return Ok(());
    }
    Err(format!(
        "{flag} \"{secret}\" is the name of a Secret that the operator writes into namespaces with pools, and deletes with the last \
         pool: give yours another name"
    ))
}

/// A name as Kubernetes has them: small letters, digits, dashes, and dots where `dots` says so.
fn name(flag: &str, name: &str, longest: usize, dots: bool) -> Result<(), String> {
    let is_end = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(is_end)
            && bytes.last().copied().is_some_and(is_end)
            && bytes.iter().all(|&c| is_end(c) || c == b'-')
    };
    let is_name = if dots { name.split('.').all(is_label) } else { is_label(name) };
    if is_name && name.len() <= longest {
        return Ok(());
    }
    let letters = if dots { "small letters, digits, dashes and dots" } else { "small letters, digits and dashes" };
    Err(format!("{flag} \"{name}\" is no name in Kubernetes: use {letters}, at most {longest} characters"))
}
