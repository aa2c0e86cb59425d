//! What workers say of themselves: said once a second, read by whoever must know who lives and how loaded they are.

use std::{
    convert::Infallible,
    net::{Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use crds::AgentPoolSpec;
use flow::{CacheCounts, HeldModel, PodStatus, keys::is_of_an_agent};
use queue::{STATUS_TTL, Statuses};
use tokio::sync::Mutex;

use super::{cpu::CpuMeter, inference::Inference};
use crate::{
    error::chain,
    runtime::{cache::LevelStatistics, now, services::Services, standing::Standing, stop::Stop},
};

/// How often a worker says how it stands.
const EVERY: Duration = Duration::from_secs(1);
/// How long what was read of the workers is good enough: they say nothing new more often.
const FRESH: Duration = Duration::from_secs(1);
/// How long the store may take to say who lives: a client waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A worker as it speaks of itself.
pub struct Speaker {
    pub name: String,
    pub pool: String,
    pub slots: u32,
    pub standing: Arc<Standing>,
    pub stop: Stop,
    pub cpu: CpuMeter,
    /// When the process began, in milliseconds since the epoch.
    pub began: u64,
    /// Where its inference interface is, as others reach it.
    pub address: Option<String>,
    /// Known once everything is loaded.
    pub loaded: OnceLock<Loaded>,
}

/// What a worker knows of itself once everything is loaded.
pub struct Loaded {
    pub(super) models_took: Duration,
    pub(super) ready_after: Duration,
    pub(super) services: Arc<Services>,
    pub(super) models: Vec<HeldModel>,
    pub(super) inference: Option<Arc<Inference>>,
}

impl Speaker {
    /// Says it every second. A word that is lost is made up for by the next one.
    pub async fn speak(&self, statuses: &dyn Statuses) -> Infallible {
        loop {
            if let Err(error) = statuses.publish(&self.key(), Bytes::from(self.status().encode())).await {
                tracing::debug!(error = %chain(&error), pool = %self.pool, "a status was not said");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The worker is gone at once for those who look, and not only when its last word is too old.
    pub async fn fall_silent(&self, statuses: &dyn Statuses) {
        // A broker that is away must not hold up the end: the last word grows old by itself.
        match tokio::time::timeout(EVERY, statuses.remove(&self.key())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = %chain(&error), pool = %self.pool, "a status was not taken back");
            }
            Err(_) => tracing::debug!(pool = %self.pool, "a status was not taken back in time"),
        }
    }

    fn key(&self) -> String {
        format!("{}/{}", self.pool, self.name)
    }

    /// What the worker says of itself now.
    pub fn status(&self) -> PodStatus {
        let (in_work, interrupted) = self.standing.counts();
        let loaded = self.loaded.get();
        let (tokens, cost) = self.standing.consumed();
        let (stops, rests) = (self.stop.is_cordoned(), self.standing.is_resting());
        PodStatus {
            name: self.name.clone(),
            pool: self.pool.clone(),
            slots: self.slots,
            in_work,
            interactive: loaded
                .and_then(|loaded| loaded.inference.as_ref())
                .map_or(0, |inference| inference.working(&self.pool)),
            ready: loaded.is_some(),
            cordoned: stops || rests,
            resting: rests && !stops,
            service_times: self.standing.service_times(),
            model_load_seconds: loaded.map(|loaded| loaded.models_took.as_secs_f64()),
            ready_after_seconds: loaded.map(|loaded| loaded.ready_after.as_secs_f64()),
            cache: loaded.map(|loaded| cache(&loaded.services)).unwrap_or_default(),
            interrupted,
            models: loaded.map(|loaded| loaded.models.clone()).unwrap_or_default(),
            heads: loaded.map(|loaded| loaded.services.heads.lessons()).unwrap_or_default(),
            address: self.address.clone(),
            waits: Some(self.standing.waits()),
            cpu: self.cpu.share(),
            tokens,
            cost,
            began: self.began,
            due: self.standing.due(),
            at: now(),
        }
    }
}

fn cache(services: &Services) -> Vec<CacheCounts> {
    let statistics = services.cache.statistics();
    let level = |name: &str, level: &LevelStatistics| CacheCounts {
        level: name.to_owned(),
        hits: level.hits,
        misses: level.misses,
        errors: level.errors,
    };
    let redis = statistics.redis.as_ref().map(|redis| level("redis", redis));
    [level("memory", &statistics.memory)].into_iter().chain(redis).chain([level("disk", &statistics.disk)]).collect()
}

/// The models of a pool that this process has loaded.
pub(super) fn held_models(spec: &AgentPoolSpec, services: &Services) -> Vec<HeldModel> {
    let held = spec.models.iter().filter_map(|model| {
        let digest = services.engine.digest(services.models.of(model)?)?;
        Some(HeldModel { name: model.name.clone(), digest: digest.to_owned() })
    });
    held.collect()
}

/// The address that others reach a listener by: what was written, or where it listens; a listener on all of the machine's
/// addresses is reached by the machine's name.
pub fn advertised(written: Option<&str>, listens_on: SocketAddr) -> String {
    match written {
        Some(written) => in_brackets(written),
        None if listens_on.ip().is_unspecified() => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}:{}", host.trim(), listens_on.port())
        }
        None => listens_on.to_string(),
    }
}

/// Host and port as a URL has them. Kubernetes gives a pod's IPv6 address without brackets.
fn in_brackets(written: &str) -> String {
    match written.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        _ => written.to_owned(),
    }
}

/// The workers that live, as they last said.
pub struct Live {
    statuses: Arc<dyn Statuses>,
    seen: Mutex<Seen>,
}

/// What came of reading it.
#[derive(Default)]
struct Seen {
    workers: Option<(Instant, Arc<Vec<PodStatus>>)>,
    failure: Option<(Instant, String)>,
}

impl Seen {
    /// Who lived when that could still be read, for as long as what workers say counts; otherwise the failure.
    fn in_spite_of(&self, failure: &str) -> queue::Result<Arc<Vec<PodStatus>>> {
        match &self.workers {
            Some((at, workers)) if at.elapsed() < STATUS_TTL => Ok(Arc::clone(workers)),
            _ => Err(queue::Error::Store { action: "read who works", source: failure.into() }),
        }
    }
}

impl Live {
    /// Reads what workers say in this store; nothing is read yet.
    pub fn new(statuses: Arc<dyn Statuses>) -> Arc<Self> {
        Arc::new(Self { statuses, seen: Mutex::default() })
    }

    /// Who lives now. Asks at most once a second, for all who want to know together; also where asking fails.
    pub async fn workers(&self) -> queue::Result<Arc<Vec<PodStatus>>> {
        let mut seen = self.seen.lock().await;
        if let Some((at, workers)) = &seen.workers
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(workers));
        }
        if let Some((at, failure)) = &seen.failure
            && at.elapsed() < FRESH
        {
            return seen.in_spite_of(failure);
        }
        let said = match tokio::time::timeout(PATIENCE, self.statuses.all("")).await {
            Ok(Ok(said)) => said,
            failed => {
                let failure = match failed {
                    Ok(Err(error)) => chain(&error),
                    _ => "the store does not answer".to_owned(),
                };
                let answer = seen.in_spite_of(&failure);
                seen.failure = Some((Instant::now(), failure));
                return answer;
            }
        };
        let workers = said.iter().filter(|(key, _)| is_of_an_agent(key));
        let workers = workers.filter_map(|(key, status)| match PodStatus::decode(status) {
            Ok(status) => Some(status),
            // A newer worker speaks so; it works, and is left out here.
            Err(error) => {
                tracing::debug!(%key, error = %chain(&error), "a status cannot be read");
                None
            }
        });
        let workers = Arc::new(workers.collect::<Vec<_>>());
        *seen = Seen { workers: Some((Instant::now(), Arc::clone(&workers))), failure: None };
        Ok(workers)
    }
}
