//! What a process counts, for `/metrics`. The names are part of the interface: docs/running-distributed.md lists them.

use flow::{Completion, DocumentRecord, Outcome, Spent};
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use super::{
    cache::{LevelStatistics, Statistics},
    providers,
};

/// Stages take from a tenth of a millisecond (a template) to minutes (a long answer).
const STAGE_SECONDS: [f64; 16] =
    [0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];
/// Documents take from milliseconds to hours.
const DOCUMENT_SECONDS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// Tasks wait from a moment to hours, where their pool sleeps or is too small.
const WAIT_SECONDS: [f64; 14] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// Requests of clients take from milliseconds (a vector) to minutes (a long answer).
const INFERENCE_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// The metrics of a process.
pub struct Metrics {
    registry: Registry,
    document_seconds: HistogramVec,
    stage_seconds: HistogramVec,
    stage_failures: IntCounterVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    in_work: GaugeVec,
    waits: HistogramVec,
    cache_requests: IntCounterVec,
    cache_checked: IntCounterVec,
    queue_waiting: IntGaugeVec,
    queue_oldest: GaugeVec,
    interrupted: IntCounterVec,
    errors: IntCounterVec,
    unreadable: IntCounterVec,
    tls_reloads: IntCounterVec,
    token_reviews: IntCounterVec,
    submissions: IntCounterVec,
    results: IntCounterVec,
    result_batches: IntCounterVec,
    documents_open: IntGaugeVec,
    ready_after: Gauge,
    model_load: Histogram,
    retention_removed: IntCounterVec,
    without_pool: IntGaugeVec,
    inference_requests: IntCounterVec,
    inference_seconds: HistogramVec,
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
            cost: expect(CounterVec::new(
                Opts::new("docket_cost_total", "What tokens cost by the models' prices"),
                &["pipeline", "model"],
            )),
            in_work: expect(GaugeVec::new(
                Opts::new("docket_agent_utilization_ratio", "Slots of this worker that are in work"),
                &["pool"],
            )),
            waits: histogram(
                "docket_task_wait_seconds",
                "From the publishing of a task to its first start",
                &WAIT_SECONDS,
                &["pool"],
            ),
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
            unreadable: counter(
                "docket_unreadable_tasks_total",
                "Messages of the queue that were dropped because they are no task of this version",
                &["pool"],
            ),
            tls_reloads: counter(
                "docket_tls_reloads_total",
                "Changes of the certificate's files, by whether they could be used",
                &["result"],
            ),
            token_reviews: counter(
                "docket_token_reviews_total",
                "Reviews of ServiceAccounts' tokens by the API server, by what came of them",
                &["result"],
            ),
            submissions: counter(
                "docket_submissions_total",
                "Submissions by what became of them",
                &["pipeline", "result"],
            ),
            results: counter(
                "docket_results_total",
                "Results of documents by sink and by what became of them: written or refused",
                &["sink", "outcome"],
            ),
            result_batches: counter("docket_result_batches_total", "Writes of results, of many each", &["sink"]),
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
            retention_removed: counter(
                "docket_retention_removed_total",
                "What was removed because its time was over",
                &["kind"],
            ),
            without_pool: expect(IntGaugeVec::new(
                Opts::new(
                    "docket_documents_without_pool",
                    "Documents of earlier plans that wait for a pool that no pipeline has any more",
                ),
                &["pipeline"],
            )),
            inference_requests: counter(
                "docket_inference_requests_total",
                "Requests of clients to models, by what became of them",
                &["pool", "route", "outcome"],
            ),
            inference_seconds: histogram(
                "docket_inference_seconds",
                "Requests of clients to models that were answered, to the end of the answer",
                &INFERENCE_SECONDS,
                &["pool", "route"],
            ),
            registry,
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let collectors: Vec<Box<dyn Collector>> = vec![
            Box::new(self.document_seconds.clone()),
            Box::new(self.stage_seconds.clone()),
            Box::new(self.stage_failures.clone()),
            Box::new(self.tokens.clone()),
            Box::new(self.cost.clone()),
            Box::new(self.in_work.clone()),
            Box::new(self.waits.clone()),
            Box::new(self.cache_requests.clone()),
            Box::new(self.cache_checked.clone()),
            Box::new(self.queue_waiting.clone()),
            Box::new(self.queue_oldest.clone()),
            Box::new(self.interrupted.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.unreadable.clone()),
            Box::new(self.tls_reloads.clone()),
            Box::new(self.token_reviews.clone()),
            Box::new(self.submissions.clone()),
            Box::new(self.results.clone()),
            Box::new(self.result_batches.clone()),
            Box::new(self.documents_open.clone()),
            Box::new(self.ready_after.clone()),
            Box::new(self.model_load.clone()),
            Box::new(self.retention_removed.clone()),
            Box::new(self.without_pool.clone()),
            Box::new(self.inference_requests.clone()),
            Box::new(self.inference_seconds.clone()),
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

    /// Adds what is measured of models of others; once.
    pub fn with_providers(&self, meters: &providers::Meters) {
        for collector in meters.collectors() {
            self.registry.register(collector).expect("a process has one set of models");
        }
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
    }

    /// An attempt took tokens, whether its result was of use or not.
    pub fn spent(&self, pipeline: &str, model: Option<&str>, spent: &Spent) {
        for (direction, tokens) in [("read", spent.prompt_tokens), ("written", spent.completion_tokens)] {
            if tokens > 0 {
                self.tokens.with_label_values(&[pipeline, direction]).inc_by(tokens);
            }
        }
        if let Some(model) = model.filter(|_| spent.tokens() > 0) {
            self.cost.with_label_values(&[pipeline, model]).inc_by(flow::units(spent.cost));
        }
    }

    /// An attempt has failed.
    pub fn stage_failed(&self, pipeline: &str, stage: &str, reason: &str) {
        self.stage_failures.with_label_values(&[pipeline, stage, reason]).inc();
    }

    /// Results may go to this sink from now on. A counter that appears with its first event has not increased, so what an alert
    /// wants to hear of at once is told from the beginning: none yet.
    pub fn has_sink(&self, sink: &str) {
        for outcome in ["written", "refused"] {
            self.results.with_label_values(&[sink, outcome]).inc_by(0);
        }
    }

    /// A worker takes tasks of this pool from now on: no message of it was unreadable yet, as for [`Metrics::has_sink`].
    pub fn has_worker(&self, pool: &str) {
        self.unreadable.with_label_values(&[pool]).inc_by(0);
    }

    /// The files of a certificate are looked at from now on: they have not changed yet, as for [`Metrics::has_sink`].
    pub fn has_certificate(&self) {
        for result in ["loaded", "failed"] {
            self.tls_reloads.with_label_values(&[result]).inc_by(0);
        }
    }

    /// A sink has taken a batch of results.
    pub fn results(&self, sink: &str, written: usize, refused: usize) {
        self.result_batches.with_label_values(&[sink]).inc();
        for (outcome, rows) in [("written", written), ("refused", refused)] {
            if rows > 0 {
                self.results.with_label_values(&[sink, outcome]).inc_by(rows as u64);
            }
        }
    }

    /// So many of a worker's slots are in work.
    pub fn utilization(&self, pool: &str, in_work: usize, slots: usize) {
        self.in_work.with_label_values(&[pool]).set(in_work as f64 / slots.max(1) as f64);
    }

    /// A task was started for the first time, which had waited so long.
    pub fn waited(&self, pool: &str, waited: std::time::Duration) {
        self.waits.with_label_values(&[pool]).observe(waited.as_secs_f64());
    }

    /// Tasks were handed back unfinished.
    pub fn interrupted(&self, pool: &str) {
        self.interrupted.with_label_values(&[pool]).inc();
    }

    /// The system failed at a task or a pull.
    pub fn error(&self, pool: &str) {
        self.errors.with_label_values(&[pool]).inc();
    }

    /// A message of the queue was no task.
    pub fn unreadable(&self, pool: &str) {
        self.unreadable.with_label_values(&[pool]).inc();
    }

    /// The files of the certificate have changed: `loaded`, or `failed` where they cannot be used.
    pub fn tls_reload(&self, result: &str) {
        self.tls_reloads.with_label_values(&[result]).inc();
    }

    /// The API server was asked whose a token is: `accepted`, `refused`, or `failed` where it did not say.
    pub fn token_review(&self, result: &str) {
        self.token_reviews.with_label_values(&[result]).inc();
    }

    /// What became of a submission: `accepted`, `repeated` or why it was refused.
    pub fn submission(&self, pipeline: &str, result: &str) {
        self.submissions.with_label_values(&[pipeline, result]).inc();
    }

    /// Documents of a pipeline that have not ended.
    pub fn open(&self, pipeline: &str, documents: usize) {
        self.documents_open.with_label_values(&[pipeline]).set(i64::try_from(documents).unwrap_or(i64::MAX));
    }

    /// So many documents of a pipeline wait for pools that no pipeline has any more.
    pub fn without_pool(&self, pipeline: &str, documents: u64) {
        self.without_pool.with_label_values(&[pipeline]).set(i64::try_from(documents).unwrap_or(i64::MAX));
    }

    /// So much of a kind was removed because its time was over: `records`, `dead-letters`, `payloads`, `plans`.
    pub fn retention_removed(&self, kind: &str, count: u64) {
        self.retention_removed.with_label_values(&[kind]).inc_by(count);
    }

    /// The process has become ready.
    pub fn ready(&self, since_start: std::time::Duration) {
        self.ready_after.set(since_start.as_secs_f64());
    }

    /// The models are loaded.
    pub fn models_loaded(&self, took: std::time::Duration) {
        self.model_load.observe(took.as_secs_f64());
    }

    /// What became of a client's request to a model: `ok`, `left`, or why it was refused. `pool` is empty where it was
    /// refused before its model was known.
    pub fn inference(&self, pool: &str, route: &str, outcome: &str, seconds: f64) {
        self.inference_requests.with_label_values(&[pool, route, outcome]).inc();
        if outcome == "ok" {
            self.inference_seconds.with_label_values(&[pool, route]).observe(seconds);
        }
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
