//! `docket bench`: measures this build on this machine. One warm-up round, then measured rounds; medians and spread.

mod cache;
mod engine;
mod measure;
mod pipeline;
mod retrieval;

use std::process::ExitCode;

use serde_json::{Value, json};

use self::measure::Measured;
use super::{print, run::summary::word, table};
use crate::{
    Result,
    args::{BenchArguments, Format, Suite},
};

/// Runs the suites that were asked for.
pub(super) async fn bench(arguments: BenchArguments) -> Result<ExitCode> {
    let all = || vec![Suite::Engine, Suite::Pipeline, Suite::Retrieval, Suite::Cache];
    let suites = arguments.suite.map_or_else(all, |suite| vec![suite]);
    let models = arguments.models.folder.as_deref();
    let rounds = arguments.rounds as usize;
    let mut results = Vec::new();
    for suite in suites {
        let measured: Vec<Measured> = match suite {
            Suite::Engine => engine::run(models, rounds).await?,
            Suite::Pipeline => pipeline::run(models, rounds).await?,
            Suite::Retrieval => retrieval::run(models, rounds).await?,
            Suite::Cache => cache::run(arguments.redis.as_deref(), rounds).await?,
        };
        results.extend(measured.iter().map(Measured::json));
    }
    let value = json!({
        "docket": env!("CARGO_PKG_VERSION"),
        "machine": measure::machine(),
        "threads": ::engine::threads::available_threads(),
        "rounds": rounds,
        "results": results,
        "peakMemoryBytes": super::run::summary::peak_memory(),
    });
    match arguments.format {
        Format::Json | Format::Jsonl => print(&value.to_string()),
        Format::Table => print(&text(&value)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(value: &Value) -> String {
    let rows: Vec<Vec<String>> = value["results"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| {
            ["suite", "name", "unit", "median", "min", "max", "p95", "p99", "cpuSeconds"]
                .iter()
                .map(|key| word(&r[*key]))
                .collect()
        })
        .collect();
    format!(
        "docket {} on {}, {} threads, {} rounds\n\n{}",
        word(&value["docket"]),
        word(&value["machine"]),
        value["threads"],
        value["rounds"],
        table(&["SUITE", "NAME", "UNIT", "MEDIAN", "MIN", "MAX", "P95", "P99", "CPU S"], &rows)
    )
}
