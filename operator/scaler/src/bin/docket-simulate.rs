//! `docket-simulate`: replays traces against Docket's autoscaler and others'. Reads flags and calls; knows no algorithm.

use std::process::ExitCode;

use clap::Parser;
use scaler::simulate::cli::{Flags, run};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let mut out = std::io::stdout().lock();
    match run(&flags, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("docket-simulate: {text}");
            ExitCode::from(2)
        }
    }
}
