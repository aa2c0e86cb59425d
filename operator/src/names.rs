//! Names, labels and ports of everything that the operator makes. Deterministic: the same pool gives the same names, so a
//! repeat after a lost answer meets what the first try made.

use std::collections::BTreeMap;

/// Owner of the fields of children, for server-side apply.
pub const FIELD_MANAGER: &str = "docket-operator";
/// Owner of the numbers of replicas that the autoscaler writes.
pub const SCALE_MANAGER: &str = "docket-operator-scaler";
/// Owner of the fields of status.
pub const STATUS_MANAGER: &str = "docket-operator-status";
/// Keeps an object until what it has at the broker is removed.
pub const FINALIZER: &str = "docket.dev/broker";

/// Label by which an object is known to be a pool's.
pub const POOL_LABEL: &str = "docket.dev/pool";
/// Label that a claim needs to be mounted into agents.
pub const ALLOWED_LABEL: &str = "docket.dev/agents";
/// The same of the claim for the gateway's state.
pub const GATEWAY_ALLOWED_LABEL: &str = "docket.dev/gateway";
/// The value of both.
pub const ALLOWED: &str = "allowed";
/// Annotation with the digest of what was applied.
pub const APPLIED_ANNOTATION: &str = "docket.dev/applied";
/// Annotation of pods with the digest of their configuration, so that they are replaced when it changes.
pub const CONFIG_ANNOTATION: &str = "docket.dev/config";

/// Annotation of pods by which a ReplicaSet chooses whom to take away: the lowest first, 0 where there is none.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Annotation of pods with the digest of what NATS knows them by, for the same reason.
pub const CREDENTIALS_ANNOTATION: &str = "docket.dev/nats-credentials";
/// The same of what the store of payloads knows them by.
pub const PAYLOADS_ANNOTATION: &str = "docket.dev/payloads-keys";

/// The gateway of a namespace, and all its objects.
pub const GATEWAY: &str = "docket-gateway";
/// Secret of the user's with variables and files of a namespace's gateway, such as the password of a database.
pub const GATEWAY_ENV: &str = "docket-gateway-env";
/// Claim of the user's for the state folder of a namespace's gateway.
pub const GATEWAY_STATE: &str = "docket-gateway-state";
/// Secret with the bearer tokens of a namespace's gateway and agents.
pub const TOKENS: &str = "docket-gateway-tokens";
/// Secret with the broker's credentials, in each namespace that has agents.
pub const NATS: &str = "docket-nats";

/// Secret with the token by which the metrics of a namespace's gateway and agents are read.
pub const METRICS: &str = "docket-metrics";
/// Key of a token in its Secret.
pub const TOKEN: &str = "token";

/// Secret with what the store of payloads asks for, in each namespace that has agents.
pub const PAYLOADS: &str = "docket-payloads";

/// The Secrets that are written in each namespace that has pools or pipelines, and removed with the last of them.
pub const SECRETS: [&str; 4] = [TOKENS, NATS, METRICS, PAYLOADS];

/// Port of HTTP, of gateways and agents.
pub const HTTP: u16 = 8080;
/// Port of gRPC, of gateways.
pub const GRPC: u16 = 8081;
/// Port of `/livez`, `/readyz` and `/metrics`.
pub const HEALTH: u16 = 9090;
/// The user and group that all containers run as, where the cluster does not choose them.
pub const USER: i64 = 65_532;

/// Key of the gateway in the Secret with the broker's credentials.
pub const GATEWAY_CREDS: &str = "gateway.creds";

/// Key of a pool in that Secret.
pub fn creds(pool: &str) -> String {
    format!("agents-{pool}.creds")
}

/// Name of all objects of a pool.
pub fn agents(pool: &str) -> String {
    format!("{pool}-agents")
}

/// Longest name of a pool: what is made of it names a Service, which is a DNS label.
pub const LONGEST_POOL: usize = 63 - "-agents".len();

/// Whether a pool can work under this name.
pub fn is_of_pool(name: &str) -> bool {
    name.len() <= LONGEST_POOL && is_plain(name)
}

/// Whether a pool or a pipeline can work under this name. Kubernetes allows dots and more letters; the gateway's files do not, and
/// it would start with none of them for one that it cannot read.
pub fn is_plain(name: &str) -> bool {
    let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| is_end(byte) || *byte == b'-')
        && bytes.first().is_some_and(is_end)
        && bytes.last().is_some_and(is_end)
}

/// The two kinds of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Agents of a pool.
    Agents,
    /// A namespace's gateway.
    Gateway,
}

impl Component {
    fn word(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Gateway => "gateway",
        }
    }
}

/// The labels that select pods; they may never change, because a Deployment's selector cannot.
pub fn selector(component: Component, instance: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "docket".to_owned()),
        ("app.kubernetes.io/component".to_owned(), component.word().to_owned()),
        ("app.kubernetes.io/instance".to_owned(), instance.to_owned()),
    ])
}

/// The labels of an object.
pub fn labels(component: Component, instance: &str) -> BTreeMap<String, String> {
    let mut labels = selector(component, instance);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned());
    if component == Component::Agents {
        labels.insert(POOL_LABEL.to_owned(), instance.to_owned());
    }
    labels
}

/// Labels as the text of a selector.
pub fn selector_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// What begins the names of a namespace's things at the broker; at most 64 characters, and different for each namespace.
pub fn broker_prefix(namespace: &str) -> String {
    let prefix = format!("docket-{namespace}");
    if prefix.len() <= 64 { prefix } else { format!("docket_{}", &digest(namespace.as_bytes())[..32]) }
}

/// The digest of bytes, 64 hexadecimal digits (BLAKE3).
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// A token that nobody can guess: 64 hexadecimal digits.
pub fn random() -> String {
    let mut bytes = [0; 32];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).expect("the system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
