//! `docket-faults`: fault campaigns and directed cases; the report as JSON on standard output. Exit code 0: every promise
//! was kept and every control found the broken ones, 1: not.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use docket_faults::{
    campaign::{self, Settings},
    cases,
    report::Report,
    tools::{self, Tools},
};

/// Breaks a broker, a gateway and workers on purpose while documents pass, and checks that each accepted document ends once
/// and right.
#[derive(Parser)]
#[command(name = "docket-faults", version, args_override_self = true)]
struct Arguments {
    /// The built `docket`; the one beside this program where none is named.
    #[arg(long, env = "DOCKET", value_name = "FILE", global = true)]
    docket: Option<PathBuf>,
    /// Writes the report as Markdown too.
    #[arg(long, value_name = "FILE", global = true)]
    markdown: Option<PathBuf>,
    /// Folder for the files and logs of the systems under test; it is kept.
    #[arg(long, value_name = "DIR", global = true)]
    keep: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Random faults from outside and deaths at every step, for as long as documents are submitted.
    Campaign(CampaignArguments),
    /// Directed cases, each in a small system of its own: ids of the catalogue, or all.
    Case {
        /// For example DP-06; `all` runs every one.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// How many times the small amounts of a case.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        scale: u32,
    },
    /// All cases, then the campaign.
    All {
        #[command(flatten)]
        campaign: CampaignArguments,
        /// How many times the small amounts of a case.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        scale: u32,
    },
    /// Lists the cases.
    List,
}

#[derive(Args)]
struct CampaignArguments {
    /// How many documents.
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    documents: usize,
    /// Documents that are submitted at once.
    #[arg(long, default_value_t = 32, value_name = "N")]
    at_once: usize,
    /// How many faults from outside, at least; they go on while documents are submitted.
    #[arg(long, default_value_t = 20, value_name = "N")]
    faults: usize,
    /// Workers of each of the two pools.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Mean wait between two faults from outside, in milliseconds.
    #[arg(long, default_value_t = 1_500, value_name = "MS")]
    pause: u64,
    /// Workers die by themselves after so many passes of a step at most; 0: they do not.
    #[arg(long, default_value_t = 400, value_name = "N")]
    passes: u64,
    /// Begins the row of faults.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Longest wait for the last documents, in seconds.
    #[arg(long, default_value_t = 180, value_name = "S")]
    drain: u64,
}

fn main() -> Result<ExitCode> {
    // Processes that die on purpose leave no image of their memory behind; that holds for those that they start, too.
    rlimit::setrlimit(rlimit::Resource::CORE, 0, 0).context("limit core files")?;
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::List) {
        for case in &cases::ALL {
            say(&format!("{:<12} {}", case.id, case.fault));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("docket")).filter(|path| path.is_file());
    let tools = Tools {
        docket: arguments.docket.clone().or_else(beside).context("there is no docket: name it with --docket")?,
        nats: tools::nats_server().context("there is no nats-server: run scripts/nats-server.sh")?,
        s3: tools::s3_server(),
    };
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let report = runtime.block_on(async {
        // What is dropped half-way ends its processes.
        tokio::select! {
            report = run(&tools, &arguments) => report,
            () = told_to_stop() => bail!("stopped half-way"),
        }
    })?;
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, report.markdown()).with_context(|| format!("write {}", path.display()))?;
    }
    say(&serde_json::to_string_pretty(&report)?);
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn run(tools: &Tools, arguments: &Arguments) -> Result<Report> {
    let keep = arguments.keep.as_deref();
    match &arguments.command {
        Command::Campaign(campaign) => {
            let report = campaign::run(&settings(tools, campaign, arguments.keep.clone())).await?;
            Ok(Report::of(tools, Some(report), Vec::new()))
        }
        Command::Case { ids, scale } => {
            let every = ids.iter().any(|id| id == "all");
            if let Some(unknown) = ids.iter().find(|id| *id != "all" && !cases::ALL.iter().any(|case| case.id == **id))
            {
                bail!("there is no case \"{unknown}\"; docket-faults list names them");
            }
            let wanted = cases::ALL.iter().filter(|case| every || ids.iter().any(|id| id == case.id));
            Ok(Report::of(tools, None, cases::run(wanted, tools, *scale, keep).await?))
        }
        Command::All { campaign, scale } => {
            let reports = cases::run(cases::ALL.iter(), tools, *scale, keep).await?;
            let folder = arguments.keep.as_ref().map(|folder| folder.join("campaign"));
            let campaign = campaign::run(&settings(tools, campaign, folder)).await?;
            Ok(Report::of(tools, Some(campaign), reports))
        }
        Command::List => bail!("nothing runs"),
    }
}

fn settings(tools: &Tools, arguments: &CampaignArguments, keep: Option<PathBuf>) -> Settings {
    Settings {
        tools: tools.clone(),
        documents: arguments.documents,
        at_once: arguments.at_once,
        faults: arguments.faults,
        workers: usize::from(arguments.workers),
        pause: Duration::from_millis(arguments.pause),
        passes: arguments.passes,
        seed: arguments.seed,
        drain: Duration::from_secs(arguments.drain),
        acknowledge_first: false,
        keep,
    }
}

/// Returns at Ctrl-C or SIGTERM.
async fn told_to_stop() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let Ok(mut terminate) = terminate else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn say(text: &str) {
    // A reader that has gone away ends the output.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
