//! Commands that work in this process.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{FileArguments, Format, ModelArguments, RedisArguments, RemoteArguments, StateArguments, StatsArguments};

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
    /// How many agents the autoscaler wants for a pool and why: what a gateway's operator has decided of late.
    Pool {
        /// The pool.
        name: String,
        #[command(flatten)]
        gateway: StatsArguments,
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
