//! What a person types. The only place that reads flags and environment variables; `config` checks what they say.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Brings AgentPools and Pipelines to their desired state on Kubernetes.
#[derive(Parser, Debug, Clone)]
#[command(name = "docket-operator", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug, Clone)]
pub enum Command {
    /// Runs the controllers until SIGTERM, or until a Secret with credentials has changed, which the next process reads. Of several
    /// processes one leads, the others stand by.
    Run(Box<RunArguments>),
    /// Asks a running operator whether it is ready, until it is; for `helm test`.
    Check(CheckArguments),
}

/// `docket-operator check`.
#[derive(Args, Debug, Clone)]
pub struct CheckArguments {
    /// Address of its /readyz.
    #[arg(long, env = "DOCKET_CHECK_URL", value_name = "URL", default_value = "http://127.0.0.1:9090/readyz")]
    pub url: String,
    /// Longest wait in seconds.
    #[arg(long, env = "DOCKET_CHECK_TIMEOUT", value_name = "SECONDS", default_value = "30",
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub timeout: u64,
}

/// `docket-operator run`.
#[derive(Args, Debug, Clone)]
pub struct RunArguments {
    /// Image of the agents' and gateways' pods.
    #[arg(long, env = "DOCKET_AGENT_IMAGE", value_name = "IMAGE")]
    pub agent_image: String,
    /// When nodes pull that image.
    #[arg(long, env = "DOCKET_IMAGE_PULL_POLICY", value_name = "POLICY", default_value = "IfNotPresent")]
    pub image_pull_policy: PullPolicy,
    /// Secrets, separated by commas, with which nodes pull that image: of the pods' own namespaces, where they must be made.
    #[arg(long, env = "DOCKET_IMAGE_PULL_SECRETS", value_name = "NAMES", default_value = "")]
    pub image_pull_secrets: String,
    /// The image holds the models of the demonstration under /models, so that its pods pull none.
    #[arg(long, env = "DOCKET_MODELS_IN_IMAGE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub models_in_image: bool,
    /// Namespaces, separated by commas, whose gateways ask the API server whose a token is, so that ServiceAccounts of their
    /// namespace are let in. They need a ClusterRole for it.
    #[arg(long, env = "DOCKET_TOKEN_REVIEW", value_name = "NAMES", default_value = "")]
    pub token_review: String,
    /// Pods of agents and gateways run as user and group 65532. With false they name none, for clusters that give each namespace
    /// numbers of its own and refuse others, as OpenShift does.
    #[arg(long, env = "DOCKET_FIXED_IDS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub fixed_ids: bool,
    /// Ports of the API server, separated by commas, for the network policies of gateways that review tokens: that of its Service
    /// and its own.
    #[arg(long, env = "DOCKET_API_SERVER_PORTS", value_name = "PORTS", default_value = "443,6443")]
    pub api_server_ports: String,
    /// Gateways of each namespace that has pipelines.
    #[arg(long, env = "DOCKET_GATEWAY_REPLICAS", value_name = "COUNT", default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=20))]
    pub gateway_replicas: u32,
    /// URLs of NATS servers, separated by commas.
    #[arg(long, env = "DOCKET_NATS", value_name = "URLS", default_value = "nats://docket-nats:4222")]
    pub nats: String,
    /// Copies that NATS keeps of streams and buckets: 1, 3 or 5, and no more than it has servers.
    #[arg(long, env = "DOCKET_NATS_REPLICAS", value_name = "COUNT", default_value = "1")]
    pub nats_replicas: u32,
    /// Secret in the operator's namespace with `user` and `password` for NATS, or with a `nats.creds` file, which all agents
    /// then share. Without one, and without --nats-keys-secret, NATS asks for none.
    #[arg(long, env = "DOCKET_NATS_CREDENTIALS_SECRET", value_name = "NAME")]
    pub nats_credentials_secret: Option<String>,
    /// Secret in the operator's namespace with the key of a NATS that trusts Docket, `operator.nk`; made once where there is none,
    /// with `auth.conf` for the servers. Each pool and gateway then has credentials of its own, for what it needs alone.
    #[arg(long, env = "DOCKET_NATS_KEYS_SECRET", value_name = "NAME")]
    pub nats_keys_secret: Option<String>,
    /// Where documents' bytes lie: nats:, file:///folder or s3://bucket/prefix, with a folder below it for each namespace.
    #[arg(long, env = "DOCKET_PAYLOADS", value_name = "URL", default_value = "nats:")]
    pub payloads: String,
    /// Secret in the operator's namespace whose keys are variables of agents and gateways, such as AWS_ACCESS_KEY_ID, by which
    /// they reach that place.
    #[arg(long, env = "DOCKET_PAYLOADS_SECRET", value_name = "NAME")]
    pub payloads_secret: Option<String>,
    /// Namespaces to look after, separated by commas. All, where none is named; that takes a ClusterRole.
    #[arg(long, env = "DOCKET_WATCH_NAMESPACES", value_name = "NAMES", default_value = "")]
    pub watch_namespaces: String,
    /// Name of the Lease by which one of several operators leads.
    #[arg(long, env = "DOCKET_LEASE_NAME", value_name = "NAME", default_value = "docket-operator")]
    pub lease_name: String,
    /// The operator's own namespace: of its Lease and of the Secret for NATS.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: String,
    /// Name of this process in the Lease and in Events; something is added that makes it unique.
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "docket-operator")]
    pub identity: String,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "DOCKET_HEALTH", value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    pub health: SocketAddr,
    /// Secret in the operator's namespace with the `token` of those who may read its metrics; made once where there is none. With it
    /// the metrics of agents and gateways are for whoever has the token of their namespace's Secret docket-metrics.
    #[arg(long, env = "DOCKET_METRICS_SECRET", value_name = "NAME")]
    pub metrics_secret: Option<String>,
    /// File with that token, which a mount of the Secret brings. Without it anyone may read the operator's metrics.
    #[arg(long, env = "DOCKET_METRICS_TOKEN_FILE", value_name = "FILE")]
    pub metrics_token_file: Option<PathBuf>,
    /// Labels of PodMonitors, such as release=prometheus, separated by commas: those that Prometheus selects them by.
    #[arg(long, env = "DOCKET_POD_MONITOR_LABELS", value_name = "LABELS", default_value = "")]
    pub pod_monitor_labels: String,
    /// How often Prometheus reads what PodMonitors name, such as 30s. As often as it usually does where none is given.
    #[arg(long, env = "DOCKET_POD_MONITOR_INTERVAL", value_name = "DURATION")]
    pub pod_monitor_interval: Option<String>,
    /// Address of the external scaler for KEDA, such as 0.0.0.0:9091. None is opened where none is given.
    #[arg(long, env = "DOCKET_EXTERNAL_SCALER", value_name = "ADDRESS")]
    pub external_scaler: Option<SocketAddr>,
    /// Form of the log on standard error.
    #[arg(long, env = "DOCKET_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged, such as `info,operator=debug`.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// When nodes pull an image; as in a pod.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// Where it is not there.
    IfNotPresent,
    /// It must be there.
    Never,
}

/// Form of the log.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}
