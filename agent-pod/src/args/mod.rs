//! What a person types. The environment is read here and nowhere else: every flag has a `DOCKET_…` variable.

mod caching;
mod clients;
mod local;
mod serving;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::{caching::*, clients::*, local::*, serving::*};

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

/// The value of a variable that a resource names, such as `apiKeyEnv`; `None` where it is not set or no text.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
