//! How long tasks take, by stage and size, over the newest of each. Pure: times come in, numbers go out.
//!
//! The size of a task is the tokens that its models read, in classes that grow fourfold; tasks for which none were read
//! (work without a model, answers of the cache) are a class of their own. The class of the document's bytes, which is known
//! before a task is worked, tells them further apart. A window of the newest tasks forgets by itself
//! how things were before, and holds exact percentiles. How many tasks there were of all kinds meanwhile tells how often such
//! tasks come.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use flow::ServiceTime;

/// Upper bounds of the size classes in tokens; one more class is above them all.
const CLASSES: [u64; 5] = [0, 256, 1_024, 4_096, 16_384];
/// Tasks of a window: enough for a 95th percentile, few enough to follow a change within minutes.
pub const WINDOW: usize = 128;
/// Windows at once. Pipelines have some dozens of stages; plans that are long gone must not add up.
pub const MOST_WINDOWS: usize = 512;

/// The times of one worker.
#[derive(Debug, Default)]
pub struct ServiceTimes {
    windows: BTreeMap<Key, Window>,
    recorded: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pipeline: String,
    stage: String,
    class: usize,
    document_size: u8,
}

#[derive(Debug, Default)]
struct Window {
    /// Seconds, and the number of each among all that were recorded.
    tasks: VecDeque<(f64, u64)>,
}

impl ServiceTimes {
    /// A task was done, for which models read so many tokens, of a document of this class of size.
    pub fn record(&mut self, pipeline: &str, stage: &str, (tokens, document_size): (u64, u8), took: Duration) {
        let class = CLASSES.iter().position(|most| tokens <= *most).unwrap_or(CLASSES.len());
        let key = Key { pipeline: pipeline.to_owned(), stage: stage.to_owned(), class, document_size };
        if self.windows.len() >= MOST_WINDOWS && !self.windows.contains_key(&key) {
            let newest = |window: &Window| window.tasks.back().map(|task| task.1);
            let idle = self.windows.iter().min_by_key(|(_, window)| newest(window)).map(|(key, _)| key.clone());
            idle.map(|idle| self.windows.remove(&idle));
        }
        self.recorded += 1;
        let window = self.windows.entry(key).or_default();
        if window.tasks.len() == WINDOW {
            window.tasks.pop_front();
        }
        window.tasks.push_back((took.as_secs_f64(), self.recorded));
    }

    /// The numbers of all windows.
    pub fn summary(&self) -> Vec<ServiceTime> {
        self.windows.iter().map(|(key, window)| window.summary(key, self.recorded)).collect()
    }
}

impl Window {
    fn summary(&self, key: &Key, recorded: u64) -> ServiceTime {
        let mut sorted: Vec<f64> = self.tasks.iter().map(|task| task.0).collect();
        sorted.sort_by(f64::total_cmp);
        ServiceTime {
            pipeline: key.pipeline.clone(),
            stage: key.stage.clone(),
            up_to_tokens: CLASSES.get(key.class).copied(),
            document_size: key.document_size,
            count: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
            of_all: self.tasks.front().map_or(0, |first| recorded - first.1 + 1),
            mean: sorted.iter().sum::<f64>() / sorted.len().max(1) as f64,
            p50: percentile(&sorted, 50),
            p95: percentile(&sorted, 95),
        }
    }
}

/// The nearest rank of sorted numbers.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}
