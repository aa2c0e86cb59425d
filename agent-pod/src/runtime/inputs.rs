//! The documents that a command line names: files, folders, and .jsonl files with a document a line.
//!
//! What cannot be read becomes an [`Input`] with a refusal, so that it ends as a dead letter and the others go on.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use crds::Priority;
use knowledge::jsonl::{self, JsonDocument};
use serde_json::{Map, Value};

use crate::{Error, Result, error::chain};

/// A document to be submitted.
#[derive(Debug)]
pub struct Input {
    /// Unique: the path below the folder that was named, or the line's `id`.
    pub id: String,
    /// Where it comes from, for people and citations.
    pub source: String,
    /// What a person said about it.
    pub metadata: Map<String, Value>,
    /// Its own priority.
    pub priority: Option<Priority>,
    /// Its bytes, not read yet.
    pub content: Content,
}

/// Where the bytes are.
#[derive(Debug)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Text(String),
    /// Nowhere: the line or file cannot be used.
    Refused(Refusal),
}

/// Why a document cannot be taken.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// CamelCase word from a closed set.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Input {
    /// Reads the bytes, at most `limit` of them.
    pub fn read(&self, limit: u64) -> std::result::Result<Bytes, Refusal> {
        match &self.content {
            Content::Text(text) => Ok(Bytes::from(text.clone())),
            Content::Refused(refusal) => Err(refusal.clone()),
            Content::File(path) => read_file(path, limit),
        }
    }
}

fn read_file(path: &Path, limit: u64) -> std::result::Result<Bytes, Refusal> {
    let unreadable = |error: std::io::Error| Refusal {
        reason: "DocumentUnreadable",
        message: format!("failed to read {}: {error}", path.display()),
    };
    // Opening a pipe would wait for its writer.
    if !path.metadata().map_err(unreadable)?.is_file() {
        let message = format!("failed to read {}: it is not a regular file", path.display());
        return Err(Refusal { reason: "DocumentUnreadable", message });
    }
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let too_large = |size: u64| Refusal {
        reason: "DocumentTooLarge",
        message: format!("{} has {size} bytes; the limit is {limit} (parse.maxBytes)", path.display()),
    };
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // The file may grow while it is read, and special files have no size.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(Bytes::from(bytes))
}

/// The documents behind `paths`, in a fixed order. Paths that do not exist are a usage error: nothing has begun yet.
pub fn inputs(paths: &[PathBuf]) -> Result<impl Iterator<Item = Input> + Send + use<>> {
    let missing: Vec<String> = paths
        .iter()
        .filter_map(|path| path.metadata().err().map(|error| format!("--input {}: {error}", path.display())))
        .collect();
    if !missing.is_empty() {
        return Err(Error::Usage(missing));
    }
    let mut sources: Vec<Box<dyn Iterator<Item = Input> + Send>> = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut files = Vec::new();
            let mut problems = Vec::new();
            walk(path, path, &mut files, &mut problems);
            sources.push(Box::new(problems.into_iter().chain(files.into_iter().map(file_input))));
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            let file =
                File::open(path).map_err(|error| Error::usage(format!("--input {}: {error}", path.display())))?;
            sources.push(Box::new(lines(path, file)));
        } else {
            let name =
                path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
            sources.push(Box::new(std::iter::once(file_input((name, path.clone())))));
        }
    }
    let mut seen = BTreeMap::new();
    Ok(sources.into_iter().flatten().map(move |input| distinct(input, &mut seen)))
}

/// A second document of the same id is refused under a name of its own: it must not replace the first, nor vanish.
fn distinct(mut input: Input, seen: &mut BTreeMap<String, u32>) -> Input {
    let count = *seen.entry(input.id.clone()).and_modify(|count| *count += 1).or_insert(1);
    if count > 1 {
        let message = format!("another document of this run has the id \"{}\"; ids must be unique", input.id);
        // The new name may be another document's own.
        let free = (count..).map(|number| format!("{}#{number}", input.id)).find(|id| !seen.contains_key(id));
        input.id = free.unwrap_or_default();
        seen.insert(input.id.clone(), 1);
        if !matches!(input.content, Content::Refused(_)) {
            input.content = Content::Refused(Refusal { reason: "DuplicateId", message });
        }
    }
    input
}

fn file_input((id, path): (String, PathBuf)) -> Input {
    let source = path.display().to_string();
    Input { id, source, metadata: Map::new(), priority: None, content: Content::File(path) }
}

/// Files below a folder by their path in it, sorted; hidden ones are left out, links to folders are not followed.
fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>, problems: &mut Vec<Input>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("failed to read the folder {}: {error}", folder.display());
            problems.push(Input {
                content: Content::Refused(Refusal { reason: "DocumentUnreadable", message }),
                ..file_input((relative(root, folder), folder.to_path_buf()))
            });
            return;
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        let is_link = path.is_symlink();
        if path.is_dir() && !is_link {
            walk(root, &path, files, problems);
        } else if !path.is_dir() {
            files.push((relative(root, &path), path));
        }
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// The documents of a .jsonl file; a line that is none is refused under the file's name and its number.
fn lines(path: &Path, file: File) -> impl Iterator<Item = Input> + Send + use<> {
    let path = path.to_path_buf();
    jsonl::documents(BufReader::new(file)).map(move |(number, document)| {
        let place = format!("{}:{number}", path.display());
        let taken = document.map_err(|error| chain(&error)).and_then(|document| line_input(&path, &place, document));
        taken.unwrap_or_else(|message| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Input {
                id: format!("{name}:{number}"),
                content: Content::Refused(Refusal { reason: "InvalidLine", message: format!("{place}: {message}") }),
                source: place,
                metadata: Map::new(),
                priority: None,
            }
        })
    })
}

fn line_input(file: &Path, place: &str, document: JsonDocument) -> std::result::Result<Input, String> {
    let priority = document.priority.map(|word| {
        serde_json::from_value(Value::String(word.clone()))
            .map_err(|_| format!("\"{word}\" is not a priority; write Critical, High, Normal or Low"))
    });
    let (content, source) = match document.content {
        jsonl::Content::Text(text) => (Content::Text(text), place.to_owned()),
        jsonl::Content::Path(path) => {
            let path = file.parent().map_or_else(|| path.clone(), |folder| folder.join(&path));
            let source = path.display().to_string();
            (Content::File(path), source)
        }
    };
    Ok(Input { id: document.id, source, metadata: document.metadata, priority: priority.transpose()?, content })
}
