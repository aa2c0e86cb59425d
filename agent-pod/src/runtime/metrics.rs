//! What a process counts, for `/metrics`. The names are part of the interface: docs/running-distributed.md lists them.

use flow::{Completion, DocumentRecord, Outcome};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

use super::cache::{LevelStatistics, Statistics};

/// Stages take from a tenth of a millisecond (a template) to minutes (a long answer).
const STAGE_SECONDS: [f64; 16] =
    [0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];
/// Documents take from milliseconds to hours.
const DOCUMENT_SECONDS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// The metrics of a process.
pub struct Metrics {
    registry: Registry,
    document_seconds: HistogramVec,
    stage_seconds: HistogramVec,
    stage_failures: IntCounterVec,
    tokens: IntCounterVec,
    in_work: GaugeVec,
    cache_requests: IntCounterVec,
    cache_checked: IntCounterVec,
    queue_waiting: IntGaugeVec,
    queue_oldest: GaugeVec,
    interrupted: IntCounterVec,
    errors: IntCounterVec,
    submissions: IntCounterVec,
    documents_open: IntGaugeVec,
    ready_after: Gauge,
    model_load: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let metrics = Self {
            document_seconds: histogram(
                "docket_document_processing_seconds",
                "From the submission of a document to its end",
                &DOCUMENT_SECONDS,
                &["pipeline", "outcome"],
            ),
            stage_seconds: histogram(
                "docket_stage_seconds",
                "Work of one stage of one document, without waiting in the queue",
                &STAGE_SECONDS,
                &["pipeline", "stage"],
            ),
            stage_failures: counter(
                "docket_stage_failures_total",
                "Attempts that failed, by reason",
                &["pipeline", "stage", "reason"],
            ),
            tokens: counter("docket_tokens_total", "Tokens read and written by models", &["pipeline", "direction"]),
            in_work: expect(GaugeVec::new(
                Opts::new("docket_agent_utilization_ratio", "Slots of this worker that are in work"),
                &["pool"],
            )),
            cache_requests: counter(
                "docket_cache_requests_total",
                "Requests to the cache of results; a miss is counted at the level \"none\"",
                &["level", "outcome"],
            ),
            cache_checked: counter(
                "docket_cache_semantic_checked_total",
                "Answers to nearly equal prompts that were worked all the same, by whether they were right",
                &["outcome"],
            ),
            queue_waiting: expect(IntGaugeVec::new(
                Opts::new("docket_queue_waiting", "Tasks that wait to be taken"),
                &["pool", "priority"],
            )),
            queue_oldest: expect(GaugeVec::new(
                Opts::new("docket_queue_oldest_seconds", "Age of the oldest task that is not done"),
                &["pool"],
            )),
            interrupted: counter(
                "docket_interrupted_total",
                "Tasks that were handed back unfinished because the worker stopped",
                &["pool"],
            ),
            errors: counter("docket_worker_errors_total", "Failures of the system, not of a document", &["pool"]),
            submissions: counter(
                "docket_submissions_total",
                "Submissions by what became of them",
                &["pipeline", "result"],
            ),
            documents_open: expect(IntGaugeVec::new(
                Opts::new("docket_documents_open", "Documents that were accepted and have not ended"),
                &["pipeline"],
            )),
            ready_after: expect(Gauge::new(
                "docket_ready_after_seconds",
                "From the start of the process to its readiness",
            )),
            model_load: expect(Histogram::with_opts(
                HistogramOpts::new("docket_model_load_seconds", "Loading of all models of the worker")
                    .buckets(vec![0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0]),
            )),
            registry,
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let collectors: [Box<dyn Collector>; 15] = [
            Box::new(self.document_seconds.clone()),
            Box::new(self.stage_seconds.clone()),
            Box::new(self.stage_failures.clone()),
            Box::new(self.tokens.clone()),
            Box::new(self.in_work.clone()),
            Box::new(self.cache_requests.clone()),
            Box::new(self.cache_checked.clone()),
            Box::new(self.queue_waiting.clone()),
            Box::new(self.queue_oldest.clone()),
            Box::new(self.interrupted.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.submissions.clone()),
            Box::new(self.documents_open.clone()),
            Box::new(self.ready_after.clone()),
            Box::new(self.model_load.clone()),
        ];
        for collector in collectors {
            self.registry.register(collector).expect("every name is registered once, in a registry of its own");
        }
    }

    /// Adds what the kernel knows of this process: memory, CPU time, open files.
    pub fn with_process(self) -> Self {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process)).expect("the process is registered once");
        self
    }

    /// A document has ended.
    pub fn document(&self, record: &DocumentRecord) {
        let Some(end) = &record.end else { return };
        let outcome = match end.outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Partial => "partial",
            Outcome::DeadLettered => "dead-lettered",
            Outcome::Cancelled => "cancelled",
        };
        let seconds = end.at.saturating_sub(record.submitted_at) as f64 / 1_000.0;
        self.document_seconds.with_label_values(&[record.pipeline.as_str(), outcome]).observe(seconds);
    }

    /// A stage has delivered.
    pub fn stage(&self, pipeline: &str, stage: &str, completion: &Completion) {
        self.stage_seconds.with_label_values(&[pipeline, stage]).observe(completion.seconds);
        for (direction, tokens) in [("read", completion.prompt_tokens), ("written", completion.completion_tokens)] {
            if tokens > 0 {
                self.tokens.with_label_values(&[pipeline, direction]).inc_by(tokens);
            }
        }
    }

    /// An attempt has failed.
    pub fn stage_failed(&self, pipeline: &str, stage: &str, reason: &str) {
        self.stage_failures.with_label_values(&[pipeline, stage, reason]).inc();
    }

    /// So many of a worker's slots are in work.
    pub fn utilization(&self, pool: &str, in_work: usize, slots: usize) {
        self.in_work.with_label_values(&[pool]).set(in_work as f64 / slots.max(1) as f64);
    }

    /// Tasks were handed back unfinished.
    pub fn interrupted(&self, pool: &str) {
        self.interrupted.with_label_values(&[pool]).inc();
    }

    /// The system failed at a task or a pull.
    pub fn error(&self, pool: &str) {
        self.errors.with_label_values(&[pool]).inc();
    }

    /// What became of a submission: `accepted`, `repeated` or why it was refused.
    pub fn submission(&self, pipeline: &str, result: &str) {
        self.submissions.with_label_values(&[pipeline, result]).inc();
    }

    /// Documents of a pipeline that have not ended.
    pub fn open(&self, pipeline: &str, documents: usize) {
        self.documents_open.with_label_values(&[pipeline]).set(i64::try_from(documents).unwrap_or(i64::MAX));
    }

    /// The process has become ready.
    pub fn ready(&self, since_start: std::time::Duration) {
        self.ready_after.set(since_start.as_secs_f64());
    }

    /// The models are loaded.
    pub fn models_loaded(&self, took: std::time::Duration) {
        self.model_load.observe(took.as_secs_f64());
    }

    /// What waits in a pool.
    pub fn depth(&self, pool: &str, depth: &queue::Depth) {
        for (priority, waiting) in ["critical", "high", "normal", "low"].into_iter().zip(depth.pending) {
            let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
            self.queue_waiting.with_label_values(&[pool, priority]).set(waiting);
        }
        let oldest = depth.oldest.map_or(0.0, |age| age.as_secs_f64());
        self.queue_oldest.with_label_values(&[pool]).set(oldest);
    }

    /// Brings the cache's counts up to what its own statistics say.
    pub fn cache(&self, statistics: &Statistics) {
        let levels = [
            ("memory", Some(&statistics.memory)),
            ("redis", statistics.redis.as_ref()),
            ("disk", Some(&statistics.disk)),
            ("semantic", Some(&statistics.semantic.level)),
        ];
        let of_level = |(level, counts): (&'static str, Option<&LevelStatistics>)| {
            counts.map(|counts| {
                [(level, "hit", counts.hits), (level, "miss", counts.misses), (level, "error", counts.errors)]
            })
        };
        let counts = levels.into_iter().filter_map(of_level).flatten();
        for (level, outcome, count) in counts.chain([("none", "miss", statistics.computed)]) {
            let counter = self.cache_requests.with_label_values(&[level, outcome]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let checked = statistics.semantic.checked;
        for (outcome, count) in [("right", checked.checked - checked.wrong), ("wrong", checked.wrong)] {
            let counter = self.cache_checked.with_label_values(&[outcome]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn histogram(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    expect(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    expect(IntCounterVec::new(Opts::new(name, help), labels))
}

fn expect<T>(made: prometheus::Result<T>) -> T {
    made.expect("names and labels are constants of the right form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cache::semantic::{SemanticStatistics, shadow::Checked};

    #[test]
    fn counts_of_the_cache_follow_its_statistics() {
        let metrics = Metrics::default();
        let level = LevelStatistics { hits: 3, misses: 2, errors: 1, ..LevelStatistics::default() };
        let semantic = SemanticStatistics { level, checked: Checked { checked: 5, wrong: 2 }, wrong_ratio: Some(0.4) };
        let statistics = Statistics { computed: 7, semantic, ..Statistics::default() };
        metrics.cache(&statistics);
        metrics.cache(&statistics);
        let text = metrics.text().expect("text");
        for line in [
            "docket_cache_requests_total{level=\"semantic\",outcome=\"hit\"} 3",
            "docket_cache_requests_total{level=\"semantic\",outcome=\"miss\"} 2",
            "docket_cache_requests_total{level=\"semantic\",outcome=\"error\"} 1",
            "docket_cache_requests_total{level=\"none\",outcome=\"miss\"} 7",
            "docket_cache_semantic_checked_total{outcome=\"right\"} 3",
            "docket_cache_semantic_checked_total{outcome=\"wrong\"} 2",
        ] {
            assert!(text.lines().any(|found| found.starts_with(line)), "{line} is not in:\n{text}");
        }
    }
}
