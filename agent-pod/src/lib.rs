//! The data plane: runs pipelines on a laptop; the only crate that names concrete queues, models and tables.
//!
//! `commands` is what a person calls, `runtime` carries documents (driver, workers, timers), `stages` does the work of
//! each stage kind, `results` takes them to where they are kept, `serve` holds the processes of a cluster, `secrets` reads those that
//! resources name. This crate must not hold a Kubernetes client.

mod args;
pub mod commands;
pub mod error;
pub mod results;
pub mod runtime;
pub mod secrets;
pub mod serve;
pub mod stages;

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, process::ExitCode};

use clap::Parser as _;

use crate::args::{Arguments, Command};
pub use crate::error::{Error, Result};

/// Marks a process whose thread counts are set already.
const THREADS_SET: &str = "DOCKET_THREADS_SET";

/// Parses the command line, runs the command and turns what came of it into an exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::ParseChild) {
        return knowledge::parse::child_main();
    }
    if let Err(error) = with_thread_environment(arguments.threads.map(usize::from)) {
        return report(&Error::system("set thread counts")(error));
    }
    // Whoever installs one twice is wrong; here it is the process's first act with TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::new(&arguments.log);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A line that cannot be written is lost: saying so would go the same way, and panic in whatever logged.
    log.log_internal_errors(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(commands::execute(arguments));
            // Threads that still compute for a request that nobody waits for must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Error::system("start the runtime")(error)),
    };
    // Whatever a command came to, its results are not where they were wanted.
    let outcome = outcome.and_then(|code| match commands::unprinted() {
        None => Ok(code),
        Some(error) => Err(Error::system("write to standard output")(error)),
    });
    outcome.unwrap_or_else(|error| report(&error))
}

/// Libraries read their thread counts from the environment, once, and count the host's cores instead of the cgroup's.
/// Setting a variable in a running process is not safe, so the process starts itself again with them set.
fn with_thread_environment(threads: Option<usize>) -> io::Result<()> {
    if std::env::var_os(THREADS_SET).is_some() {
        return Ok(());
    }
    let threads = threads.unwrap_or_else(engine::threads::available_threads);
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(THREADS_SET, OsString::from(threads.to_string()));
    // What a person has set stays.
    again.envs(engine::threads::environment(threads).into_iter().filter(|(name, _)| std::env::var_os(name).is_none()));
    Err(again.exec())
}

fn report(error: &Error) -> ExitCode {
    error::print(error);
    ExitCode::from(error.exit_code())
}
