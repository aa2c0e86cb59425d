//! The models that Docket knows by name, where their files come from, and how they get onto this machine: the first
//! source that answers wins, and no file is kept whose SHA-256 is not the stated one.
//! Knows nothing of how models are run.

mod entry;
mod locate;
mod origin;
mod package;
mod pull;
mod verified;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use entry::{Entry, EntryError, FileRole, FileSpec, HttpSource, HubSource, PackagePart, Source};
pub use locate::{LocateError, files_at, models_folder};
pub use origin::FetchError;
pub use pull::{Progress, PullError, PullSettings, installed, pull, pull_url};

/// The entries that come with the program.
const BUILT_IN: [&str; 3] = [
    include_str!("../../../config/models/minilm.yaml"),
    include_str!("../../../config/models/smollm2-135m-instruct.yaml"),
    include_str!("../../../config/models/gemma3-270m.yaml"),
];

/// All known entries by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
}

/// Why the catalogue could not be read: for whoever wrote the folder.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("failed to read {path:?}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the catalogue entry {path:?} is not valid")]
    Check { path: PathBuf, source: EntryError },
}

impl Catalogue {
    /// The built-in entries, and those of `folder`, which add to them and replace those of the same name.
    pub fn load(folder: Option<&Path>) -> Result<Self, CatalogueError> {
        let mut entries = BTreeMap::new();
        for text in BUILT_IN {
            let entry = Entry::parse(text)
                .map_err(|source| CatalogueError::Check { path: PathBuf::from("(built in)"), source })?;
            entries.insert(entry.name.clone(), entry);
        }
        for path in folder.map(yaml_files).transpose()?.unwrap_or_default() {
            let text =
                std::fs::read_to_string(&path).map_err(|source| CatalogueError::Read { path: path.clone(), source })?;
            let entry = Entry::parse(&text).map_err(|source| CatalogueError::Check { path, source })?;
            entries.insert(entry.name.clone(), entry);
        }
        Ok(Self { entries })
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All entries, by name.
    pub fn list(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    let failed = |source| CatalogueError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for file in std::fs::read_dir(folder).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
