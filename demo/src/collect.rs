//! Asks cargo which crates the workspace depends on and finds their licence files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Largest file that is taken.
const LARGEST: u64 = 1024 * 1024;

/// A crate that the workspace depends on, on whatever platform.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The manifest's `license` field.
    pub license: Option<String>,
    /// Where its manifest lies; the licence files lie beside it.
    manifest_path: PathBuf,
    /// Where cargo got it; `None` for the workspace's own crates.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// One licence file.
#[derive(Clone, Debug)]
pub struct LicenceFile {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What is in it; bytes that are no UTF-8 are replaced, which only matters for comparing texts.
    pub text: String,
}

/// The crates that the workspace in `workspace` depends on, fetched where they are not on this machine yet.
pub fn dependencies(workspace: &Path) -> Result<Vec<Package>> {
    cargo(workspace, &["fetch", "--locked", "--quiet"])?;
    let described = cargo(workspace, &["metadata", "--format-version", "1", "--locked"])?;
    let metadata: Metadata =
        serde_json::from_slice(&described).context("failed to read what cargo metadata printed")?;
    let mut packages: Vec<_> = metadata.packages.into_iter().filter(|package| package.source.is_some()).collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(packages)
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let shown = format!("cargo {}", arguments.join(" "));
    let done = Command::new("cargo")
        .args(arguments)
        .current_dir(workspace)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run {shown}"))?;
    if !done.status.success() {
        bail!("{shown} ended with {}", done.status);
    }
    Ok(done.stdout)
}

impl Package {
    /// The licence files of the crate, by name.
    pub fn licence_files(&self) -> Result<Vec<LicenceFile>> {
        let folder = self.manifest_path.parent().context("a manifest lies in a folder")?;
        licence_files(folder)
    }
}

/// The licence files of a folder, by name: text up to 1 MiB, sub-folders left out.
pub fn licence_files(folder: &Path) -> Result<Vec<LicenceFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if !is_licence_name(&name) {
            continue;
        }
        let kind = fs::metadata(&path).with_context(|| format!("failed to look at {}", path.display()))?;
        if !kind.is_file() || kind.len() > LARGEST {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        if bytes.contains(&0) {
            continue;
        }
        files.push(LicenceFile { name, path, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Endings of program text: `license.rs` is code about licences, not a licence.
const CODE_ENDINGS: [&str; 5] = [".rs", ".toml", ".json", ".py", ".sh"];

fn is_licence_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    ["license", "licence", "copying", "notice", "unlicense"].iter().any(|stem| lower.starts_with(stem))
        && !CODE_ENDINGS.iter().any(|ending| lower.ends_with(ending))
}
