//! Commands against a gateway: the same documents, the same formats as `docket run`, elsewhere.

mod cache;
mod connection;
mod dead_letters;
mod erasing;
mod feedback;
pub mod following;
mod people;
mod reading;
pub mod scaling;
pub mod stats;
mod submit;

use serde_json::Value;

pub(super) use self::{
    cache::{clear as cache_clear, stats as cache_stats},
    dead_letters::{list as dead_letters, replay, show as dead_letter},
    erasing::erase,
    feedback::feedback,
    following::watch,
    people::{answer, pending},
    reading::{cancel, get, list, print_results, print_values},
    scaling::explain_pool,
    stats::stats,
    submit::submit,
};

/// The exit code that results ask for: 1 where a document was given up.
fn exit_code<'a>(results: impl IntoIterator<Item = &'a Value>) -> std::process::ExitCode {
    let given_up = results.into_iter().any(|result| result["outcome"] == "dead-lettered");
    if given_up { std::process::ExitCode::from(1) } else { std::process::ExitCode::SUCCESS }
}
