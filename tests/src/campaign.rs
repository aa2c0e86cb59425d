//! One campaign: documents in, faults meanwhile, everything started again, then the question what became of each document.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    checker::Verdict,
    cluster::{Cluster, FAULTS, Layout},
    documents::{CHECKERS, Document, READERS},
    load::Load,
    schedule::{Deaths, Fault, Moment, Schedule},
    tools::Tools,
};

/// What a worker may take to drain beyond its grace period: the last words to the broker, for which it takes 5 s at most, and
/// the end of a process on a busy machine.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// The control's faults: the work takes a moment, so that workers are killed while they have some in hand.
const CONTROL: &str = "acknowledge-first,slow=document:50";
/// How often workers that died by themselves are started again.
const LOOK: Duration = Duration::from_millis(20);

/// What a campaign is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The programs.
    pub tools: Tools,
    /// How many documents.
    pub documents: usize,
    /// Documents that are submitted at once.
    pub at_once: usize,
    /// How many faults from outside, at least; they go on while documents are submitted.
    pub faults: usize,
    /// Workers of each of the two pools.
    pub workers: usize,
    /// Mean wait between two faults from outside.
    pub pause: Duration,
    /// Workers die by themselves after so many passes of a point at most; 0: they do not.
    pub passes: u64,
    /// Begins the row of faults.
    pub seed: u64,
    /// Longest wait for the last documents after the last fault.
    pub drain: Duration,
    /// The control: tasks are acknowledged before their results are durable, and nobody repairs that.
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
    /// Workers of both pools together.
    pub workers: usize,
    /// Processes that were killed or died in the middle of something.
    pub kills: usize,
    /// Faults from outside by kind.
    pub faults: BTreeMap<Fault, usize>,
    /// Deaths of workers by the point at which they died.
    pub deaths: BTreeMap<String, usize>,
    /// Workers that did not drain within their grace period and twenty seconds.
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
    let control = if settings.acknowledge_first { CONTROL } else { "" };
    let mut cluster = Cluster::start(Layout {
        crews: vec![(READERS, settings.workers), (CHECKERS, settings.workers)],
        gateway_faults: control.to_owned(),
        worker_faults: control.to_owned(),
        ..Layout::new(&settings.tools, folder)
    })
    .await
    .context("start the system")?;
    let mut armed = Deaths::new(settings.seed, settings.passes);
    let mut next = || if settings.acknowledge_first { control.to_owned() } else { armed.faults() };
    let begun = Instant::now();
    let documents = (0..settings.documents).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, settings.at_once, Duration::ZERO);
    let mut faults: BTreeMap<Fault, usize> = BTreeMap::new();
    let mut deaths: BTreeMap<String, usize> = BTreeMap::new();
    let mut overdue_drains = 0;
    for (number, moment) in Schedule::new(settings.seed, settings.pause).enumerate() {
        if number >= settings.faults && load.is_done() {
            break;
        }
        let at = Instant::now() + moment.after;
        while Instant::now() < at {
            for death in cluster.revive(&mut next)? {
                *deaths.entry(death).or_default() += 1;
            }
            tokio::time::sleep(LOOK).await;
        }
        overdue_drains += usize::from(strike(&mut cluster, moment, &mut next).await?);
        *faults.entry(moment.fault).or_default() += 1;
        cluster.gateway.assert_running()?;
    }
    for death in cluster.revive(&mut next)? {
        *deaths.entry(death).or_default() += 1;
    }
    // None dies of what it was armed with while the rest is waited for.
    cluster.restart_workers(control)?;
    *faults.entry(Fault::KillWorker).or_default() += cluster.workers.len();
    let verdict = load.settle(&cluster, settings.drain).await?;
    cluster.assert_running()?;
    let kills = faults.iter().filter(|(fault, _)| fault.is_kill()).map(|(_, count)| count).sum::<usize>();
    Ok(Report {
        seed: settings.seed,
        documents: settings.documents,
        workers: cluster.workers.len(),
        kills: kills + deaths.values().sum::<usize>(),
        faults,
        deaths,
        overdue_drains,
        seconds: begun.elapsed().as_secs_f64(),
        verdict,
    })
}

/// Does what the schedule says and brings everything back. Whether a worker had to be killed because it did not drain in
/// time.
async fn strike(cluster: &mut Cluster, moment: Moment, mut next: impl FnMut() -> String) -> Result<bool> {
    let (lease, grace) = (cluster.layout.lease, cluster.layout.grace);
    let count = cluster.workers.len();
    let victim = &mut cluster.workers[moment.victim % count];
    let mut overdue = false;
    match moment.fault {
        Fault::KillWorker => {
            victim.kill()?;
            victim.set(FAULTS, next());
            victim.restart()?;
        }
        // One that has just died by itself can be sent nothing.
        Fault::StopWorker if victim.signal("STOP").is_ok() => {
            tokio::time::sleep(lease + lease / 2).await;
            victim.signal("CONT")?;
        }
        Fault::DrainWorker if victim.signal("TERM").is_ok() => {
            overdue = !tokio::task::block_in_place(|| victim.ended_within(grace + LAST_WORDS))?;
            if overdue {
                victim.kill()?;
            }
            victim.set(FAULTS, next());
            victim.restart()?;
        }
        Fault::StopWorker | Fault::DrainWorker => {}
        Fault::KillGateway => {
            cluster.gateway.kill()?;
            cluster.gateway.restart()?;
            cluster.await_ready().await?;
        }
        Fault::KillBroker => cluster.broker.restart(0).await?,
    }
    Ok(overdue)
}
