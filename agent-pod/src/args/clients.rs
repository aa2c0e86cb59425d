//! Commands that talk to a gateway.

use std::path::PathBuf;

use clap::Args;

use super::{Format, StateArguments};

/// How a gateway at https:// is trusted, and how it may trust us.
#[derive(Args, Debug, Clone, Default)]
pub struct TlsArguments {
    /// File with the certificates (PEM) that vouch for the gateway. Default: those of the system.
    #[arg(long, env = "DOCKET_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// File with our own certificate (PEM), for a gateway that asks for one.
    #[arg(long, env = "DOCKET_CERT", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// File with its private key (PEM).
    #[arg(long, env = "DOCKET_KEY", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Which gateway, and which of its pipelines.
#[derive(Args, Debug, Clone)]
pub struct ClientArguments {
    /// The gateway's address.
    #[arg(long, env = "DOCKET_GATEWAY", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub gateway: String,
    /// Bearer token.
    #[arg(long, env = "DOCKET_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The pipeline; the gateway's only one where none is named.
    #[arg(id = "client_pipeline", long = "pipeline", env = "DOCKET_PIPELINE", value_name = "NAME")]
    pub pipeline: Option<String>,
    #[command(flatten)]
    pub tls: TlsArguments,
}

/// What is at a gateway instead of what is in a state folder.
#[derive(Args, Debug, Clone)]
pub struct RemoteArguments {
    /// The gateway's address; what is there is meant instead of what is in the state folder.
    #[arg(id = "remote_gateway", long = "gateway", env = "DOCKET_GATEWAY", value_name = "URL")]
    pub gateway: Option<String>,
    /// Bearer token of the gateway.
    #[arg(id = "remote_token", long = "token", env = "DOCKET_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    #[command(flatten)]
    pub tls: TlsArguments,
}

impl RemoteArguments {
    /// The gateway, if one is meant.
    pub fn client(&self, pipeline: Option<&String>) -> Option<ClientArguments> {
        let gateway = self.gateway.clone()?;
        let (token, pipeline, tls) = (self.token.clone(), pipeline.cloned(), self.tls.clone());
        Some(ClientArguments { gateway, token, pipeline, tls })
    }
}

/// `docket submit`.
#[derive(Args, Debug, Clone)]
pub struct SubmitArguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// Documents: files, folders or .jsonl files with a document a line.
    #[arg(long, required = true, env = "DOCKET_INPUT", num_args = 1.., value_name = "PATH")]
    pub input: Vec<PathBuf>,
    /// Begins the id of every document, so that a folder can be submitted again after its files have changed.
    #[arg(long, env = "DOCKET_PREFIX", default_value = "", value_name = "TEXT")]
    pub prefix: String,
    /// Owner of the documents, where the token leaves it open.
    #[arg(long, env = "DOCKET_TENANT", value_name = "NAME")]
    pub tenant: Option<String>,
    /// Does not wait for the documents to end; prints what was accepted.
    #[arg(long, env = "DOCKET_DETACH", value_parser = clap::builder::FalseyValueParser::new())]
    pub detach: bool,
    /// Documents that are sent at once.
    #[arg(long, env = "DOCKET_AT_ONCE", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: u16,
    /// Takes only the first so many documents.
    #[arg(long, env = "DOCKET_LIMIT", value_name = "N")]
    pub limit: Option<usize>,
    /// Folder for results.jsonl.
    #[arg(long, env = "DOCKET_OUTPUT", value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// table: a summary; json: the summary as JSON; jsonl: one object a document, as they end.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// `docket watch`.
#[derive(Args, Debug, Clone)]
pub struct WatchArguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// The document.
    pub document: String,
    /// table: lines for people; jsonl: one object an event.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// `docket get`.
#[derive(Args, Debug, Clone)]
pub struct GetArguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// The documents.
    #[arg(required = true)]
    pub documents: Vec<String>,
    /// Waits until they have ended.
    #[arg(long, env = "DOCKET_WAIT", value_parser = clap::builder::FalseyValueParser::new())]
    pub wait: bool,
    /// How they are printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// `docket list`.
#[derive(Args, Debug, Clone)]
pub struct ListArguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// Only documents with this outcome: succeeded, partial, dead-lettered, cancelled or unfinished.
    #[arg(long, env = "DOCKET_OUTCOME", value_name = "WORD")]
    pub outcome: Option<String>,
    /// How they are printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// `docket cancel`.
#[derive(Args, Debug, Clone)]
pub struct CancelArguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// The documents.
    #[arg(required = true)]
    pub documents: Vec<String>,
    /// How what became of them is printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// `docket approve`.
#[derive(Args, Debug, Clone)]
pub struct ApproveArguments {
    /// The documents that are answered for: each at the stage that asks, else its pending audit.
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub documents: Vec<String>,
    /// Lists what waits for a person: stages that ask, and at a gateway pending audits.
    #[arg(long, env = "DOCKET_LIST", value_parser = clap::builder::FalseyValueParser::new())]
    pub list: bool,
    /// Rejects instead of approving.
    #[arg(long, env = "DOCKET_REJECT", value_parser = clap::builder::FalseyValueParser::new())]
    pub reject: bool,
    /// The stage that is answered, where several of a document ask.
    #[arg(long, env = "DOCKET_STAGE", value_name = "NAME")]
    pub stage: Option<String>,
    /// What is said beside it; later stages and the log have it.
    #[arg(long, env = "DOCKET_COMMENT", value_name = "TEXT")]
    pub comment: Option<String>,
    /// Who answers for documents of a state folder; at a gateway it is the token's name.
    #[arg(long, env = "USER", default_value = "local", value_name = "NAME")]
    pub by: String,
    #[command(flatten)]
    pub state: StateArguments,
    /// Pipeline that is meant, where there are several.
    #[arg(long, env = "DOCKET_PIPELINE")]
    pub pipeline: Option<String>,
    /// How what became of the documents is printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub remote: RemoteArguments,
}

/// `docket feedback`.
#[derive(Args, Debug, Clone)]
pub struct FeedbackArguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// The document.
    #[arg(required_unless_present_any = ["list", "from"], conflicts_with_all = ["list", "from"])]
    pub document: Option<String>,
    /// The head that learns from it.
    #[arg(
        long,
        env = "DOCKET_HEAD",
        required_unless_present_any = ["list", "from"],
        conflicts_with_all = ["list", "from"],
        value_name = "NAME"
    )]
    pub head: Option<String>,
    /// Its label, for a classifier; `usual` for an anomaly head.
    #[arg(
        long,
        env = "DOCKET_LABEL",
        required_unless_present_any = ["score", "list", "from"],
        conflicts_with_all = ["score", "list", "from"],
        value_name = "LABEL"
    )]
    pub label: Option<String>,
    /// Its score from 0 to 1, for a quality head.
    #[arg(long, env = "DOCKET_SCORE", conflicts_with_all = ["list", "from"], value_name = "NUMBER")]
    pub score: Option<f64>,
    /// File with a line for each label or score, as `docket run --feedback` takes it: {"document": …, "head": …,
    /// "label": …} or "score". Lines with "split": "test" are left out.
    #[arg(long, env = "DOCKET_FROM", conflicts_with = "list", value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Lines of the file that are said at once.
    #[arg(long, env = "DOCKET_AT_ONCE", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: u16,
    /// Lists what was said of documents.
    #[arg(long, env = "DOCKET_LIST", value_parser = clap::builder::FalseyValueParser::new())]
    pub list: bool,
    /// How it is printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// `docket erase`.
#[derive(Args, Debug, Clone)]
pub struct EraseArguments {
    /// The documents.
    #[arg(required_unless_present = "tenant", conflicts_with = "tenant")]
    pub documents: Vec<String>,
    /// All documents of this tenant, of all pipelines; what was run or ingested on this machine is of the tenant "local".
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    #[command(flatten)]
    pub state: StateArguments,
    /// Pipeline whose documents are meant; all pipelines of the state folder where none is named.
    #[arg(long, env = "DOCKET_PIPELINE")]
    pub pipeline: Option<String>,
    #[command(flatten)]
    pub remote: RemoteArguments,
    /// Redis server that keeps results too: redis://[user:password@]host[:port][/database].
    #[arg(id = "redis_url", long = "redis", env = "DOCKET_REDIS", hide_env_values = true, value_name = "URL")]
    pub redis: Option<String>,
    /// table: place by place, in short; json, jsonl: the whole reports.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// `docket stats`, and others that ask a gateway for what concerns no single pipeline.
#[derive(Args, Debug, Clone)]
pub struct StatsArguments {
    /// The gateway's address.
    #[arg(long, env = "DOCKET_GATEWAY", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub gateway: String,
    /// Bearer token.
    #[arg(long, env = "DOCKET_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    #[command(flatten)]
    pub tls: TlsArguments,
    /// table: for people; json: all that the gateway says.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}
