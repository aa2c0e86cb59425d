//! Documents on their way into a system, and what became of them in the end.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream};
use tokio::task::JoinHandle;

use crate::{
    checker::{History, Seen, Submitted, Verdict, judge},
    client::Client,
    cluster::Cluster,
    documents::{Document, Expected},
};

/// Documents that are asked for at once.
const ASKED_AT_ONCE: usize = 16;
/// Wait before a refused document is submitted again.
const AGAIN: Duration = Duration::from_millis(100);
/// Tries of a question that the gateway could not answer.
const TRIES: usize = 5;

/// Documents that are being submitted.
pub struct Load {
    shared: Arc<Shared>,
    work: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    documents: Documents,
    accepted_at: Vec<Instant>,
}

impl Load {
    /// Submits the documents, so many at once, each until it is accepted or its fate is unclear.
    pub fn start(
        client: Client,
        documents: impl Iterator<Item = Document> + Send + 'static,
        at_once: usize,
        pace: Duration,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let submitting = Arc::clone(&shared);
        let work = tokio::spawn(async move {
            let stopped = Arc::clone(&submitting);
            let open = documents.take_while(|_| !stopped.stopped.load(Ordering::Relaxed));
            stream::iter(open)
                .for_each_concurrent(at_once, |document| {
                    let (client, shared) = (client.clone(), Arc::clone(&submitting));
                    async move {
                        let submitted = shared.submit(&client, &document).await;
                        shared.note(document, submitted);
                        // Where nothing works, the next document is not thrown after this one at once.
                        let more = if submitted == Submitted::Unknown { AGAIN } else { Duration::ZERO };
                        tokio::time::sleep(pace + more).await;
                    }
                })
                .await;
        });
        Self { shared, work }
    }

    /// Documents that were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.lock().accepted_at.len()
    }

    /// Accepted documents whose end was not seen.
    pub fn open(&self, cluster: &Cluster) -> Vec<String> {
        let effects = cluster.ledger().effects();
        let known = self.shared.lock();
        let accepted = known.documents.iter().filter(|(_, (submitted, _))| *submitted == Submitted::Accepted);
        accepted.map(|(id, _)| id).filter(|id| !effects.has_ended(id)).cloned().collect()
    }

    /// Waits until one more document is accepted; how long that took.
    pub async fn next_accepted(&self, limit: Duration) -> Duration {
        let (begun, before) = (Instant::now(), self.accepted());
        while self.accepted() <= before && begun.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    /// Whether all documents are in.
    pub fn is_done(&self) -> bool {
        self.work.is_finished()
    }

    /// Longest time in which no document was accepted, from `since` on to now.
    pub fn longest_stall(&self, since: Instant) -> Duration {
        let known = self.shared.lock();
        let mut times: Vec<Instant> = known.accepted_at.iter().copied().filter(|at| *at >= since).collect();
        drop(known);
        times.sort_unstable();
        times.insert(0, since);
        times.push(Instant::now());
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Begins no further document, waits for those on their way and for the ends of all, at most so long; the verdict.
    pub async fn verdict(self, cluster: &Cluster, limit: Duration) -> Result<Verdict> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.settle(cluster, limit).await
    }

    /// After all documents are in: waits for their ends while workers die and are started again with `faults`; the verdict,
    /// and how many died.
    pub async fn settle_among_deaths(
        self,
        cluster: &mut Cluster,
        faults: &str,
        limit: Duration,
    ) -> Result<(Verdict, usize)> {
        let deadline = Instant::now() + limit;
        let mut deaths = 0;
        while Instant::now() < deadline && !(self.is_done() && self.open(cluster).is_empty()) {
            deaths += cluster.revive(|| faults.to_owned())?.len();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let verdict = self.settle(cluster, deadline.saturating_duration_since(Instant::now())).await?;
        Ok((verdict, deaths))
    }

    /// After all documents are in: waits for their ends; the verdict.
    pub async fn settle(self, cluster: &Cluster, limit: Duration) -> Result<Verdict> {
        self.work.await.context("submit the documents")?;
        let documents = std::mem::take(&mut self.shared.lock().documents);
        verdict_on(cluster, documents, limit).await
    }
}

/// What the client knows of documents, by their ids.
pub type Documents = BTreeMap<String, (Submitted, Expected)>;

/// Waits for the ends of documents, at most so long; the verdict on them.
pub async fn verdict_on(cluster: &Cluster, documents: Documents, limit: Duration) -> Result<Verdict> {
    await_ends(cluster, &documents, limit).await;
    verdict(cluster, documents).await
}

impl Shared {
    async fn submit(&self, client: &Client, document: &Document) -> Submitted {
        loop {
            match client.submit(&document.id, &document.text).await {
                Submitted::Refused if !self.stopped.load(Ordering::Relaxed) => tokio::time::sleep(AGAIN).await,
                known => return known,
            }
        }
    }

    fn note(&self, document: Document, submitted: Submitted) {
        let mut known = self.lock();
        if submitted == Submitted::Accepted {
            known.accepted_at.push(Instant::now());
        }
        known.documents.insert(document.id, (submitted, document.expected));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the ends of all accepted documents were seen, and asks for those that are missing at the end.
async fn await_ends(cluster: &Cluster, documents: &Documents, limit: Duration) {
    let deadline = Instant::now() + limit;
    let accepted = documents.iter().filter(|(_, (submitted, _))| *submitted == Submitted::Accepted);
    let mut open: Vec<&String> = accepted.map(|(id, _)| id).collect();
    while !open.is_empty() && Instant::now() < deadline {
        {
            let effects = cluster.ledger().effects();
            open.retain(|id| !effects.has_ended(id));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // An unclear submission may come to something yet.
    let unclear: Vec<&String> =
        documents.iter().filter(|(_, (submitted, _))| *submitted == Submitted::Unknown).map(|(id, _)| id).collect();
    let client = cluster.client();
    for id in unclear {
        while Instant::now() < deadline {
            match client.get(id).await {
                Ok(Some(seen)) if seen.outcome.is_none() => tokio::time::sleep(Duration::from_millis(100)).await,
                _ => break,
            }
        }
    }
}

async fn verdict(cluster: &Cluster, documents: Documents) -> Result<Verdict> {
    let client = cluster.client();
    let asked: Vec<Result<(String, Option<Seen>)>> = stream::iter(documents.keys().cloned().collect::<Vec<_>>())
        .map(|id| {
            let client = client.clone();
            async move { Ok((id.clone(), ask(&client, &id).await?)) }
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .collect()
        .await;
    let mut seen: HashMap<String, Option<Seen>> = HashMap::new();
    for answer in asked {
        let (id, last) = answer.context("ask what became of the documents")?;
        seen.insert(id, last);
    }
    let histories = documents.into_iter().map(|(id, (submitted, expected))| {
        let last = seen.remove(&id).flatten();
        (id, History { submitted, expected, last })
    });
    let histories = histories.collect();
    let listed = client.list().await.context("list the documents")?;
    Ok(judge(&histories, &listed, &cluster.ledger().effects()))
}

async fn ask(client: &Client, id: &str) -> Result<Option<Seen>> {
    let mut tries = 0;
    loop {
        match client.get(id).await {
            Err(_) if tries < TRIES => tries += 1,
            answer => return answer,
        }
        tokio::time::sleep(AGAIN).await;
    }
}
