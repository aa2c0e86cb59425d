//! The programs that a campaign starts: named by the caller, or found where the scripts put them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The programs under test.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The built `docket`.
    pub docket: PathBuf,
    /// The `nats-server`.
    pub nats: PathBuf,
    /// SeaweedFS, for the cases with S3; those skip without it.
    pub s3: Option<PathBuf>,
}

/// What `scripts/nats-server.sh` fetched, or `DOCKET_NATS_SERVER`.
pub fn nats_server() -> Option<PathBuf> {
    named("DOCKET_NATS_SERVER").or_else(|| fetched("nats-server-"))
}

/// What `scripts/s3-server.sh` fetched, or `DOCKET_S3_SERVER`.
pub fn s3_server() -> Option<PathBuf> {
    named("DOCKET_S3_SERVER").or_else(|| fetched("weed-"))
}

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn fetched(prefix: &str) -> Option<PathBuf> {
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")))?;
    let servers = fs::read_dir(cache.join("docket/servers")).ok()?;
    let mut found: Vec<PathBuf> = servers.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    let matches = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) && path.is_file()
    };
    found.into_iter().rfind(matches)
}

/// The first line of what a program says to these arguments; nothing where it cannot be asked.
pub fn version(program: &Path, arguments: &str) -> String {
    let said = std::process::Command::new(program).args(arguments.split(' ')).output();
    let text = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
