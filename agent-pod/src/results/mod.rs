//! Takes the results of documents to where they are kept: the implicit last stage of a pipeline.
//!
//! A sink writes many rows at once; a row that is there already, from a delivery before, is not written twice. A sink that
//! is away makes its documents wait, others go on; a row that a sink refuses is its document's failure alone.

pub mod batcher;
mod erasing;
pub mod postgres;
pub mod row;
mod table;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use bytes::Bytes;
use engine::reach::Reach;
use flow::{Completion, DocumentRecord, Plan, RESULTS_POOL};
use queue::Payloads;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::{batcher::Batcher, postgres::Postgres, table::Table};
pub(crate) use self::{
    erasing::Rows,
    postgres::{Happened, check as check_postgres},
    row::{answer_key, key},
};
use crate::{
    runtime::{
        drivers::Drivers,
        metrics::Metrics,
        rest::Rest,
        templates::Templates,
        worker::{OnFailure, Work, Worker},
    },
    stages::Failure,
};

/// Documents whose results are written at once: what comes meanwhile makes the next batch.
const AT_ONCE: usize = 64;

/// Where rows are kept.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// For metrics.
    const NAME: &'static str;

    /// Writes rows; what became of each, in their order. Only when it returns `Ok` is anything durable.
    async fn write(&self, rows: &[Arc<row::Row>]) -> Result<Vec<Result<(), String>>, Unavailable>;
}

/// A sink cannot be written to now, through no fault of a row.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// All sinks that pipelines of this process name, opened when they are first needed.
pub struct Sinks {
    payloads: Arc<dyn Payloads>,
    folder: PathBuf,
    templates: Templates,
    metrics: Arc<Metrics>,
    reach: Reach,
    postgres: Mutex<HashMap<String, Opened<Postgres>>>,
    tables: Mutex<HashMap<PathBuf, Opened<Table>>>,
}

/// A sink and the task in front of it that makes batches.
struct Opened<S> {
    sink: Arc<S>,
    batcher: Batcher,
}

impl<S> Opened<S> {
    /// Whether rows can be handed in; otherwise it is opened anew.
    fn works(&self) -> bool {
        !self.batcher.has_ended()
    }
}

impl<S> Clone for Opened<S> {
    fn clone(&self) -> Self {
        Self { sink: Arc::clone(&self.sink), batcher: self.batcher.clone() }
    }
}

/// Whose results are meant.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// One document of a tenant.
    Document { pipeline: &'a str, tenant: &'a str, document: &'a str },
    /// All of a tenant.
    Tenant(&'a str),
}

/// The worker of the implicit last stage.
pub(crate) fn worker(name: String, drivers: Drivers, sinks: Arc<Sinks>, on_failure: OnFailure) -> Worker {
    Worker {
        name,
        pool: RESULTS_POOL.to_owned(),
        concurrency: AT_ONCE,
        drivers,
        work: Work::Results(sinks),
        // Of its own: results that wait for their database must not stop the engine's work.
        alone: Arc::default(),
        on_failure,
        standing: Arc::default(),
        rest: Rest::default(),
    }
}

impl Sinks {
    /// Sinks of a process; tables at `default` lie in `folder`.
    pub fn new(payloads: Arc<dyn Payloads>, folder: &Path, metrics: Arc<Metrics>) -> Self {
        // Both kinds, whatever the plans of today name: documents keep the plan that they began with.
        for sink in [Postgres::NAME, Table::NAME] {
            metrics.has_sink(sink);
        }
        Self {
            payloads,
            folder: folder.to_path_buf(),
            templates: Templates::default(),
            metrics,
            reach: Reach::anybody(),
            postgres: Mutex::default(),
            tables: Mutex::default(),
        }
    }

    /// Has only those databases called that `reach` allows.
    #[must_use]
    pub fn reaching(self, reach: &Reach) -> Self {
        Self { reach: reach.clone(), ..self }
    }

    /// Writes a document's result into all sinks of its plan; it is durable when this returns.
    pub(crate) async fn write(&self, plan: &Plan, record: &DocumentRecord) -> Result<Completion, Failure> {
        let begun = Instant::now();
        let Some(spec) = &plan.spec.results else {
            return Err(Failure::permanent("ResultRefused", "the document's plan names nowhere for results"));
        };
        let row = row::of(self.payloads.as_ref(), &self.templates, plan, record).await?;
        let row = Arc::new(row);
        let mut written = Vec::new();
        if let Some(postgres) = self.postgres_of(plan).await? {
            postgres.batcher.write(Arc::clone(&row)).await?;
            written.push("postgres");
        }
        if spec.table.is_some() {
            self.table_of(plan).await.batcher.write(row).await?;
            written.push("table");
        }
        let output = Bytes::from(json!({"written": written}).to_string());
        Ok(Completion {
            output: self.payloads.put(output).await?,
            seconds: begun.elapsed().as_secs_f64(),
            ..Completion::default()
        })
    }

    /// Notes what people did in the log of the plan's database, if it has one. Noting it again changes nothing.
    pub(crate) async fn note(&self, plan: &Plan, happened: &Happened) -> Result<(), Unavailable> {
        match self.postgres_of(plan).await.map_err(|failure| Unavailable(message(failure)))? {
            Some(postgres) => postgres.sink.note(happened).await,
            None => Ok(()),
        }
    }

    /// Audits of a pipeline that nobody has settled, oldest first; `None` where its plan has no database.
    pub(crate) async fn pending_audits(
        &self,
        plan: &Plan,
        tenant: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Value>>, Unavailable> {
        match self.postgres_of(plan).await.map_err(|failure| Unavailable(message(failure)))? {
            Some(postgres) => postgres.sink.pending_audits(&plan.name, tenant, limit).await.map(Some),
            None => Ok(None),
        }
    }

    /// Settles the pending audit of a document; whether there was one.
    pub(crate) async fn settle_audit(&self, plan: &Plan, happened: &Happened) -> Result<bool, Unavailable> {
        match self.postgres_of(plan).await.map_err(|failure| Unavailable(message(failure)))? {
            Some(postgres) => postgres.sink.settle_audit(happened).await,
            None => Ok(false),
        }
    }

    /// Removes what the sinks of a plan keep of a document or tenant; how many rows that were.
    pub(crate) async fn erase(&self, plan: &Plan, whose: Whose<'_>) -> Result<u64, Unavailable> {
        let mut rows = 0;
        if let Some(postgres) = self.postgres_of(plan).await.map_err(|failure| Unavailable(message(failure)))? {
            rows += postgres.sink.erase(whose).await?;
        }
        if plan.spec.results.as_ref().is_some_and(|results| results.table.is_some()) {
            rows += self.table_of(plan).await.sink.erase(whose).await?;
        }
        Ok(rows)
    }

    async fn postgres_of(&self, plan: &Plan) -> Result<Option<Opened<Postgres>>, Failure> {
        let Some(spec) = plan.spec.results.as_ref().and_then(|results| results.postgres.as_ref()) else {
            return Ok(None);
        };
        let identity = format!("{}\n{:?}\n{:?}\n{:?}", spec.url, spec.password_env, spec.password_file, spec.ca_file);
        let mut open = self.postgres.lock().await;
        if let Some(opened) = open.get(&identity).filter(|opened| opened.works()) {
            return Ok(Some(opened.clone()));
        }
        let sink = Postgres::new(spec).map(|sink| sink.reaching(&self.reach)).map_err(|problem| {
            Failure::permanent("ResultRefused", format!("results.postgres: {problem}; the pipeline must be mended"))
        })?;
        let opened = self.opened(sink);
        open.insert(identity, opened.clone());
        Ok(Some(opened))
    }

    async fn table_of(&self, plan: &Plan) -> Opened<Table> {
        let uri = plan.spec.results.as_ref().and_then(|results| results.table.as_ref()).map(|table| table.uri.as_str());
        let folder = match uri {
            None | Some("default") => self.folder.join("results"),
            Some(folder) => PathBuf::from(folder),
        };
        let mut open = self.tables.lock().await;
        if let Some(opened) = open.get(&folder).filter(|opened| opened.works()) {
            return opened.clone();
        }
        let opened = self.opened(Table::new(folder.clone()));
        open.insert(folder, opened.clone());
        opened
    }

    fn opened<S: Sink>(&self, sink: S) -> Opened<S> {
        let sink = Arc::new(sink);
        Opened { batcher: Batcher::start(Arc::clone(&sink), Arc::clone(&self.metrics)), sink }
    }
}

/// What a failure says.
fn message(failure: Failure) -> String {
    match failure {
        Failure::Document { message, .. } | Failure::System(message) => message,
    }
}
