//! Counters that follow the statistics of the cache, and those that are told before anything has happened.

use std::{path::Path, sync::Arc};

use agent_pod::{
    results::Sinks,
    runtime::{
        cache::{
            counts::{LevelStatistics, Statistics},
            semantic::{SemanticStatistics, shadow::Checked},
        },
        metrics::Metrics,
    },
};

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

#[test]
fn what_an_alert_waits_for_is_told_before_it_happens() {
    let metrics = Arc::new(Metrics::default());
    let ports = queue::memory::open();
    let _sinks = Sinks::new(Arc::clone(&ports.payloads), Path::new("unused"), Arc::clone(&metrics));
    metrics.has_worker("readers");
    metrics.has_certificate();
    let text = metrics.text().expect("text");
    for line in [
        "docket_results_total{outcome=\"refused\",sink=\"postgres\"} 0",
        "docket_results_total{outcome=\"refused\",sink=\"table\"} 0",
        "docket_unreadable_tasks_total{pool=\"readers\"} 0",
        "docket_tls_reloads_total{result=\"failed\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}
