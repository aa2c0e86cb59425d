//! What a person types. The environment is read here and nowhere else: every flag has a `DOCKET_…` variable.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use crds::Span;

/// Documents through agents, on your own machine: a pipeline file in, results out.
///
/// Exit codes: 0 all documents succeeded; 1 some were dead-lettered (they are listed); 2 usage or invalid file (the message
/// names file, line and field); 3 the system failed; 4 some wait for a person (`docket approve`), then `--resume` goes on.
#[derive(Parser, Debug)]
#[command(name = "docket", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged to standard error, for example `info` or `agent_pod=debug`.
    #[arg(long, global = true, env = "DOCKET_LOG", default_value = "warn")]
    pub log: String,
    /// Threads that compute. Default: what the cgroup and the affinity allow.
    #[arg(long, global = true, env = "DOCKET_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs a pipeline over documents in this process and prints what came out.
    Run(RunArguments),
    /// Checks pipeline files without running them.
    Validate(FileArguments),
    /// Adds documents to a knowledge base.
    Ingest(IngestArguments),
    /// Searches a knowledge base.
    Query(QueryArguments),
    /// Lists, shows and replays documents that were given up.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Tells what happened to a document, and why.
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Shows and removes kept results of stages.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Lists and fetches models of the catalogue.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Measures this build on this machine.
    Bench(BenchArguments),
    /// Works the tasks of one pool, beside any number of other workers.
    Worker(WorkerArguments),
    /// Takes documents over HTTP and gRPC and gives results.
    Gateway(GatewayArguments),
    /// Sends documents to a gateway and prints what came of them.
    Submit(SubmitArguments),
    /// Follows a document at a gateway: its stages, the text that is being written, its end.
    Watch(WatchArguments),
    /// Prints the results of documents at a gateway.
    Get(GetArguments),
    /// Lists the documents of a pipeline at a gateway.
    List(ListArguments),
    /// Gives documents up.
    Cancel(CancelArguments),
    /// Approves or rejects documents that wait for a person, or lists them.
    Approve(ApproveArguments),
    /// Tells a head what to learn from a document at a gateway.
    Feedback(FeedbackArguments),
    /// Erases documents, or all of a tenant's, from everywhere, and proves it. Exit code 1 where something may be left.
    Erase(EraseArguments),
    /// Tells what waits in the pools of a gateway, who works there and how long work takes.
    Stats(StatsArguments),
    /// Parses one document from standard input under limits. Run by docket itself.
    #[command(hide = true)]
    ParseChild,
}

/// Pipeline files.
#[derive(Args, Debug, Clone)]
pub struct FileArguments {
    /// Files with AgentPools and Pipelines (YAML or JSON); may be given several times.
    #[arg(
        short = 'f',
        long = "file",
        required = true,
        env = "DOCKET_FILE",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    pub files: Vec<PathBuf>,
    /// Pipeline to use, where the files hold several.
    #[arg(long, env = "DOCKET_PIPELINE", value_name = "NAME")]
    pub pipeline: Option<String>,
}

/// Where state is kept.
#[derive(Args, Debug, Clone)]
pub struct StateArguments {
    /// Folder that keeps records, payloads, knowledge, heads and the cache.
    #[arg(id = "state_folder", long = "state", env = "DOCKET_STATE", default_value = ".docket", value_name = "DIR")]
    pub folder: PathBuf,
}

/// Where models are kept.
#[derive(Args, Debug, Clone)]
pub struct ModelArguments {
    /// Folder of pulled models. Default: docket/models in the user's cache folder.
    #[arg(id = "models_folder", long = "models", env = "DOCKET_MODELS", value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// How results are printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    Table,
    /// One JSON value.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// `docket run`.
#[derive(Args, Debug, Clone)]
pub struct RunArguments {
    #[command(flatten)]
    pub file: FileArguments,
    /// Documents: files, folders (searched through, hidden files left out) or .jsonl files with a document a line
    /// ({"id", "text" or "path", "metadata", "priority"}).
    #[arg(long, required = true, env = "DOCKET_INPUT", num_args = 1.., value_name = "PATH")]
    pub input: Vec<PathBuf>,
    /// Folder for results.jsonl and summary.json.
    #[arg(long, env = "DOCKET_OUTPUT", value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// table: a summary; json: the summary as JSON; jsonl: one object a document, as they end.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub state: StateArguments,
    #[command(flatten)]
    pub models: ModelArguments,
    /// Continues the last run of this pipeline in the state folder.
    #[arg(long, env = "DOCKET_RESUME", value_parser = clap::builder::FalseyValueParser::new())]
    pub resume: bool,
    /// Takes only the first so many documents.
    #[arg(long, env = "DOCKET_LIMIT", value_name = "N")]
    pub limit: Option<usize>,
    /// Labels that train the pipeline's heads before the run: lines {"document", "head", "label", "split"}; lines with
    /// "split": "test" are held out and measure accuracy.
    #[arg(long, env = "DOCKET_FEEDBACK", value_name = "FILE")]
    pub feedback: Option<PathBuf>,
    #[command(flatten)]
    pub redis: RedisArguments,
}

/// `docket ingest`.
#[derive(Args, Debug, Clone)]
pub struct IngestArguments {
    #[command(flatten)]
    pub file: FileArguments,
    /// Knowledge base of the pipeline.
    #[arg(long, env = "DOCKET_KNOWLEDGE", value_name = "NAME")]
    pub knowledge: String,
    /// Documents: files, folders or .jsonl files.
    #[arg(long, required = true, env = "DOCKET_INPUT", num_args = 1.., value_name = "PATH")]
    pub input: Vec<PathBuf>,
    /// Takes only the first so many documents.
    #[arg(long, env = "DOCKET_LIMIT", value_name = "N")]
    pub limit: Option<usize>,
    /// How the summary is printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub state: StateArguments,
    #[command(flatten)]
    pub models: ModelArguments,
}

/// `docket query`.
#[derive(Args, Debug, Clone)]
pub struct QueryArguments {
    #[command(flatten)]
    pub file: FileArguments,
    /// Knowledge base of the pipeline.
    #[arg(long, env = "DOCKET_KNOWLEDGE", value_name = "NAME")]
    pub knowledge: String,
    /// What to look for.
    #[arg(required_unless_present = "queries", conflicts_with = "queries", value_name = "TEXT")]
    pub text: Option<String>,
    /// File with a query a line: {"id", "text"}.
    #[arg(long, env = "DOCKET_QUERIES", value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// Most chunks a query.
    #[arg(long, env = "DOCKET_TOP_K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    pub top_k: u32,
    /// How chunks are found; several are fused.
    #[arg(long, env = "DOCKET_STEPS", value_enum, value_delimiter = ',', default_values = ["ann", "full-text"])]
    pub steps: Vec<Step>,
    /// jsonl: lines {query, document, chunk, rank, score, text, start, end}.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub state: StateArguments,
    #[command(flatten)]
    pub models: ModelArguments,
}

/// One way to find chunks.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nearest vectors.
    Ann,
    /// Words, by BM25.
    FullText,
}

/// `docket dlq`.
#[derive(Subcommand, Debug, Clone)]
pub enum DlqCommand {
    /// Lists the documents of the last run that were dead-lettered.
    List {
        #[command(flatten)]
        state: StateArguments,
        /// Pipeline whose last run is meant, where the state folder holds several.
        #[arg(long, env = "DOCKET_PIPELINE")]
        pipeline: Option<String>,
        /// How they are printed.
        #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
        format: Format,
        #[command(flatten)]
        remote: RemoteArguments,
    },
    /// Shows one dead letter whole.
    Show {
        /// The document.
        document: String,
        #[command(flatten)]
        state: StateArguments,
        /// Pipeline whose last run is meant, where the state folder holds several.
        #[arg(long, env = "DOCKET_PIPELINE")]
        pipeline: Option<String>,
        #[command(flatten)]
        remote: RemoteArguments,
    },
    /// Works dead-lettered documents again from the stage that failed, with the plan that they began with.
    Replay(ReplayArguments),
}

/// `docket dlq replay`.
#[derive(Args, Debug, Clone)]
pub struct ReplayArguments {
    /// The documents.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub documents: Vec<String>,
    /// All dead letters of the last run.
    #[arg(long, env = "DOCKET_ALL", value_parser = clap::builder::FalseyValueParser::new())]
    pub all: bool,
    #[command(flatten)]
    pub state: StateArguments,
    #[command(flatten)]
    pub models: ModelArguments,
    /// Pipeline whose last run is meant, where the state folder holds several.
    #[arg(long, env = "DOCKET_PIPELINE")]
    pub pipeline: Option<String>,
    /// How what came out is printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    /// Folder for results.jsonl and summary.json.
    #[arg(long, env = "DOCKET_OUTPUT", value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub remote: RemoteArguments,
    #[command(flatten)]
    pub redis: RedisArguments,
}

/// `docket explain`.
#[derive(Subcommand, Debug, Clone)]
pub enum ExplainCommand {
    /// What happened to a document of the last run, stage by stage.
    Document {
        /// The document.
        name: String,
        #[command(flatten)]
        state: StateArguments,
        /// Pipeline whose last run is meant, where the state folder holds several.
        #[arg(long, env = "DOCKET_PIPELINE")]
        pipeline: Option<String>,
        /// How it is printed.
        #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
        format: Format,
    },
}

/// `docket model`.
#[derive(Subcommand, Debug, Clone)]
pub enum ModelCommand {
    /// Lists the catalogue and what of it is on this machine.
    List {
        #[command(flatten)]
        models: ModelArguments,
        /// How it is printed.
        #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
        format: Format,
    },
    /// Fetches models from the first source that answers and checks their digests.
    Pull {
        /// Names of the catalogue.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        models: ModelArguments,
    },
}

/// `docket bench`.
#[derive(Args, Debug, Clone)]
pub struct BenchArguments {
    /// What to measure; all where none is named.
    #[arg(value_enum)]
    pub suite: Option<Suite>,
    /// How it is printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    /// Redis server whose answers are measured too, by the suite cache: redis://[user:password@]host[:port][/database].
    #[arg(id = "bench_redis", long = "redis", env = "DOCKET_REDIS", hide_env_values = true, value_name = "URL")]
    pub redis: Option<String>,
    /// Measured rounds, after one round of warm-up.
    #[arg(long, env = "DOCKET_ROUNDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    #[command(flatten)]
    pub models: ModelArguments,
}

/// A benchmark suite.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Embedding and generation.
    Engine,
    /// Documents through a pipeline: parallel against one at a time, cached against cold.
    Pipeline,
    /// Ingestion and search.
    Retrieval,
    /// Answers of each level of the cache.
    Cache,
}

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
    #[arg(long)]
    pub list: bool,
    /// Rejects instead of approving.
    #[arg(long)]
    pub reject: bool,
    /// The stage that is answered, where several of a document ask.
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// What is said beside it; later stages and the log have it.
    #[arg(long, value_name = "TEXT")]
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
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub document: Option<String>,
    /// The head that learns from it.
    #[arg(long, required_unless_present = "list", conflicts_with = "list", value_name = "NAME")]
    pub head: Option<String>,
    /// Its label, for a classifier; `usual` for an anomaly head.
    #[arg(long, required_unless_present_any = ["score", "list"], conflicts_with_all = ["score", "list"], value_name = "LABEL")]
    pub label: Option<String>,
    /// Its score from 0 to 1, for a quality head.
    #[arg(long, conflicts_with = "list", value_name = "NUMBER")]
    pub score: Option<f64>,
    /// Lists what was said of documents.
    #[arg(long)]
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

/// `docket stats`.
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
    /// table: for people; json: everything, each worker's own words included.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// A Redis server that several processes share, as a level of the cache.
#[derive(Args, Debug, Clone)]
pub struct RedisArguments {
    /// Server that keeps stage results of pipelines whose cache.levels name Redis:
    /// redis://[user:password@]host[:port][/database].
    #[arg(id = "redis_url", long = "redis", env = "DOCKET_REDIS", hide_env_values = true, value_name = "URL")]
    pub url: Option<String>,
    /// Longest wait of a stage for Redis; after it the stage is worked.
    #[arg(long = "redis-timeout", env = "DOCKET_REDIS_TIMEOUT", default_value = "2ms", value_name = "DURATION")]
    pub timeout: Span,
}

/// `docket cache`.
#[derive(Subcommand, Debug, Clone)]
pub enum CacheCommand {
    /// Says how many results each level keeps, how large they are, and how often answers to nearly equal prompts were wrong.
    /// Those in memory live as long as their process.
    Stats(CacheArguments),
    /// Removes kept results, for all pipelines; they are made again when they are wanted.
    Clear {
        #[command(flatten)]
        selection: SelectionArguments,
        #[command(flatten)]
        arguments: CacheArguments,
    },
    /// Works documents so that their results are kept, and leaves nothing else: no run, no records, no results.
    Warm(WarmArguments),
}

/// Which results are removed; all where nothing is said.
#[derive(Args, Debug, Clone)]
pub struct SelectionArguments {
    /// Only results that were made so long ago or longer.
    #[arg(long, env = "DOCKET_OLDER_THAN", value_name = "DURATION")]
    pub older_than: Option<Span>,
    /// Only results of documents of this tenant.
    #[arg(long, env = "DOCKET_TENANT", value_name = "NAME")]
    pub tenant: Option<String>,
    /// Only results that were made from the document whose bytes have this BLAKE3 digest.
    #[arg(long, env = "DOCKET_PAYLOAD", value_name = "DIGEST")]
    pub payload: Option<String>,
}

/// `docket cache warm`.
#[derive(Args, Debug, Clone)]
pub struct WarmArguments {
    #[command(flatten)]
    pub file: FileArguments,
    /// Documents: files, folders or .jsonl files.
    #[arg(long, required = true, env = "DOCKET_INPUT", num_args = 1.., value_name = "PATH")]
    pub input: Vec<PathBuf>,
    /// Takes only the first so many documents.
    #[arg(long, env = "DOCKET_LIMIT", value_name = "N")]
    pub limit: Option<usize>,
    /// How the summary is printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub state: StateArguments,
    #[command(flatten)]
    pub models: ModelArguments,
    #[command(flatten)]
    pub redis: RedisArguments,
}

/// Which levels are meant.
#[derive(Args, Debug, Clone)]
pub struct CacheArguments {
    #[command(flatten)]
    pub state: StateArguments,
    /// Redis server whose results are meant too: redis://[user:password@]host[:port][/database].
    #[arg(id = "redis_url", long = "redis", env = "DOCKET_REDIS", hide_env_values = true, value_name = "URL")]
    pub redis: Option<String>,
    /// How the numbers are printed.
    #[arg(long, env = "DOCKET_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub remote: RemoteArguments,
}

/// The value of a variable that a resource names, such as `apiKeyEnv`; `None` where it is not set or no text.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
