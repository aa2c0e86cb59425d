//! kill -9 at random moments: every document still ends exactly once.

mod support;

use std::{collections::HashMap, process::Stdio, thread, time::Duration};

use support::{PLAIN, Place};

const DOCUMENTS: usize = 120;
const KILLS: u64 = 6;

#[test]
fn a_run_that_is_killed_again_and_again_ends_every_document_once() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", "spec:\n  cache: {levels: []}\n  stages:"));
    for n in 0..DOCUMENTS {
        place.write(&format!("in/{n:03}.txt"), format!("document number {n}"));
    }
    let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out", "--resume"];
    for kill in 0..KILLS {
        let mut child = place.command(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docket starts");
        // Spread over start, work and end; what matters is that the moments differ.
        thread::sleep(Duration::from_millis(60 + kill * kill * 25));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("it has ended");
    }
    let ran = place.docket(&[&run[..], &["--format", "jsonl"]].concat()).code(0);
    let mut count: HashMap<String, usize> = HashMap::new();
    for line in place.results("out/results.jsonl") {
        assert_eq!(line["outcome"], "succeeded");
        *count.entry(line["document"].to_string()).or_default() += 1;
    }
    assert_eq!(count.len(), DOCUMENTS, "each document has a result");
    assert!(count.values().all(|&count| count == 1), "no document has two");
    assert_eq!(ran.lines().len(), DOCUMENTS, "the last run tells of all");
}
