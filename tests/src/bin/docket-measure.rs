//! `docket-measure`: what the queue costs on this machine; the figures as JSON on standard output.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use docket_faults::{
    measure::{self, Settings},
    tools::{self, Tools},
};

/// Measures hops, documents a second, workers at one stream, envelopes and tokens through a real broker, gateway and workers.
#[derive(Parser)]
#[command(name = "docket-measure", version, args_override_self = true)]
struct Arguments {
    /// The built `docket`; the one beside this program where none is named.
    #[arg(long, env = "DOCKET", value_name = "FILE")]
    docket: Option<PathBuf>,
    /// Folder of models; the tokens are left out without it.
    #[arg(long, env = "DOCKET_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Measured rounds, after one of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Writes the table as Markdown too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("docket")).filter(|path| path.is_file());
    let settings = Settings {
        tools: Tools {
            docket: arguments.docket.or_else(beside).context("there is no docket: name it with --docket")?,
            nats: tools::nats_server().context("there is no nats-server: run scripts/nats-server.sh")?,
            s3: None,
        },
        rounds: usize::from(arguments.rounds),
        models: arguments.models,
    };
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let report = runtime.block_on(measure::run(&settings))?;
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, report.markdown()).with_context(|| format!("write {}", path.display()))?;
    }
    // A reader that has gone away ends the output.
    let _ = writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&report)?);
    Ok(ExitCode::SUCCESS)
}
