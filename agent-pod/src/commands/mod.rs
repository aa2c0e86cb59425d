//! What a person calls: each command in a file of its own, from arguments to exit code.

mod approve;
mod bench;
pub(crate) mod cache;
pub mod client;
pub(crate) mod dlq;
mod erase;
pub(crate) mod explain;
mod ingest;
mod labels;
mod model;
mod query;
pub(crate) mod run;
pub(crate) mod validate;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::OnceLock,
};

use crate::{
    Result,
    args::{Arguments, Command},
    serve,
};

/// Runs the command that was asked for.
pub async fn execute(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::Validate(arguments) => validate::validate(&arguments),
        Command::Ingest(arguments) => ingest::ingest(arguments).await,
        Command::Query(arguments) => query::query(arguments).await,
        Command::Dlq(command) => dlq::dlq(command).await,
        Command::Explain(command) => explain::explain(command).await,
        Command::Cache(command) => cache::cache(command).await,
        Command::Model(command) => model::model(command).await,
        Command::Bench(arguments) => bench::bench(arguments).await,
        Command::Worker(arguments) => serve::worker(arguments).await,
        Command::Gateway(arguments) => serve::gateway(arguments).await,
        Command::Submit(arguments) => client::submit(arguments).await,
        Command::Watch(arguments) => client::watch(arguments).await,
        Command::Get(arguments) => client::get(arguments).await,
        Command::List(arguments) => client::list(arguments).await,
        Command::Cancel(arguments) => client::cancel(arguments).await,
        Command::Approve(arguments) => approve::approve(arguments).await,
        Command::Feedback(arguments) => client::feedback(arguments).await,
        Command::Erase(arguments) => erase::erase(arguments).await,
        Command::Stats(arguments) => client::stats(arguments).await,
        Command::ParseChild => Ok(ExitCode::SUCCESS),
    }
}

/// Why something could not be printed, the first time.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output; a reader that has gone away ends the output, not the program with a panic. Any other failure
/// is the program's own in the end, see [`unprinted`].
pub(crate) fn print(text: &str) {
    print_part(&format!("{text}\n"));
}

/// The same, without an end of line.
pub(crate) fn print_part(text: &str) {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // The first failure is the one that is told.
        let _ = UNPRINTED.set(error);
    }
}

/// Why something that was to be printed is lost, as on a full disk.
pub(crate) fn unprinted() -> Option<&'static io::Error> {
    UNPRINTED.get()
}

/// Prints a note for a person on standard error. Nobody may be there to read it any more: that stops nothing.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table of left-aligned columns.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}
