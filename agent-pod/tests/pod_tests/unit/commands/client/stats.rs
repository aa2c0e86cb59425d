//! How `docket stats` prints what a gateway says.

use agent_pod::commands::client::stats::tables;
use serde_json::json;

#[test]
fn every_number_has_its_place_and_what_is_not_known_is_a_dash() {
    let stats = json!({
        "pools": [{
            "name": "readers", "waiting": {"critical": 1, "high": 0, "normal": 12, "low": 3}, "inWork": 2,
            "oldestSeconds": null, "slots": 8,
            "serviceTimes": [{"pipeline": "p", "stage": "parse", "count": 5, "mean": 0.25, "p50": 0.2, "p95": 1.5}],
            "cache": {"memory": {"hits": 3, "misses": 1, "errors": 0, "hitRate": 0.75}},
            "workers": [{
                "pool": "readers", "name": "w1", "ready": true, "cordoned": true, "inWork": 2, "slots": 8,
                "interactive": 1, "models": [{"name": "mini"}, {"name": "small"}],
                "heads": [{"pipeline": "p", "head": "kind", "examples": 40}],
            }],
        }],
        "pipelines": [{"name": "p", "open": 17}],
    });
    let expected = [
        "POOL     CRITICAL  HIGH  NORMAL  LOW  OLDEST  WORKERS  IN WORK",
        "readers  1         0     12      3    -       1        2/8",
        "",
        "POOL     WORKER  STATE     IN WORK  CLIENTS  MODELS",
        "readers  w1      stopping  2/8      1        mini small",
        "",
        "POOL     PIPELINE  STAGE  TASKS  MEAN     P50      P95",
        "readers  p         parse  5      0.250 s  0.200 s  1.500 s",
        "",
        "POOL     CACHE   HITS  MISSES  ERRORS  RATE",
        "readers  memory  3     1       0       75 %",
        "",
        "POOL     WORKER  PIPELINE  HEAD  EXAMPLES",
        "readers  w1      p         kind  40",
        "",
        "PIPELINE  OPEN",
        "p         17",
    ];
    assert_eq!(tables(&stats), expected.join("\n"));
}
