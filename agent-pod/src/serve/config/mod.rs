//! The configuration files of `docket worker` and `docket gateway`, and what flags change in them.
//!
//! Files are read as strictly as resources are: an unknown field is an error with its line. Paths in a file are seen from
//! the file's folder.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crds::{
    AgentPoolSpec, Pipeline, Span,
    file::Located,
    schemars::{self, JsonSchema},
};
use flow::Plan;
use queue::jetstream::{Credentials, Settings};
use serde::Deserialize;

use super::{inference::InferenceLimits, listen::Tls};
use crate::{
    Error, Result,
    args::{ServeArguments, WorkerArguments},
    commands::validate,
    error::chain,
    runtime::{cache::RedisSettings, retention::SETTLE},
};

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
    /// The broker that all processes share. Without it, documents are kept in `state` and worked by the gateway itself.
    pub nats: Option<Nats>,
    /// Address of the HTTP interface.
    #[serde(default = "default_http")]
    pub http: String,
    /// Address of the gRPC interface; none where it is left out.
    pub grpc: Option<String>,
    /// File with the bearer tokens. Without it only addresses of the machine itself may be served, to anyone on it.
    pub tokens: Option<PathBuf>,
    /// Certificate of both interfaces. Without it they are not secret.
    pub tls: Option<TlsFiles>,
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
    /// Longest time from SIGTERM to the end of the process: what is in work then is handed back.
    #[serde(default = "default_grace")]
    pub grace: Span,
    /// The Redis server that processes share as a level of the cache; the same for all.
    pub redis: Option<RedisServer>,
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

fn default_grace() -> Span {
    Span(Duration::from_secs(30))
}

fn default_redis_timeout() -> Span {
    Span(Duration::from_millis(2))
}

fn default_prefix() -> String {
    "docket".to_owned()
}

fn default_replicas() -> u32 {
    1
}

/// A worker's configuration, resolved.
pub struct WorkerConfig {
    /// The pool's name.
    pub pool: String,
    /// The pool.
    pub spec: AgentPoolSpec,
    /// The pipelines of the resource files that use it.
    pub pipelines: Vec<String>,
    /// The broker.
    pub nats: Settings,
    /// Where the OpenAI-compatible interface is served.
    pub http: Option<SocketAddr>,
    /// How gateways reach it.
    pub advertise: Option<String>,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// Its bounds.
    pub inference: InferenceLimits,
    /// The rest.
    pub process: ProcessConfig,
}

/// A gateway's configuration, resolved.
pub struct GatewayConfig {
    /// The plans of the pipelines, by name.
    pub plans: BTreeMap<String, Plan>,
    /// The broker; none where the gateway works the documents itself.
    pub nats: Option<Settings>,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where gRPC is served.
    pub grpc: Option<SocketAddr>,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// The files of the certificate.
    pub tls: Option<TlsFiles>,
    /// Bounds.
    pub limits: Limits,
    /// When what is over is removed.
    pub retention: Passes,
    /// Bounds of the OpenAI-compatible interface.
    pub inference: InferenceLimits,
    /// The rest.
    pub process: ProcessConfig,
}

/// What both have in common, resolved.
pub struct ProcessConfig {
    /// Name of this process.
    pub name: String,
    /// Folder of state.
    pub state: PathBuf,
    /// Folder of models.
    pub models: Option<PathBuf>,
    /// Where health and metrics are served.
    pub health: Option<SocketAddr>,
    /// Longest time to stop.
    pub grace: Duration,
    /// The server of the cache that processes share.
    pub redis: Option<RedisSettings>,
}

impl WorkerConfig {
    /// Reads the file; flags win over it.
    pub fn read(arguments: &WorkerArguments) -> Result<Self> {
        let file: Located<WorkerFile> = crds::file::settings(&arguments.serve.config).map_err(validate::usage)?;
        let base = base(&arguments.serve.config);
        let pool = arguments.pool.clone().unwrap_or_else(|| file.pool.clone());
        let resources = validate::read_files(&resolved_all(base, &file.resources))?;
        let found = resources.pools.iter().find(|candidate| candidate.name() == pool);
        let Some(found) = found else {
            let known: Vec<&str> = resources.pools.iter().map(Located::name).collect();
            let message = format!("the resource files hold no AgentPool \"{pool}\"; they hold: {}", known.join(", "));
            return Err(validate::usage(vec![file.error("pool", message)]));
        };
        let process = process(&file, &file.process, base, &arguments.serve)?;
        let nats = nats(&file, &file.nats, &file.process, base, (&process, &arguments.serve))?;
        let http = arguments.http.as_deref().or(file.http.as_deref());
        let http = http.map(|text| address(&file, "http", text)).transpose()?;
        let tokens = file.tokens.as_ref().map(|path| resolved(base, path));
        check_reach(&file, tokens.is_some(), "http", http)?;
        let advertise = arguments.advertise.clone().or_else(|| file.advertise.clone());
        let uses = |pipeline: &&Located<Pipeline>| pipeline.resource.spec.stages.iter().any(|stage| stage.pool == pool);
        let pipelines = resources.pipelines.iter().filter(uses).map(|pipeline| pipeline.name().to_owned()).collect();
        let inference = file.inference.clone();
        let spec = found.resource.spec.clone();
        Ok(Self { pool, spec, pipelines, nats, http, advertise, tokens, inference, process })
    }
}

impl GatewayConfig {
    /// Reads the file; flags win over it.
    pub fn read(arguments: &ServeArguments, http: Option<&str>, grpc: Option<&str>) -> Result<Self> {
        let file: Located<GatewayFile> = crds::file::settings(&arguments.config).map_err(validate::usage)?;
        let base = base(&arguments.config);
        let plans = validate::all_plans(&resolved_all(base, &file.resources))?;
        let process = process(&file, &file.process, base, arguments)?;
        let settings = match &file.nats {
            Some(nats_file) => Some(nats(&file, nats_file, &file.process, base, (&process, arguments))?),
            None => match &arguments.nats {
                Some(servers) => Some(plain_nats(servers, &file.process, (&process, arguments))),
                None if file.process.payloads.is_some() => {
                    let message = "needs nats: without a broker, documents are kept in the state folder";
                    return Err(validate::usage(vec![file.error("payloads", message)]));
                }
                None => None,
            },
        };
        let http = address(&file, "http", http.unwrap_or(&file.http))?;
        let grpc = grpc.or(file.grpc.as_deref()).map(|text| address(&file, "grpc", text)).transpose()?;
        let tokens = file.tokens.as_ref().map(|path| resolved(base, path));
        let tls = file.tls.as_ref().map(|files| TlsFiles {
            certificate: resolved(base, &files.certificate),
            key: resolved(base, &files.key),
            client_ca: files.client_ca.as_ref().map(|path| resolved(base, path)),
        });
        let knows_clients = tokens.is_some() || tls.as_ref().is_some_and(|files| files.client_ca.is_some());
        for (field, address) in [("http", Some(http)), ("grpc", grpc)] {
            check_reach(&file, knows_clients, field, address)?;
        }
        let retention = file.retention.clone();
        if retention.every.0.is_zero() || retention.settle.0 < retention.every.0 * 2 {
            let message = "must be at least twice every, and every longer than 0";
            return Err(validate::usage(vec![file.error("retention.settle", message)]));
        }
        let (limits, inference) = (file.limits.clone(), file.inference.clone());
        Ok(Self { plans, nats: settings, http, grpc, tokens, tls, limits, retention, inference, process })
    }
}

/// Where clients are not known, nobody but who is on this machine may ask.
fn check_reach<T>(file: &Located<T>, knows_clients: bool, field: &str, address: Option<SocketAddr>) -> Result<()> {
    if !knows_clients && address.is_some_and(|address| !address.ip().is_loopback()) {
        let message = "can be reached from other machines, so tokens must name a file of bearer tokens, or a gateway's \
                       tls.clientCa the certificates that vouch for clients";
        return Err(validate::usage(vec![file.error(field, message)]));
    }
    Ok(())
}

fn base(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new(""))
}

fn resolved(base: &Path, path: &Path) -> PathBuf {
    base.join(path)
}

fn resolved_all(base: &Path, paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| resolved(base, path)).collect()
}

fn address<T>(file: &Located<T>, field: &str, text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| {
        let message = format!("\"{text}\" is not an address; write for example 127.0.0.1:8080 or [::]:8080");
        validate::usage(vec![file.error(field, message)])
    })
}

fn process<T>(file: &Located<T>, written: &Process, base: &Path, arguments: &ServeArguments) -> Result<ProcessConfig> {
    let health = arguments.health.as_deref().or(written.health.as_deref());
    Ok(ProcessConfig {
        name: arguments.name.clone().or_else(|| written.name.clone()).unwrap_or_else(own_name),
        state: arguments.state.clone().unwrap_or_else(|| resolved(base, &written.state)),
        models: arguments.models.folder.clone().or_else(|| written.models.as_ref().map(|path| resolved(base, path))),
        health: health.map(|text| address(file, "health", text)).transpose()?,
        grace: written.grace.0,
        redis: redis(file, written.redis.as_ref(), base, arguments)?,
    })
}

fn redis<T>(
    file: &Located<T>,
    written: Option<&RedisServer>,
    base: &Path,
    arguments: &ServeArguments,
) -> Result<Option<RedisSettings>> {
    let wrong = |field: &str, message: String| validate::usage(vec![file.error(field, message)]);
    let timeout = written.map_or_else(default_redis_timeout, |written| written.timeout).0;
    let unusable = |error| format!("{error}; write it as redis://[user:password@]host[:port][/database]");
    if let Some(url) = &arguments.redis {
        let settings = RedisSettings::new(url, timeout);
        return settings.map(Some).map_err(|error| Error::usage(format!("--redis: {}", unusable(error))));
    }
    let Some(written) = written else { return Ok(None) };
    let (field, url) = match (&written.url, &written.url_file) {
        (Some(url), None) => ("redis.url", url.clone()),
        (None, Some(path)) => {
            let path = resolved(base, path);
            let text = std::fs::read_to_string(&path);
            let text =
                text.map_err(|error| wrong("redis.urlFile", format!("failed to read {}: {error}", path.display())))?;
            ("redis.urlFile", text.trim_end().to_owned())
        }
        _ => return Err(wrong("redis", "set exactly one of url, urlFile".to_owned())),
    };
    RedisSettings::new(&url, timeout).map(Some).map_err(|error| wrong(field, unusable(error)))
}

/// The host's name and the process's number: unique among the processes of a broker.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

fn plain_nats(servers: &str, written: &Process, (process, arguments): (&ProcessConfig, &ServeArguments)) -> Settings {
    let mut settings = Settings::new(servers);
    settings.name.clone_from(&process.name);
    settings.scoped = flow::keys::OF_ONE_PIPELINE.to_vec();
    if let Some(payloads) = arguments.payloads.clone().or_else(|| written.payloads.clone()) {
        settings.payloads = payloads;
    }
    settings
}

fn nats<T>(
    file: &Located<T>,
    nats: &Nats,
    written: &Process,
    base: &Path,
    (process, arguments): (&ProcessConfig, &ServeArguments),
) -> Result<Settings> {
    let servers = arguments.nats.clone().unwrap_or_else(|| nats.servers.join(","));
    let mut settings = plain_nats(&servers, written, (process, arguments));
    settings.bucket_prefix.clone_from(&nats.prefix);
    settings.replicas = nats.replicas as usize;
    if let Some(lease) = nats.lease {
        settings.lease = lease.0;
    }
    if let Some(timeout) = nats.timeout {
        settings.timeout = timeout.0;
    }
    let wrong = |field: &str, message: String| validate::usage(vec![file.error(&format!("nats.{field}"), message)]);
    if let Some(path) = &nats.ca {
        let path = resolved(base, path);
        Tls::check_certificates(&path).map_err(|error| wrong("ca", chain(&error)))?;
        settings.ca = Some(path);
    }
    let secret = |field: &str, path: &Path| {
        let path = resolved(base, path);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| wrong(field, format!("failed to read {}: {error}", path.display())))?;
        Ok::<_, Error>(text.trim_end().to_owned())
    };
    settings.credentials = match (&nats.credentials, &nats.token_file, &nats.user, &nats.password_file) {
        (None, None, None, None) => None,
        (Some(path), None, None, None) => Some(Credentials::File(resolved(base, path))),
        (None, Some(path), None, None) => Some(Credentials::Token(secret("tokenFile", path)?)),
        (None, None, Some(name), Some(path)) => {
            Some(Credentials::User { name: name.clone(), password: secret("passwordFile", path)? })
        }
        _ => {
            let message = "set one of credentials, tokenFile, or user with passwordFile";
            return Err(validate::usage(vec![file.error("nats", message)]));
        }
    };
    Ok(settings)
}
