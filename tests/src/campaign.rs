//! One campaign: documents in, faults meanwhile, everything started again, then the question what became of each document.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::{
    checker::{History, Seen, Submitted, Verdict, judge},
    client::Client,
    cluster::{Cluster, Layout},
    documents,
    schedule::{Fault, Schedule},
};

/// Documents that are submitted at once.
const AT_ONCE: usize = 16;
/// Documents that are asked for at once.
const ASKED_AT_ONCE: usize = 16;
/// Wait before a refused document is submitted again.
const AGAIN: Duration = Duration::from_millis(100);

/// What a campaign is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The built `docket`.
    pub docket: PathBuf,
    /// The `nats-server`.
    pub nats: PathBuf,
    /// How many documents.
    pub documents: usize,
    /// How many faults, at least; they go on while documents are submitted.
    pub faults: usize,
    /// Workers of each of the two pools.
    pub workers: usize,
    /// Mean wait between two faults.
    pub pause: Duration,
    /// Begins the row of faults.
    pub seed: u64,
    /// Longest wait for the last documents after the last fault.
    pub drain: Duration,
    /// The control: see [`Layout::acknowledge_first`].
    pub acknowledge_first: bool,
    /// Keeps the folder of the system under test, for a look at its logs.
    pub keep: Option<PathBuf>,
}

/// What came of a campaign.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Begins the row of faults.
    pub seed: u64,
    /// Documents that were submitted.
    pub documents: usize,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, usize>,
    /// Workers that did not drain within their grace period and five seconds.
    pub overdue_drains: usize,
    /// Seconds from the first document to the last end, or to the end of the wait.
    pub seconds: f64,
    /// What became of the documents.
    pub verdict: Verdict,
}

/// Runs a campaign in a folder of its own.
pub async fn run(settings: &Settings) -> Result<Report> {
    let temporary = tempfile::tempdir().context("make a folder")?;
    let folder = settings.keep.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    std::fs::create_dir_all(&folder).context("make the folder")?;
    let layout = Layout {
        docket: &settings.docket,
        nats: &settings.nats,
        workers: settings.workers,
        acknowledge_first: settings.acknowledge_first,
        folder: &folder,
    };
    let mut cluster = Cluster::start(&layout).await.context("start the system")?;
    let begun = Instant::now();
    let submitting = tokio::spawn(submit_all(cluster.client(), settings.documents));
    let all_in = Arc::new(AtomicBool::new(false));
    let submitted = {
        let all_in = Arc::clone(&all_in);
        tokio::spawn(async move {
            let outcome = submitting.await;
            all_in.store(true, Ordering::Relaxed);
            outcome
        })
    };
    let observed = Arc::new(Mutex::new(HashMap::new()));
    let observer = tokio::spawn(observe(cluster.client(), settings.documents, Arc::clone(&observed)));
    let mut faults: BTreeMap<Fault, usize> = BTreeMap::new();
    let mut overdue_drains = 0;
    for (number, moment) in Schedule::new(settings.seed, settings.pause).enumerate() {
        if number >= settings.faults && all_in.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(moment.after).await;
        overdue_drains += usize::from(cluster.strike(moment).await?);
        *faults.entry(moment.fault).or_default() += 1;
        cluster.assert_running()?;
    }
    let submitted = submitted.await??;
    await_ends(&cluster.client(), &submitted, settings.drain).await;
    observer.abort();
    let seconds = begun.elapsed().as_secs_f64();
    let first = std::mem::take(&mut *observed.lock().await);
    let verdict = verdict(&cluster.client(), submitted, first).await?;
    cluster.assert_running()?;
    Ok(Report { seed: settings.seed, documents: settings.documents, faults, overdue_drains, seconds, verdict })
}

/// Submits every document until it is accepted or its fate is unclear.
async fn submit_all(client: Client, count: usize) -> BTreeMap<usize, Submitted> {
    stream::iter(0..count)
        .map(|number| {
            let client = client.clone();
            async move {
                loop {
                    match client.submit(&documents::id(number), &documents::text(number)).await {
                        Submitted::Refused => tokio::time::sleep(AGAIN).await,
                        known => return (number, known),
                    }
                }
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Notes what is said of each document when it is first seen ended, in turn and again and again.
async fn observe(client: Client, count: usize, observed: Arc<Mutex<HashMap<usize, Seen>>>) {
    let next = AtomicUsize::new(0);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed) % count.max(1);
        if !observed.lock().await.contains_key(&number)
            && let Ok(Some(seen)) = client.get(&documents::id(number)).await
            && seen.outcome.is_some()
        {
            observed.lock().await.insert(number, seen);
        } else {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn await_ends(client: &Client, submitted: &BTreeMap<usize, Submitted>, limit: Duration) {
    let deadline = Instant::now() + limit;
    let mut open: Vec<usize> = submitted.keys().copied().collect();
    while !open.is_empty() && Instant::now() < deadline {
        let asked: Vec<Option<usize>> = stream::iter(open)
            .map(|number| async move {
                let ended = match client.get(&documents::id(number)).await {
                    Ok(Some(seen)) => seen.outcome.is_some(),
                    // An unclear submission may have come to nothing.
                    Ok(None) => submitted.get(&number) == Some(&Submitted::Unknown),
                    Err(_) => false,
                };
                (!ended).then_some(number)
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await;
        open = asked.into_iter().flatten().collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn verdict(
    client: &Client,
    submitted: BTreeMap<usize, Submitted>,
    mut first: HashMap<usize, Seen>,
) -> Result<Verdict> {
    let asked: Vec<Result<(usize, Submitted, Option<Seen>)>> = stream::iter(submitted)
        .map(|(number, submitted)| async move { Ok((number, submitted, client.get(&documents::id(number)).await?)) })
        .buffer_unordered(ASKED_AT_ONCE)
        .collect()
        .await;
    let mut histories = BTreeMap::new();
    for answer in asked {
        let (number, submitted, last) = answer.context("ask what became of the documents")?;
        let history = History { submitted, expected: documents::expected(number), first: first.remove(&number), last };
        histories.insert(documents::id(number), history);
    }
    let listed = client.list().await.context("list the documents")?;
    Ok(judge(&histories, &listed))
}
