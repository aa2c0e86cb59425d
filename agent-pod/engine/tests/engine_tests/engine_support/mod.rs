//! What tests run on: a tiny encoder, and the real models where they are installed.

mod tiny;

use std::path::PathBuf;

pub use tiny::*;

/// The folder of an installed catalogue model. Where it is missing the test that asks says so and has nothing to do.
pub fn installed(name: &str) -> Option<PathBuf> {
    let folder = engine::catalogue::models_folder().join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    #[allow(clippy::print_stderr, reason = "a skipped test must not look like one that ran")]
    {
        eprintln!("SKIPPED: model {name} is not installed in {}; run `docket model pull {name}`", folder.display());
    }
    None
}
