//! The programs under test: named by the caller, or found where the build and the scripts put them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// The operator that was built with this program, or `DOCKET_OPERATOR`.
pub fn operator() -> Result<PathBuf> {
    if let Some(named) = named("DOCKET_OPERATOR") {
        return Ok(named);
    }
    let own = env::current_exe().context("find this program")?;
    // Tests lie one folder below.
    let found =
        own.ancestors().skip(1).take(2).map(|folder| folder.join("docket-operator")).find(|file| file.is_file());
    found.context("there is no docket-operator beside this program: build the whole workspace")
}

/// What `scripts/nats-server.sh` fetched, or `DOCKET_NATS_SERVER`.
pub fn nats() -> Result<PathBuf> {
    if let Some(named) = named("DOCKET_NATS_SERVER") {
        return Ok(named);
    }
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")));
    let servers = cache.context("find the cache folder: HOME is not set")?.join("docket/servers");
    let mut found: Vec<PathBuf> =
        fs::read_dir(servers).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    let is_nats =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nats-server-"));
    found.into_iter().rfind(is_nats).context("there is no nats-server: run scripts/nats-server.sh")
}

/// What a program says of its version.
pub fn version(program: &Path, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output();
    let text = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The processor and how many of it.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names: Vec<&str> =
        info.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).collect();
    format!("{} x {}", names.len(), names.first().copied().unwrap_or(env::consts::ARCH))
}

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}
