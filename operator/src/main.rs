//! The `docket-operator` command.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use operator::{
    args::{Arguments, Command, RunArguments},
    chain,
    check::ready,
    config::Config,
    log,
    run::{controllers, run},
};

/// What was typed cannot be used, and whoever typed it can fix it.
const USAGE: u8 = 2;
/// The system failed.
const SYSTEM: u8 = 3;

// Two workers at least, whatever the machine has: the election must go on while a controller computes.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => work(&arguments).await,
        Command::Check(arguments) => match ready(&arguments.url, Duration::from_secs(arguments.timeout)).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(why_not) => {
                eprintln!("{why_not}");
                ExitCode::from(SYSTEM)
            }
        },
    }
}

async fn work(arguments: &RunArguments) -> ExitCode {
    let resolved = Config::resolve(arguments).map_err(|problems| problems.to_string());
    let config = match resolved.and_then(|config| log::begin(arguments.log_format, &arguments.log).map(|()| config)) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(USAGE);
        }
    };
    match run(config, controllers()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "the operator has ended");
            ExitCode::from(SYSTEM)
        }
    }
}
