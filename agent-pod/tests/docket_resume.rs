//! kill -9 at random moments: every document still ends exactly once.

mod support;

use std::{
    collections::HashMap,
    process::Stdio,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use support::{PLAIN, Place};

/// `DOCKET_TEST_DOCUMENTS=500 DOCKET_TEST_KILLS=20` is the long campaign.
fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

/// A moment between start and end of a short run; another one each time.
fn random_moment() -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos();
    Duration::from_millis(30 + u64::from(blake3::hash(&nanos.to_le_bytes()).as_bytes()[0]) * 3)
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_every_document_once() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", "spec:\n  cache: {levels: []}\n  stages:"));
    let (documents, kills) = (number("DOCKET_TEST_DOCUMENTS", 120), number("DOCKET_TEST_KILLS", 6));
    for n in 0..documents {
        place.write(&format!("in/{n:03}.txt"), format!("document number {n}"));
    }
    let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out", "--resume"];
    let mut interrupted = 0;
    for _ in 0..kills {
        let mut child = place.command(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docket starts");
        thread::sleep(random_moment());
        // It may have ended by itself.
        let _ = child.kill();
        interrupted += usize::from(child.wait().expect("it has ended").code().is_none());
    }
    let ran = place.docket(&[&run[..], &["--format", "jsonl"]].concat()).code(0);
    let mut count: HashMap<String, usize> = HashMap::new();
    for line in place.results("out/results.jsonl") {
        assert_eq!(line["outcome"], "succeeded");
        *count.entry(line["document"].to_string()).or_default() += 1;
    }
    assert_eq!(count.len(), documents, "each document has a result");
    assert!(count.values().all(|&count| count == 1), "no document has two");
    assert_eq!(ran.lines().len(), documents, "the last run tells of all");
    eprintln!("{documents} documents, {interrupted} of {kills} runs killed in the middle: each ended once");
}
