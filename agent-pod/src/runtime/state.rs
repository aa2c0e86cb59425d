//! The state folder of one process: the embedded ports, which runs there were, and the folders for what is derived.
//!
//! ```text
//! DIR/state.redb, DIR/payloads/     records, queue, timers, payloads (the ports)
//! DIR/knowledge/NAME/               LanceDB tables
//! DIR/heads/                        trained heads
//! DIR/cache/, DIR/vectors-*.bin     results and vectors that can be made again
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use queue::{Ports, embedded::Embedded};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An open state folder.
pub struct State {
    /// The folder.
    pub folder: PathBuf,
    /// The ports in it.
    pub ports: Ports,
    _store: Embedded,
}

/// One run of one pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Unique, later ones sort later.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// When it was begun, milliseconds since the epoch.
    pub started_at: u64,
}

impl Run {
    /// A run that nothing knows of yet.
    pub fn new(pipeline: &str, now: u64) -> Self {
        Self { id: uuid::Uuid::now_v7().simple().to_string(), pipeline: pipeline.to_owned(), started_at: now }
    }
}

const RUNS: &str = "runs/";

impl State {
    /// Opens the folder, making it where there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let action = || format!("open the state folder {}", folder.display());
        if folder.exists() && !folder.is_dir() {
            return Err(Error::usage(format!("--state {}: not a folder", folder.display())));
        }
        std::fs::create_dir_all(folder).map_err(Error::system(action()))?;
        let store = queue::embedded::open(folder).map_err(Error::system(action()))?;
        Ok(Self { folder: folder.to_path_buf(), ports: store.ports.clone(), _store: store })
    }

    /// The same folder with records, tasks and timers that end with the process: what is done then leaves payloads and what
    /// is derived, and no run.
    pub fn forgetting(mut self) -> Self {
        self.ports = Ports { payloads: Arc::clone(&self.ports.payloads), ..queue::memory::open() };
        self
    }

    /// Opens a folder that must be there already.
    pub fn open_existing(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::usage(format!(
                "there is no state folder {}: run a pipeline first, or name the folder with --state",
                folder.display()
            )));
        }
        Self::open(folder)
    }

    /// Writes a run down: from now on it is the pipeline's last one. An existing run stays as it is.
    pub async fn begin_run(ports: &Ports, run: &Run) -> Result<()> {
        let bytes = serde_json::to_vec(run).map_err(Error::system("write the run"))?;
        let key = format!("{RUNS}{}/{}", run.pipeline, run.id);
        match ports.records.create(&key, Bytes::from(bytes)).await {
            Ok(_) | Err(queue::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(Error::system("write the run")(error)),
        }
    }

    /// All runs of a pipeline, the earliest first.
    pub async fn runs(ports: &Ports, pipeline: &str) -> Result<Vec<Run>> {
        let prefix = format!("{RUNS}{pipeline}/");
        let mut runs = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = ports.records.scan(&prefix, after.as_deref(), 1_000).await;
            let page = page.map_err(Error::system("read the runs"))?;
            let Some((key, _)) = page.last() else { return Ok(runs) };
            after = Some(key.clone());
            for (_, record) in &page {
                runs.push(serde_json::from_slice(&record.bytes).map_err(Error::system("read the runs"))?);
            }
        }
    }

    /// Forgets a run that has no documents any more.
    pub async fn forget_run(ports: &Ports, run: &Run) -> Result<()> {
        let key = format!("{RUNS}{}/{}", run.pipeline, run.id);
        ports.records.delete(&key).await.map_err(Error::system("forget a run"))
    }

    /// The last run of a pipeline, or of the only pipeline where none is named.
    pub async fn last_run(&self, pipeline: Option<&str>) -> Result<Option<Run>> {
        let prefix = pipeline.map_or_else(|| RUNS.to_owned(), |name| format!("{RUNS}{name}/"));
        let mut last: Option<Run> = None;
        let mut after = None;
        loop {
            let page = self.ports.records.scan(&prefix, after.as_deref(), 1_000).await;
            let page = page.map_err(Error::system("read the runs"))?;
            let Some((key, _)) = page.last() else { return Ok(last) };
            after = Some(key.clone());
            for (_, record) in &page {
                let run: Run = serde_json::from_slice(&record.bytes).map_err(Error::system("read the runs"))?;
                if let Some(other) = last.as_ref().filter(|other| other.pipeline != run.pipeline) {
                    return Err(Error::usage(format!(
                        "the state folder holds runs of {} and {}: name one with --pipeline",
                        other.pipeline, run.pipeline
                    )));
                }
                last = last.filter(|other| other.id > run.id).or(Some(run));
            }
        }
    }

    /// The last run, or a message that says how to get one.
    pub async fn require_last_run(&self, pipeline: Option<&str>) -> Result<Run> {
        self.last_run(pipeline).await?.ok_or_else(|| {
            Error::usage(format!("nothing has run in {} yet: docket run -f FILE --input PATH", self.folder.display()))
        })
    }
}
