//! Attempts and the time they may take: `retry`, `timeout`, `stageTimeout`, `deadline`, and `parallel`.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Place, changed};

/// A page is parsed in a process of its own, and none starts within a millisecond.
const TIMES_OUT: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: times-out}
spec:
  retry: {maxAttempts: 2, backoff: {initial: 10ms}}
  stageTimeout: 1ms
  stages:
  - {name: read, pool: readers, parse: {}}
"#;

const PAGE: &str = "<html><body><p>A page with one sentence.</p></body></html>";

fn run(file: &str, changes: &[(&str, &str)]) -> Value {
    let place = Place::new();
    place.write("pipeline.yaml", changed(file, changes));
    place.write("page.html", PAGE);
    place.result("page.html")
}

#[track_caller]
fn assert_timed_out(line: &Value, attempts: u32) {
    assert_eq!(line["outcome"], "dead-lettered", "{line}");
    assert_eq!(line["deadLetter"]["stage"], "read");
    assert_eq!(line["deadLetter"]["reason"], "Timeout");
    assert_eq!(line["deadLetter"]["attempts"], attempts, "{line}");
}

#[test]
fn an_attempt_that_may_succeed_later_is_repeated_as_often_as_retry_says() {
    assert_timed_out(&run(TIMES_OUT, &[]), 2);
    assert_timed_out(&run(TIMES_OUT, &[("maxAttempts: 2, ", "")]), 3);
    let of_the_stage = ("parse: {}", "parse: {}, retry: {maxAttempts: 4, backoff: {initial: 1ms, factor: 1}}");
    assert_timed_out(&run(TIMES_OUT, &[of_the_stage]), 4);
}

#[test]
fn what_cannot_succeed_is_not_repeated() {
    let place = Place::new();
    place.write("pipeline.yaml", changed(TIMES_OUT, &[("stageTimeout: 1ms", "stageTimeout: 1m")]));
    place.write("empty.txt", "");
    let line = place.result("empty.txt");
    assert_eq!(line["deadLetter"]["reason"], "DocumentEmpty");
    assert_eq!(line["deadLetter"]["attempts"], 1);
}

#[test]
fn each_wait_is_longer_by_the_factor() {
    let waits = ("maxAttempts: 2, backoff: {initial: 10ms}", "maxAttempts: 3, backoff: {initial: 200ms, factor: 10}");
    let grown = run(TIMES_OUT, &[waits])["seconds"].as_f64().expect("seconds");
    assert!(grown >= 2.2, "200 ms and 2 s lie between the attempts, not {grown} s in all");
    let usual = || run(TIMES_OUT, &[waits, (", factor: 10", "")])["seconds"].as_f64().expect("seconds");
    // A busy machine may make one run as long as that, not each.
    let longer: Vec<f64> = (0..4)
        .map(|_| usual())
        .inspect(|usual| assert!(*usual >= 0.5, "{usual} s, of which 200 and 300 ms are waits"))
        .take_while(|usual| *usual >= grown)
        .collect();
    assert!(longer.len() < 4, "{longer:?} s with the usual factor, {grown} s with the larger one");
}

#[test]
fn the_stages_own_time_out_goes_before_the_pipelines() {
    for changes in [("stageTimeout: 1ms", "suspend: false"), ("parse: {}", "timeout: 1m, parse: {}")] {
        let line = run(TIMES_OUT, &[changes]);
        assert_eq!(line["outcome"], "succeeded", "{line}");
        assert_eq!(line["stages"]["read"]["attempts"], 1);
    }
    let changes = [("stageTimeout: 1ms", "stageTimeout: 1m"), ("parse: {}", "timeout: 1ms, parse: {}")];
    assert_timed_out(&run(TIMES_OUT, &changes), 2);
}

#[test]
fn a_document_that_has_not_ended_at_its_deadline_is_given_up() {
    let slow = ("initial: 10ms", "initial: 1h");
    let line = run(TIMES_OUT, &[slow, ("stageTimeout: 1ms", "stageTimeout: 1ms\n  deadline: 200ms")]);
    assert_eq!(line["outcome"], "dead-lettered", "{line}");
    assert_eq!(line["deadLetter"]["reason"], "DeadlineExceeded");
    assert_eq!(line["deadLetter"]["stage"], Value::Null, "the document as a whole");
    assert_timed_out(&run(TIMES_OUT, &[("initial: 10ms", "initial: 1s")]), 2);
}

/// `late` has its second attempt only after an hour, or after a second; `done` ends the document without it.
const BRANCHES: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: branches}
spec:
  deadline: 1m
  retry: {maxAttempts: 2, backoff: {initial: 1h}}
  stages:
  - {name: late, pool: readers, optional: true, timeout: 1ms, parse: {}}
  - {name: ready, pool: readers, transform: {template: ready}}
  - {name: done, pool: readers, after: [late, ready], join: {mode: Any}, transform: {template: done}}
"#;

#[test]
fn branches_are_worked_side_by_side_unless_the_pipeline_says_otherwise() {
    let line = run(BRANCHES, &[]);
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["stages"]["late"]["attempts"], 1);
    let one_by_one = ("deadline: 1m", "deadline: 1m\n  parallel: false");
    let line = run(BRANCHES, &[one_by_one, ("initial: 1h", "initial: 1s")]);
    assert_eq!(line["outcome"], "partial", "{line}");
    assert_eq!(line["stages"]["late"]["outcome"], "failed", "the branch written first ended before the next began");
    assert_eq!(line["stages"]["late"]["attempts"], 2);
}

/// The page with `once` has one attempt, the other one many.
const TWO_PAGES: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {concurrency: 1}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: pages}
spec:
  retry: {maxAttempts: 20, backoff: {initial: 1500ms, factor: 1}}
  stages:
  - {name: read, pool: readers, when: not document.metadata.once, parse: {}}
  - {name: read-once, pool: readers, when: document.metadata.once, retry: {maxAttempts: 1}, parse: {}}
"#;

/// Documents that keep the pool busy until the parser is gone, also where a busy machine takes it away late.
const BEFORE: usize = 1_500;

#[test]
fn an_attempt_that_failed_for_a_passing_reason_is_made_up_for() {
    let place = Place::new();
    place.write("pipeline.yaml", TWO_PAGES);
    place.write("page.html", PAGE);
    place.write("once.html", format!("{PAGE} "));
    let mut lines: Vec<Value> =
        (0..BEFORE).map(|n| json!({"id": n.to_string(), "text": format!("text {n}")})).collect();
    lines.push(json!({"id": "page", "path": "page.html"}));
    lines.push(json!({"id": "once", "path": "once.html", "metadata": {"once": true}}));
    place.write("in.jsonl", lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    // Parsers are processes of the same program: without its file none can start.
    let (program, away) = (place.path("docket"), place.path("away"));
    // By another process: a program that this one still has open for writing cannot be started.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_docket")).arg(&program).status().expect("cp starts");
    assert!(copied.success());
    let mut command = Command::new(&program);
    command.args(["run", "-f", "pipeline.yaml", "--input", "in.jsonl", "--output", "out"]);
    command.current_dir(place.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().expect("docket starts");
    let results = place.path("out/results.jsonl");
    wait_until("the run begins", || results.exists());
    fs::rename(&program, &away).expect("moved");
    // One slot and one order: when the second page has ended, the first has failed once.
    let has_ended = || fs::read_to_string(&results).is_ok_and(|text| text.contains("\"document\":\"once\""));
    wait_until("the page with one attempt ends", has_ended);
    fs::rename(&away, &program).expect("moved back");
    assert_eq!(running.wait().expect("it ends").code(), Some(1));
    let results = place.results("out/results.jsonl");
    let find = |id: &str| results.iter().find(|line| line["document"] == id).expect("the document");
    assert_eq!(find("once")["deadLetter"]["reason"], "ParserNotStarted");
    assert_eq!(find("once")["deadLetter"]["attempts"], 1);
    assert_eq!(find("page")["outcome"], "succeeded", "{}", find("page"));
    assert!(find("page")["stages"]["read"]["attempts"].as_u64() > Some(1), "{}", find("page"));
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
