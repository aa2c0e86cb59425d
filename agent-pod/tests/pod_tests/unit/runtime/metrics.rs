//! Counters that follow the statistics of the cache.

use agent_pod::runtime::{
    cache::{
        counts::{LevelStatistics, Statistics},
        semantic::{SemanticStatistics, shadow::Checked},
    },
    metrics::Metrics,
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
