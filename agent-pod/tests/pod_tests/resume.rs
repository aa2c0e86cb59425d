//! kill -9 at random moments: every document still ends exactly once.

use std::{
    collections::HashMap,
    process::Stdio,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::support::{
    PLAIN, Place,
    processes::{Process, wait_for},
};

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

#[test]
fn a_run_that_is_interrupted_again_and_again_says_so_and_counts_against_no_document() {
    // On a busy machine all may be done before the first signal comes, but not each time.
    let counts: Vec<(usize, usize)> = (0..3)
        .map(|_| interrupt_again_and_again())
        .take_while(|&(interrupted, handed_back)| interrupted == 0 || handed_back == 0)
        .collect();
    assert!(counts.len() < 3, "interruptions, and tasks handed back: {counts:?}");
}

/// Works documents in a folder of their own; how many runs were interrupted, and how many tasks they handed back.
fn interrupt_again_and_again() -> (usize, usize) {
    let place = Place::new();
    let slow =
        "{% for a in range(60) %}{% for b in range(1000) %}{% endfor %}{% endfor %}{{ document.text | head(20) }}";
    let uncached = PLAIN.replace("spec:\n  stages:", "spec:\n  cache: {levels: []}\n  stages:");
    place.write("pipeline.yaml", uncached.replace("{{ document.text | head(20) }}", slow));
    // More than are worked by the time that a busy machine sends the signal.
    let documents = 200;
    for n in 0..documents {
        place.write(&format!("in/{n:03}.txt"), format!("document number {n}"));
    }
    let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out", "--resume", "--log", "info"];
    let (mut interrupted, mut handed_back) = (0, 0);
    // More often than starts without a report are forgiven.
    for _ in 0..6 {
        // Each run writes its results anew, and listens for signals before it writes the first.
        let results = place.path("out/results.jsonl");
        let _ = std::fs::remove_file(&results);
        let mut running = Process::start(&place, &run);
        let begun = || std::fs::metadata(&results).is_ok_and(|file| file.len() > 0);
        wait_for("the run to begin", || begun().then_some(()));
        thread::sleep(random_moment() / 4);
        running.signal("-INT");
        let code = running.ends().code();
        if code == Some(3) {
            interrupted += 1;
            assert!(running.said().contains("it was interrupted; run it again with --resume"), "{}", running.said());
        } else {
            assert_eq!(code, Some(0), "{}", running.said());
        }
        handed_back += running.said().matches("handed back unfinished").count();
    }
    let ran = place.docket(&[&run[..], &["--format", "jsonl"]].concat()).code(0);
    assert!(ran.lines().iter().all(|line| line["outcome"] == "succeeded"));
    assert_eq!(ran.lines().len(), documents);
    (interrupted, handed_back)
}

#[test]
fn a_resumed_run_is_as_fast_as_what_it_did_itself() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/a.txt", "a");
    place.write("in/b.txt", "b");
    let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--format", "json", "--resume"];
    let summary = |further: &[&str]| place.docket(&[&run[..], further].concat()).code(0).lines().remove(0);
    let first = summary(&["--limit", "1"]);
    assert_eq!((&first["documents"]["total"], &first["documents"]["endedBefore"]), (&json!(1), &json!(0)));
    assert!(first["documentsPerSecond"].as_f64() > Some(0.0), "{first}");
    summary(&[]);
    let last = summary(&[]);
    assert_eq!((&last["documents"]["total"], &last["documents"]["endedBefore"]), (&json!(2), &json!(2)));
    assert_eq!(last["documentsPerSecond"], 0.0);
}
