//! Commands on kept results, and the server that shares them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use crds::Span;

use super::{FileArguments, Format, ModelArguments, RemoteArguments, StateArguments};

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
