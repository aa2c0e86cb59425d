//! What can be written in the configuration files, and what holds where it is left out.

use std::{path::PathBuf, time::Duration};

use crds::{
    Span,
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

use super::{calls::Calls, kubernetes::Kubernetes};
use crate::{runtime::retention::SETTLE, serve::inference::InferenceLimits};

/// The file of a worker.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerFile {
    /// Name of the AgentPool that this worker belongs to.
    pub pool: String,
    /// Files with the AgentPool; the same files as `docket run -f` takes.
    pub resources: Vec<PathBuf>,
    /// The broker that all processes share.
    pub nats: Nats,
    /// Address of the OpenAI-compatible interface of the pool's models; none where it is left out.
    pub http: Option<String>,
    /// Host and port by which gateways reach that interface. Default: where it listens, and the host's name where that is
    /// every address of the machine.
    #[schemars(length(min = 3, max = 260))]
    pub advertise: Option<String>,
    /// File with the bearer tokens of `http`, the same as the gateway's. Without it only an address of the machine itself
    /// may be served, to anyone on it.
    pub tokens: Option<PathBuf>,
    /// Lets ServiceAccounts of a namespace in, beside those who have a token of the file.
    pub kubernetes: Option<Kubernetes>,
    /// Bounds of what clients can make the OpenAI-compatible interface do.
    #[serde(default)]
    pub inference: InferenceLimits,
    /// What the worker and the gateway have in common.
    #[serde(flatten)]
    pub process: Process,
}

/// The file of a gateway.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayFile {
    /// Files with the Pipelines that the gateway serves and with their AgentPools.
    pub resources: Vec<PathBuf>,
    /// Files of further Pipelines that go on by AgentPools as they were before: each list holds its pipelines' pools itself.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub former: Vec<Vec<PathBuf>>,
    /// Names of pipelines that take no further documents; those that are in flight end.
    #[serde(default)]
    #[schemars(length(max = 10_000), inner(length(min = 1, max = 63)))]
    pub closed: Vec<String>,
    /// The broker that all processes share. Without it, documents are kept in `state` and worked by the gateway itself.
    pub nats: Option<Nats>,
    /// Address of the HTTP interface.
    #[serde(default = "default_http")]
    pub http: String,
    /// Address of the gRPC interface; none where it is left out.
    pub grpc: Option<String>,
    /// File with the bearer tokens. Without it only addresses of the machine itself may be served, to anyone on it.
    pub tokens: Option<PathBuf>,
    /// Lets ServiceAccounts of a namespace in, beside those who have a token of the file.
    pub kubernetes: Option<Kubernetes>,
    /// Certificate of both interfaces. Without it they are not secret.
    pub tls: Option<TlsFiles>,
    /// How long the gateway stays after SIGTERM to tell who still comes to come again (503), while `/readyz` tells those who send it
    /// clients to send no more. What has begun goes on; `grace` begins after it; a second signal does not wait for it.
    #[serde(default = "default_farewell")]
    pub farewell: Span,
    /// Bounds of everything that clients can make the gateway hold.
    #[serde(default)]
    pub limits: Limits,
    /// When and how carefully what is over is removed; what is over, `retention` of each pipeline says.
    #[serde(default)]
    pub retention: Passes,
    /// Bounds of what clients can make the OpenAI-compatible interface do.
    #[serde(default)]
    pub inference: InferenceLimits,
    /// What the worker and the gateway have in common.
    #[serde(flatten)]
    pub process: Process,
}

/// When and how carefully what is over is removed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Passes {
    /// How often the gateways look, all together.
    pub every: Span,
    /// Longest time from the storing of bytes to the record that names them; the same for all gateways. At least twice `every`.
    pub settle: Span,
}

impl Default for Passes {
    fn default() -> Self {
        Self { every: Span(Duration::from_secs(600)), settle: Span(SETTLE) }
    }
}

/// Files in PEM, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsFiles {
    /// The certificate, behind it those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Certificates that vouch for clients: only clients with a certificate of one of these are let in.
    pub client_ca: Option<PathBuf>,
}

/// What a worker and a gateway have in common.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Name of this process, in records and at the broker; unique. Default: the host's name and the process's number.
    pub name: Option<String>,
    /// Where documents' bytes lie: `nats:`, `file:///folder`, `s3://bucket/prefix`. Only with `nats`.
    pub payloads: Option<String>,
    /// Folder for what can be made again (the cache, vectors), for knowledge and trained heads.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// Folder of pulled models. Default: docket/models in the user's cache folder.
    pub models: Option<PathBuf>,
    /// Address of `/livez`, `/readyz` and `/metrics`; none where it is left out.
    pub health: Option<String>,
    /// File with the bearer token of those who may read `/metrics`, read at each request; anyone may where it is left out.
    pub metrics_token_file: Option<PathBuf>,
    /// Longest time from SIGTERM to the end of the process: what is in work then is handed back.
    #[serde(default = "default_grace")]
    pub grace: Span,
    /// The Redis server that processes share as a level of the cache; the same for all.
    pub redis: Option<RedisServer>,
    /// Which servers are called of those that pools and pipelines name. Default: all.
    #[serde(default)]
    pub calls: Calls,
}

/// A Redis server that keeps results of pipelines whose `cache.levels` name Redis.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisServer {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: Option<String>,
    /// File with the URL, where it holds a password.
    pub url_file: Option<PathBuf>,
    /// Longest wait of a stage for an answer; after it the stage is worked.
    #[serde(default = "default_redis_timeout")]
    pub timeout: Span,
}

/// How the broker is reached.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nats {
    /// URLs of servers: `nats://host:4222` or `tls://host:4222`.
    #[schemars(length(min = 1, max = 16))]
    pub servers: Vec<String>,
    /// Begins the names of everything at the broker; the same for all processes that work together.
    #[serde(default = "default_prefix")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub prefix: String,
    /// Copies of every stream: 1, 3 or 5.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: u32,
    /// File with the certificates (PEM) that vouch for the servers. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// How long a task stays with a worker that is silent; the same for all processes.
    pub lease: Option<Span>,
    /// Longest wait for one answer of the broker.
    pub timeout: Option<Span>,
    /// File with credentials (`.creds`).
    pub credentials: Option<PathBuf>,
    /// Begins the subjects of answers, for credentials that allow others to be heard. Default: the client's own.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*$"))]
    pub inbox: Option<String>,
    /// Whether streams, buckets and consumers that are missing are made; false where the operator makes them, and the
    /// credentials allow nobody else to.
    #[serde(default = "default_make_streams")]
    pub make_streams: bool,
    /// File with a shared token.
    pub token_file: Option<PathBuf>,
    /// Name of a user of the server's own configuration.
    pub user: Option<String>,
    /// File with the password of `user`.
    pub password_file: Option<PathBuf>,
}

/// Bounds of everything that clients can make the gateway hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Bytes of one document.
    #[schemars(range(min = 1, max = 104_857_600))]
    pub document_bytes: u64,
    /// Bytes of memory for documents that are being received at once; one of them takes as many as it has, at most 8 MiB.
    pub buffered_bytes: u64,
    /// Documents in flight, a pipeline and tenant: accepted and not ended.
    #[schemars(range(min = 1))]
    pub in_flight: u32,
    /// Connections at once, of HTTP and gRPC each.
    #[schemars(range(min = 1, max = 100_000))]
    pub connections: u32,
    /// Requests at once on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub streams: u32,
    /// Bytes of the headers of an HTTP/2 request.
    #[schemars(range(min = 1_024, max = 1_048_576))]
    pub header_bytes: u32,
    /// Clients at once that watch or wait for a document.
    #[schemars(range(min = 1, max = 100_000))]
    pub watchers: u32,
    /// Longest time to send a document.
    pub request_time: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 100 << 20,
            buffered_bytes: 256 << 20,
            in_flight: 10_000,
            connections: 1_024,
            streams: 128,
            header_bytes: 16 << 10,
            watchers: 1_024,
            request_time: Span(Duration::from_secs(60)),
        }
    }
}

fn default_http() -> String {
    "127.0.0.1:8080".to_owned()
}

fn default_state() -> PathBuf {
    PathBuf::from(".docket-state")
}

fn default_make_streams() -> bool {
    true
}

fn default_grace() -> Span {
    Span(Duration::from_secs(30))
}

fn default_farewell() -> Span {
    Span(Duration::ZERO)
}

pub(super) fn default_redis_timeout() -> Span {
    Span(Duration::from_millis(2))
}

fn default_prefix() -> String {
    "docket".to_owned()
}

fn default_replicas() -> u32 {
    1
}
