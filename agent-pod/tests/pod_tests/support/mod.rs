//! Runs the `docket` that was just built on files that the test writes.

pub(crate) mod authority;
pub(crate) mod door;
pub(crate) mod postgres_server;
pub(crate) mod processes;
pub(crate) mod provider_server;
pub(crate) mod redis_server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder of its own for a test, with the state in it.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a command came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    /// `docket` with this test's state folder as working folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docket"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    pub(crate) fn docket(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("docket starts").into()
    }

    /// What became of the one document in `input`, whether it was given up or not.
    #[track_caller]
    pub(crate) fn result(&self, input: &str) -> Value {
        let ran = self.docket(&["run", "-f", "pipeline.yaml", "--input", input, "--format", "jsonl"]);
        let [line] = <[Value; 1]>::try_from(ran.lines()).unwrap_or_else(|_| panic!("not one result:\n{}", ran.stderr));
        ran.code(i32::from(line["outcome"] == "dead-lettered"));
        line
    }

    /// The lines of a results file.
    pub(crate) fn results(&self, name: &str) -> Vec<Value> {
        json_lines(&fs::read_to_string(self.path(name)).expect("results"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "\"{words}\" is not in stderr:\n{}\nstdout:\n{}",
            self.stderr,
            self.stdout
        );
        self
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A pipeline without models: parse, then a value from the text.
pub(crate) const PLAIN: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {concurrency: 4}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: plain}
spec:
  stages:
  - {name: parse, pool: readers, parse: {}}
  - {name: head, pool: readers, after: [parse], transform: {template: "{{ document.text | head(20) }}"}}
  - {name: size, pool: readers, after: [parse], transform: {format: Json, template: '{"bytes": {{ stages.parse.textBytes }}}'}}
  - {name: both, pool: readers, after: [head, size], join: {mode: All}, transform: {format: Json, template: '{"head": {{ stages.head.text | tojson }}, "bytes": {{ stages.size.bytes }}}'}}
"#;

/// The folder of pulled models, or a note that the test skips.
pub(crate) fn models(names: &[&str]) -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKET_MODELS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
        cache.map(|cache| cache.join("docket/models"))
    })?;
    let missing: Vec<&&str> = names.iter().filter(|name| !folder.join(name).is_dir()).collect();
    if missing.is_empty() {
        return Some(folder);
    }
    eprintln!("skipped: {missing:?} are not in {}; get them with docket model pull", folder.display());
    None
}

/// A file with parts of it replaced; a part that is not there is a mistake of the test.
#[track_caller]
pub(crate) fn changed(file: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(file.to_owned(), |file, (old, new)| {
        assert!(file.contains(old), "\"{old}\" is not in:\n{file}");
        file.replace(old, new)
    })
}
