//! The cache of stage results: where results are kept, for how long, and stages that leave it alone.

mod support;

use serde_json::Value;
use support::{PLAIN, Place, changed};

/// How often the cache answered the parse stages of two documents with the same bytes, in each of two runs.
fn hits(pipeline: &str) -> [usize; 2] {
    let place = Place::new();
    place.write("pipeline.yaml", pipeline);
    place.write("in/a.txt", "the same text");
    place.write("in/b.txt", "the same text");
    [(); 2].map(|()| {
        let lines = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"]).code(0).lines();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line["output"]["head"] == "the same text"), "{lines:?}");
        lines.iter().filter(|line| line["stages"]["parse"]["cached"] == Value::Bool(true)).count()
    })
}

fn with_cache(cache: &str) -> String {
    changed(PLAIN, &[("spec:\n  stages:", &format!("spec:\n  cache: {cache}\n  stages:"))])
}

#[test]
fn the_cache_is_on_unless_it_is_turned_off() {
    assert_eq!(hits(PLAIN), [1, 2]);
    assert_eq!(hits(&with_cache("{levels: [Memory, Disk]}")), [1, 2]);
    assert_eq!(hits(&with_cache("{levels: []}")), [0, 0]);
}

#[test]
fn memory_forgets_with_its_process_and_the_disk_remembers() {
    assert_eq!(hits(&with_cache("{levels: [Memory]}")), [1, 1]);
    assert_eq!(hits(&with_cache("{levels: [Disk]}"))[1], 2);
}

#[test]
fn a_result_is_used_again_no_longer_than_its_time() {
    for (ttl, still_there) in [("1h", true), ("1ms", false)] {
        let place = Place::new();
        place.write("pipeline.yaml", with_cache(&format!("{{exact: {{ttl: {ttl}}}}}")));
        place.write("a.txt", "some text");
        assert_eq!(place.result("a.txt")["stages"]["parse"]["cached"], false);
        assert_eq!(place.result("a.txt")["stages"]["parse"]["cached"], still_there, "{ttl}");
    }
}

#[test]
fn a_stage_may_leave_the_cache_alone() {
    let parse = "{name: parse, pool: readers,";
    assert_eq!(hits(&changed(PLAIN, &[(parse, &format!("{parse} cache: None,"))])), [0, 0]);
    assert_eq!(hits(&changed(PLAIN, &[(parse, &format!("{parse} cache: Exact,"))])), [1, 2]);
    let off = with_cache("{levels: []}");
    assert_eq!(
        hits(&changed(&off, &[(parse, &format!("{parse} cache: Exact,"))])),
        [0, 0],
        "the pipeline's word counts"
    );
}
