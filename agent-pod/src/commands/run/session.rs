//! One process that works the documents of a run: workers for each pool, timers, credits, and the documents that end.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use engine::reach::Reach;
use flow::{DocumentRecord, Event, Plan};
use tokio::{
    sync::{Mutex, RwLock, Semaphore, mpsc},
    task::JoinSet,
};

use super::{report::Reporter, submit};
use crate::{
    Error, Result,
    results::{self, Sinks},
    runtime::{
        cache::RedisSettings,
        driver::{Driver, News},
        drivers::Drivers,
        inputs::Input,
        models, now,
        rest::Rest,
        services::Services,
        state::{Run, State},
        stop::{Signals, Stop},
        sweeper, timers,
        worker::{OnFailure, Work, Worker},
    },
};

/// Documents that are in flight for each one that can be in work: enough that no pool waits for the submitter.
const CREDITS_PER_SLOT: usize = 4;
/// How long workers may take to acknowledge what they have in hand after the last document has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A run waits for timers that ring so soon, in milliseconds, rather than for a person to start it again.
const SOON: u64 = 60_000;
/// Records that are read at once.
const PAGE: usize = 500;

/// What a session is made of.
pub(crate) struct Settings {
    pub(crate) state: State,
    pub(crate) run: Run,
    pub(crate) plan: Plan,
    /// Plans of documents that are about to be replayed.
    pub(crate) replayed: Vec<Arc<Plan>>,
    pub(crate) models: Option<PathBuf>,
    /// Whether documents are only accepted.
    pub(crate) suspended: bool,
    /// Documents in flight at once; as many as keep all pools busy where it is not given.
    pub(crate) in_flight: Option<usize>,
    /// Server that keeps results of stages, where there is one.
    pub(crate) redis: Option<RedisSettings>,
}

/// A run that is being worked.
pub(crate) struct Session {
    pub(crate) plan: Arc<Plan>,
    pub(crate) driver: Arc<Driver>,
    pub(crate) services: Arc<Services>,
    suspended: bool,
    in_flight: usize,
    news: Mutex<mpsc::UnboundedReceiver<News>>,
    pools: BTreeMap<String, usize>,
    /// Where results go, if any plan says so.
    sinks: Option<Arc<Sinks>>,
    _state: State,
}

impl Session {
    /// Loads the models and opens everything; nothing is worked yet.
    pub(crate) async fn start(settings: Settings) -> Result<Self> {
        let Settings { state, run, plan, replayed, models, suspended, in_flight, redis } = settings;
        let (driver, news) = Driver::new(run, state.ports.clone());
        let plan = driver.plans.put(plan).await?;
        let mut plans = vec![Arc::clone(&plan)];
        plans.extend(replayed.into_iter().filter(|replayed| replayed.digest != plan.digest));
        for record in unfinished(&driver).await? {
            let kept = driver.plan(&record).await.map_err(Error::system("read the plans of unfinished documents"))?;
            if !plans.iter().any(|known| known.digest == kept.digest) {
                plans.push(kept);
            }
        }
        let mut pools = BTreeMap::new();
        for (name, pool) in plans.iter().flat_map(|plan| &plan.pools) {
            pools.entry(name.clone()).or_insert(pool.effective().concurrency as usize);
        }
        let (engine, names) = models::start(&plans, models.as_deref(), &Reach::anybody()).await?;
        let mut services = Services::open(&state, engine, names)?;
        if let Some(settings) = redis {
            services.cache.use_redis(settings).await;
        }
        let services = Arc::new(services);
        let writes = plans.iter().any(|plan| plan.spec.results.is_some());
        let sinks = writes.then(|| {
            let payloads = Arc::clone(&state.ports.payloads);
            Arc::new(Sinks::new(payloads, &state.folder, Arc::clone(&driver.metrics)))
        });
        let in_flight = in_flight.unwrap_or(pools.values().sum::<usize>().max(1) * CREDITS_PER_SLOT);
        let news = Mutex::new(news);
        Ok(Self { plan, driver, services, suspended, in_flight, news, pools, sinks, _state: state })
    }

    /// Works `documents` and whatever the run has left unfinished, until all have ended. Documents that had ended before
    /// are reported too where `report_ended` says so, so that a resumed run gives a whole result. `go_on` tells a person what
    /// to do after an interruption.
    pub(crate) async fn work(
        self: &Arc<Self>,
        documents: impl Iterator<Item = Input> + Send + 'static,
        report_ended: bool,
        reporter: &mut Reporter,
        go_on: &str,
    ) -> Result<()> {
        let mut signals = Signals::listen().map_err(Error::system("listen for signals"))?;
        let mut progress = Progress::default();
        for record in all(&self.driver).await? {
            if record.end.is_none() {
                self.driver.publish_outstanding(&record).await.map_err(Error::system("continue the run"))?;
                if record.suspended && !self.suspended {
                    let resumed = self.driver.apply(&record.submission.document, Event::Resume).await;
                    resumed.map_err(Error::system("continue the run"))?;
                }
                if self.rests(&record).await? {
                    progress.resting.insert(record.submission.document.clone());
                }
                progress.open.insert(record.submission.document);
            } else {
                if report_ended {
                    reporter.document(self, &record).await?;
                }
                progress.ended.insert(record.submission.document);
            }
        }
        reporter.begin(progress.open.len());
        let stop = Stop::default();
        let mut parts = self.spawn(&stop);
        let followed = tokio::select! {
            followed = self.follow(documents, reporter, &mut progress, &mut parts) => Some(followed),
            () = signals.next() => None,
        };
        if matches!(followed, Some(Err(_))) {
            parts.abort_all();
        }
        match &followed {
            // What is still in work (a branch that lost, a stage past its document's deadline) can change nothing any more.
            Some(_) => stop.cordon(),
            // Handed back, the tasks wait for who goes on and count as never started.
            None => stop.hand_back(),
        }
        let ending = async {
            while let Some(part) = parts.join_next().await {
                part.map_err(Error::system("stop a part of the process"))??;
            }
            Ok(())
        };
        let interrupted = || Err(Error::system("finish")(format!("it was interrupted; {go_on}")));
        match followed {
            Some(Err(error)) => Err(error),
            Some(Ok(())) => {
                reporter.awaiting(progress.resting.len());
                tokio::time::timeout(LAST_WORDS, ending).await.unwrap_or(Ok(()))
            }
            None => {
                // A second signal does not wait.
                tokio::select! {
                    _ = tokio::time::timeout(LAST_WORDS, ending) => {}
                    () = signals.next() => {}
                }
                interrupted()
            }
        }
    }

    async fn follow(
        self: &Arc<Self>,
        documents: impl Iterator<Item = Input> + Send + 'static,
        reporter: &mut Reporter,
        progress: &mut Progress,
        parts: &mut JoinSet<Result<()>>,
    ) -> Result<()> {
        let credits = Arc::new(Semaphore::new(self.in_flight));
        let (submitted, mut accepted) = mpsc::unbounded_channel();
        let mut submitter = JoinSet::new();
        submitter.spawn(submit_all(Arc::clone(self), documents, Arc::clone(&credits), submitted));
        let mut news = self.news.lock().await;
        let mut all_submitted = false;
        loop {
            if all_submitted && (self.suspended || self.is_done(progress).await?) {
                return Ok(());
            }
            tokio::select! {
                document = accepted.recv(), if !all_submitted => match document {
                    Some(document) => {
                        reporter.accepted();
                        // One that waits for people since an earlier process will not say so again.
                        if progress.resting.contains(&document) {
                            credits.add_permits(usize::from(progress.gives_credit(&document)));
                        }
                        progress.accepted(document);
                    }
                    None => {
                        all_submitted = true;
                        while let Some(outcome) = submitter.join_next().await {
                            outcome.map_err(Error::system("submit the documents"))??;
                        }
                    }
                },
                Some(told) = news.recv() => match told {
                    News::Ended(record) => {
                        if progress.ended(&record.submission.document) {
                            credits.add_permits(usize::from(progress.gives_credit(&record.submission.document)));
                            reporter.document(self, &record).await?;
                        }
                    }
                    News::Asks(record) => {
                        if self.rests(&record).await? {
                            // Documents that wait for people must not keep others out.
                            credits.add_permits(usize::from(progress.gives_credit(&record.submission.document)));
                            progress.resting.insert(record.submission.document);
                        }
                    }
                },
                Some(part) = parts.join_next() => part.map_err(Error::system("run a part of the process"))??,
            }
        }
    }

    /// Whether nothing moves a document for a while but a person's answer.
    async fn rests(&self, record: &DocumentRecord) -> Result<bool> {
        let plan = self.driver.plan(record).await.map_err(Error::system("read a document's plan"))?;
        Ok(record.waits_for_people(&plan, now().saturating_add(SOON)))
    }

    /// Whether nothing is left to do here: what has not ended waits for people. Timers may have moved what rested before.
    async fn is_done(&self, progress: &mut Progress) -> Result<bool> {
        if !progress.open.is_subset(&progress.resting) {
            return Ok(false);
        }
        for document in progress.open.clone() {
            let record = self.driver.get(&document).await.map_err(Error::system("read a document that waits"))?;
            if !self.rests(&record).await? {
                progress.resting.remove(&document);
            }
        }
        Ok(progress.open.is_subset(&progress.resting))
    }

    fn spawn(&self, stop: &Stop) -> JoinSet<Result<()>> {
        let mut parts = JoinSet::new();
        let alone = Arc::new(RwLock::new(()));
        let drivers = Drivers::of_run(&self.driver);
        if let Some(sinks) = &self.sinks {
            let name = format!("local-{}", std::process::id());
            let worker = results::worker(name, drivers.clone(), Arc::clone(sinks), OnFailure::Stop);
            let stop = stop.clone();
            parts.spawn(async move { worker.run(stop).await.map_err(Error::system("write results")) });
        }
        if !self.suspended {
            for (pool, concurrency) in &self.pools {
                let worker = Worker {
                    name: format!("local-{}", std::process::id()),
                    pool: pool.clone(),
                    concurrency: *concurrency,
                    drivers: drivers.clone(),
                    work: Work::Stages(Arc::clone(&self.services)),
                    alone: Arc::clone(&alone),
                    on_failure: OnFailure::Stop,
                    standing: Arc::default(),
                    rest: Rest::default(),
                };
                let (pool, stop) = (pool.clone(), stop.clone());
                parts.spawn(async move {
                    worker.run(stop).await.map_err(Error::system(format!("work the tasks of pool \"{pool}\"")))
                });
            }
        }
        let port = Arc::clone(&self.services.ports.timers);
        let (sweeping, until) = (Arc::clone(&self.driver), stop.clone());
        parts.spawn(async move { sweeper::run(sweeping, until).await.map_err(Error::system("sweep the records")) });
        let stop = stop.clone();
        parts.spawn(async move { timers::run(&drivers, &port, &stop).await.map_err(Error::system("deliver timers")) });
        parts
    }
}

/// Which documents are under way and which have ended. An end can be told more than once, and before the submitter tells
/// that the document was accepted.
#[derive(Default)]
struct Progress {
    open: HashSet<String>,
    ended: HashSet<String>,
    /// Of the open ones those that wait for people.
    resting: HashSet<String>,
    /// Those that have given their credit back before their end.
    credited: HashSet<String>,
}

impl Progress {
    fn accepted(&mut self, document: String) {
        if !self.ended.contains(&document) {
            self.open.insert(document);
        }
    }

    /// Whether this is news.
    fn ended(&mut self, document: &str) -> bool {
        self.open.remove(document);
        self.resting.remove(document);
        self.ended.insert(document.to_owned())
    }

    /// Whether a document gives its credit back now: once, when it first waits for people or ends.
    fn gives_credit(&mut self, document: &str) -> bool {
        self.credited.insert(document.to_owned())
    }
}

async fn submit_all(
    session: Arc<Session>,
    documents: impl Iterator<Item = Input> + Send,
    credits: Arc<Semaphore>,
    submitted: mpsc::UnboundedSender<String>,
) -> Result<()> {
    for input in documents {
        // Documents of a suspended pipeline do not end, so they give no credit back.
        if !session.suspended {
            credits.acquire().await.map_err(Error::system("wait for room"))?.forget();
        }
        let document = input.id.clone();
        if submit::submit(&session, input).await? {
            if submitted.send(document).is_err() {
                return Ok(());
            }
        } else {
            credits.add_permits(1);
        }
    }
    Ok(())
}

async fn all(driver: &Driver) -> Result<Vec<DocumentRecord>> {
    let mut records: Vec<DocumentRecord> = Vec::new();
    loop {
        let after = records.last().map(|record| record.submission.document.clone());
        let page = driver.scan(after.as_deref(), PAGE).await.map_err(Error::system("read the run's documents"))?;
        if page.is_empty() {
            return Ok(records);
        }
        records.extend(page);
    }
}

async fn unfinished(driver: &Driver) -> Result<Vec<DocumentRecord>> {
    Ok(all(driver).await?.into_iter().filter(|record| record.end.is_none()).collect())
}
