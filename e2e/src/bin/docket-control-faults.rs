//! `docket-control-faults`: breaks the operator's world by plan; the report as JSON on standard output. Runs inside the network
//! of a cluster with fake nodes (`e2e/cluster/up.sh --kwok 4`). Exit code 0: everything was as it must be, 1: not.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use e2e::faults::{
    Lab,
    cases::{self, World},
    programs,
    report::Report,
};

/// Differential fault tests of the operator's controllers.
#[derive(Parser)]
#[command(name = "docket-control-faults", version)]
struct Arguments {
    /// Ids of the catalogue, such as CP-01; all where none is named.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Lists the cases.
    #[arg(long)]
    list: bool,
    /// The part of each case that fits into the tests of every change.
    #[arg(long)]
    short: bool,
    /// Trials at once.
    #[arg(long, default_value_t = 6, value_name = "N")]
    at_once: usize,
    /// The operator; the one beside this program where none is named.
    #[arg(long, env = "DOCKET_OPERATOR", value_name = "FILE")]
    operator: Option<PathBuf>,
    /// Folder for logs and files.
    #[arg(long, default_value = ".reports/control-faults", value_name = "DIR")]
    folder: PathBuf,
    /// Writes the report as Markdown too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for case in cases::ALL {
            say(&format!("{:<6} {}", case.id, case.fault));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = arguments.ids.iter().find(|id| !cases::ALL.iter().any(|case| case.id == **id)) {
        bail!("there is no case \"{unknown}\"; --list names them");
    }
    let operator = arguments.operator.clone().map_or_else(programs::operator, Ok)?;
    let nats = programs::nats()?;
    let lab = Lab::open(operator.clone(), &nats, arguments.folder.clone()).await?;
    let world = World { lab: &lab, short: arguments.short, at_once: arguments.at_once.max(1) };
    let cases = tokio::select! {
        cases = cases::run(&world, |case| arguments.ids.is_empty() || arguments.ids.iter().any(|id| id == case.id)) => cases,
        // What is dropped half-way ends its processes.
        _ = tokio::signal::ctrl_c() => bail!("stopped half-way"),
    };
    let report = Report::of(&operator, &nats, cases);
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, report.markdown()).with_context(|| format!("write {}", path.display()))?;
    }
    say(&serde_json::to_string_pretty(&report)?);
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn say(text: &str) {
    // A reader that has gone away ends the output.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
