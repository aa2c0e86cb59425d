//! Processes that serve.

use std::path::PathBuf;

use clap::Args;

use super::ModelArguments;

/// What `docket worker` and `docket gateway` have in common.
#[derive(Args, Debug, Clone)]
pub struct ServeArguments {
    /// File with the configuration; what follows wins over it. See docs/running-distributed.md.
    #[arg(long, env = "DOCKET_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Name of this process, unique. Default: the host's name and the process's number.
    #[arg(long, env = "DOCKET_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// URLs of NATS servers, separated by commas.
    #[arg(long, env = "DOCKET_NATS", value_name = "URLS")]
    pub nats: Option<String>,
    /// Where documents' bytes lie: nats:, file:///folder or s3://bucket/prefix.
    #[arg(long, env = "DOCKET_PAYLOADS", value_name = "URL")]
    pub payloads: Option<String>,
    /// Folder for the cache, knowledge and heads.
    #[arg(id = "serve_state", long = "state", env = "DOCKET_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub models: ModelArguments,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "DOCKET_HEALTH", value_name = "ADDRESS")]
    pub health: Option<String>,
    /// File with the bearer token of those who may read /metrics. Without it, anyone may.
    #[arg(long, env = "DOCKET_METRICS_TOKEN_FILE", value_name = "FILE")]
    pub metrics_token_file: Option<PathBuf>,
    /// Redis server that processes share as a level of the cache: redis://[user:password@]host[:port][/database].
    #[arg(id = "serve_redis", long = "redis", env = "DOCKET_REDIS", hide_env_values = true, value_name = "URL")]
    pub redis: Option<String>,
    /// Breaks the process on purpose, for the fault campaign. Never where documents matter.
    #[arg(long, env = "DOCKET_UNSAFE_FAULTS", value_name = "FAULTS", hide = true)]
    pub unsafe_faults: Option<String>,
}

/// `docket worker`.
#[derive(Args, Debug, Clone)]
pub struct WorkerArguments {
    #[command(flatten)]
    pub serve: ServeArguments,
    /// The AgentPool that this worker belongs to.
    #[arg(long, env = "DOCKET_POOL", value_name = "NAME")]
    pub pool: Option<String>,
    /// Address of the OpenAI-compatible interface of the pool's models.
    #[arg(long, env = "DOCKET_HTTP", value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Host and port by which gateways reach that interface.
    #[arg(long, env = "DOCKET_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
}

/// `docket gateway`.
#[derive(Args, Debug, Clone)]
pub struct GatewayArguments {
    #[command(flatten)]
    pub serve: ServeArguments,
    /// Address of the HTTP interface.
    #[arg(long, env = "DOCKET_HTTP", value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Address of the gRPC interface.
    #[arg(long, env = "DOCKET_GRPC", value_name = "ADDRESS")]
    pub grpc: Option<String>,
}
