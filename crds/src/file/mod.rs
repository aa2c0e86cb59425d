//! Reads files of resources: what `docket run`, `validate`, `ingest` and `query` get by `-f`.
//!
//! A file is YAML (or JSON) with any number of documents. Each is checked as an API server checks it, against the
//! definition's schema and its CEL rules, but stricter: an unknown field is an error, since on a laptop there is no newer
//! version that might have written it. All errors are found at once, each with its line and field. This module must not
//! know what a pipeline means: its graph is checked by whoever compiles it, who gets lines from [`Located::position`].

mod check;
mod error;
mod located;
mod nearest;
mod place;
mod resource;
mod scalar;
mod schemas;
mod settings;
mod tree;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use error::FileError;
pub use located::Located;
pub use nearest::nearest;
pub use settings::{parse_settings, settings};

use crate::{AgentPool, Pipeline};
use resource::Resource;
use schemas::Schemas;

/// Largest file that is read: far above any pipeline that a person writes, small enough to check in a moment.
pub const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Most errors that are reported of one file; a person mends the first few and tries again.
const MAX_ERRORS: usize = 100;

/// What files of resources hold, in the order in which it is written.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// The pools.
    pub pools: Vec<Located<AgentPool>>,
    /// The pipelines.
    pub pipelines: Vec<Located<Pipeline>>,
}

/// Reads files, and of folders the files that end in `.yaml`, `.yml` or `.json`, in order of their names.
///
/// # Errors
/// Everything that is wrong in any of them, in the order of the files and their lines. No name may occur twice in a kind.
pub fn read(paths: &[PathBuf]) -> Result<Resources, Vec<FileError>> {
    let mut resources = Resources::default();
    let mut errors = Vec::new();
    for path in paths {
        let files = files_of(path).unwrap_or_else(|error| {
            errors.push(unreadable(path, &error));
            Vec::new()
        });
        for file in files {
            match text_of(&file).and_then(|text| parse_unchecked(&file.display().to_string(), &text)) {
                Ok(found) => resources.append(found),
                Err(found) => errors.extend(found),
            }
        }
    }
    errors.extend(resources.repeated_names());
    if errors.is_empty() { Ok(resources) } else { Err(errors) }
}

/// Reads the documents of one text; `name` stands for the file in messages.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse(name: &str, text: &str) -> Result<Resources, Vec<FileError>> {
    let resources = parse_unchecked(name, text)?;
    let repeated = resources.repeated_names();
    if repeated.is_empty() { Ok(resources) } else { Err(repeated) }
}

/// As [`parse`], but a name may occur twice.
fn parse_unchecked(name: &str, text: &str) -> Result<Resources, Vec<FileError>> {
    if text.len() > MAX_FILE_BYTES {
        return Err(vec![too_large(name)]);
    }
    let tree = tree::parse(text);
    let schemas = Schemas::get();
    let mut resources = Resources::default();
    let mut findings = tree.findings;
    let none = tree.documents.is_empty() && findings.is_empty();
    for (index, document) in tree.documents.into_iter().enumerate() {
        match resource::read(document, schemas, &mut findings) {
            Some((Resource::AgentPool(pool), tree)) => resources.pools.push(Located::new(*pool, name, index, tree)),
            Some((Resource::Pipeline(pipeline), tree)) => {
                resources.pipelines.push(Located::new(*pipeline, name, index, tree));
            }
            None => {}
        }
    }
    if none {
        return Err(vec![FileError::of_file(name, "holds no resources")]);
    }
    if findings.is_empty() {
        return Ok(resources);
    }
    findings.sort_by_key(|finding| finding.place);
    let more = findings.len().saturating_sub(MAX_ERRORS);
    findings.truncate(MAX_ERRORS);
    let mut errors: Vec<_> = findings.into_iter().map(|finding| finding.in_file(name)).collect();
    if more > 0 {
        errors.push(FileError::of_file(name, format!("and {more} more errors")));
    }
    Err(errors)
}

impl Resources {
    fn append(&mut self, mut other: Self) {
        self.pools.append(&mut other.pools);
        self.pipelines.append(&mut other.pipelines);
    }

    fn repeated_names(&self) -> Vec<FileError> {
        let mut errors = repeated("AgentPool", &self.pools);
        errors.extend(repeated("Pipeline", &self.pipelines));
        errors
    }
}

fn repeated<T: kube::Resource>(kind: &str, resources: &[Located<T>]) -> Vec<FileError> {
    const FIELD: &str = "metadata.name";
    let mut first: HashMap<&str, &Located<T>> = HashMap::new();
    let mut errors = Vec::new();
    for resource in resources {
        let name = resource.name();
        if let Some(earlier) = first.get(name) {
            let (line, _) = earlier.position(FIELD);
            let message = format!("the {kind} \"{name}\" is already in {}:{line}", earlier.file);
            errors.push(resource.error(FIELD, message));
        } else {
            first.insert(name, resource);
        }
    }
    errors
}

/// The file itself, or the resource files of a folder.
fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir()? {
        let file = entry?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(io::Error::other("the folder holds no .yaml, .yml or .json file"));
    }
    Ok(files)
}

fn text_of(file: &Path) -> Result<String, Vec<FileError>> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| vec![unreadable(file, &error)])?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(vec![too_large(&file.display().to_string())]);
    }
    String::from_utf8(bytes).map_err(|error| vec![FileError::not_utf8(&file.display().to_string(), &error)])
}

fn unreadable(path: &Path, error: &io::Error) -> FileError {
    FileError::of_file(&path.display().to_string(), format!("failed to read it: {error}"))
}

fn too_large(name: &str) -> FileError {
    FileError::of_file(name, format!("is larger than {} MiB", MAX_FILE_BYTES / 1024 / 1024))
}
