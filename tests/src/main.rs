//! `docket-faults`: one fault campaign; its report on standard output. Exit code 0: every promise was kept (with --control:
//! the checker found the broken ones), 1: not.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use docket_faults::campaign::{self, Settings};

/// Breaks a broker, a gateway and workers on purpose while documents pass, and checks that each accepted document ends once
/// and right.
#[derive(Parser)]
#[command(name = "docket-faults", version)]
struct Arguments {
    /// The built `docket`.
    #[arg(long, env = "DOCKET", value_name = "FILE")]
    docket: PathBuf,
    /// The `nats-server`.
    #[arg(long, env = "DOCKET_NATS_SERVER", value_name = "FILE")]
    nats: PathBuf,
    /// How many documents.
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    documents: usize,
    /// How many faults, at least; they go on while documents are submitted.
    #[arg(long, default_value_t = 20, value_name = "N")]
    faults: usize,
    /// Workers of each of the two pools.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Mean wait between two faults, in milliseconds.
    #[arg(long, default_value_t = 1_500, value_name = "MS")]
    pause: u64,
    /// Begins the row of faults.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Longest wait for the last documents, in seconds.
    #[arg(long, default_value_t = 180, value_name = "S")]
    drain: u64,
    /// The control that must lose documents: tasks are acknowledged before their results are durable.
    #[arg(long)]
    control: bool,
    /// Folder for the files and logs of the system under test; it is kept.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let settings = Settings {
        docket: arguments.docket,
        nats: arguments.nats,
        documents: arguments.documents,
        faults: arguments.faults,
        workers: usize::from(arguments.workers),
        pause: Duration::from_millis(arguments.pause),
        seed: arguments.seed,
        drain: Duration::from_secs(arguments.drain),
        acknowledge_first: arguments.control,
        keep: arguments.keep,
    };
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let report = runtime.block_on(campaign::run(&settings))?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(if report.verdict.holds() == arguments.control { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
