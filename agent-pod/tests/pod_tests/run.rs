//! `docket run` on documents of many kinds: what comes out, and what is said.

use serde_json::json;

use crate::support::{PLAIN, Place};

#[test]
fn every_document_gets_one_line_with_its_stages() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/a.txt", "Alpha is the first of the letters.");
    place.write("in/sub/b.md", "# Beta\n\nsecond");
    let ran =
        place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl", "--output", "out"]).code(0);
    let mut lines = ran.lines();
    lines.sort_by_key(|line| line["document"].to_string());
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["document"], "a.txt");
    assert_eq!(lines[1]["document"], "sub/b.md");
    assert_eq!(lines[0]["outcome"], "succeeded");
    assert_eq!(lines[0]["output"], json!({"head": "Alpha is the first", "bytes": 34}));
    assert_eq!(lines[0]["stages"]["head"]["outcome"], "succeeded");
    assert_eq!(lines[0]["stages"]["head"]["attempts"], 1);
    assert!(lines[0]["source"].as_str().expect("source").ends_with("a.txt"));
    for field in ["citations", "quality", "tokens", "seconds", "plan"] {
        assert!(lines[0].get(field).is_some(), "{field} is missing");
    }
    let mut written = place.results("out/results.jsonl");
    written.sort_by_key(|line| line["document"].to_string());
    assert_eq!(written, lines);
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("out/summary.json")).expect("summary")).expect("JSON");
    assert_eq!(summary["documents"]["succeeded"], 2);
}

#[test]
fn the_summary_is_a_table_for_people() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("a.txt", "text");
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt"]).code(0);
    assert!(ran.stdout.contains("1 succeeded"), "{}", ran.stdout);
    assert!(ran.stdout.contains("STAGE"), "{}", ran.stdout);
}

#[test]
fn lines_of_a_file_are_documents_with_metadata_and_conditions() {
    let place = Place::new();
    place.write(
        "pipeline.yaml",
        PLAIN
            .replace("name: head, pool: readers,", "name: head, pool: readers, when: document.metadata.wanted,")
            .replace("stages.head.text", "(stages.head.text if stages.head else \"none\")")
            .as_str(),
    );
    place.write("b.txt", "by path");
    place.write(
        "in.jsonl",
        "{\"id\": \"one\", \"text\": \"first\", \"metadata\": {\"wanted\": true}}\n\n{\"id\": \"two\", \"path\": \"b.txt\", \"priority\": \"High\"}\n",
    );
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in.jsonl", "--format", "jsonl"]).code(0);
    let lines = ran.lines();
    let find = |id: &str| lines.iter().find(|line| line["document"] == id).expect("the document").clone();
    assert_eq!(find("one")["stages"]["head"]["outcome"], "succeeded");
    assert_eq!(find("two")["stages"]["head"]["outcome"], "skipped");
    assert_eq!(find("two")["output"]["head"], "none");
}

#[test]
fn limit_takes_the_first_documents() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    for n in 0..5 {
        place.write(&format!("in/{n}.txt"), format!("text {n}"));
    }
    let ran =
        place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl", "--limit", "2"]).code(0);
    assert_eq!(ran.lines().len(), 2);
}

#[test]
fn a_second_run_answers_from_the_cache_unless_the_cache_is_off() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("a.txt", "the same text");
    let run = ["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "jsonl"];
    assert_eq!(place.docket(&run).code(0).lines()[0]["stages"]["parse"]["cached"], false);
    assert_eq!(place.docket(&run).code(0).lines()[0]["stages"]["parse"]["cached"], true);
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", "spec:\n  cache: {levels: []}\n  stages:"));
    assert_eq!(place.docket(&run).code(0).lines()[0]["stages"]["parse"]["cached"], false);
}

#[test]
fn a_suspended_pipeline_takes_documents_and_works_them_later() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", "spec:\n  suspend: true\n  stages:"));
    place.write("a.txt", "text");
    let run = ["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "jsonl"];
    let ran = place.docket(&run).code(0).says("suspended");
    assert_eq!(ran.lines().len(), 0);
    place.write("pipeline.yaml", PLAIN);
    let ran = place.docket(&[&run[..], &["--resume"]].concat()).code(0);
    assert_eq!(ran.lines()[0]["outcome"], "succeeded");
}

#[test]
fn a_dead_letter_is_listed_shown_explained_and_replayed() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/empty.txt", "");
    place.write("in/good.txt", "good");
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out"]).code(1);
    assert!(ran.stdout.contains("empty.txt"), "{}", ran.stdout);
    let letters = place.docket(&["dlq", "list", "--format", "jsonl"]).code(0).lines();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["stage"], "parse");
    assert_eq!(letters[0]["reason"], "DocumentEmpty");
    let shown = place.docket(&["dlq", "show", "empty.txt"]).code(0);
    assert!(shown.stdout.contains("\"plan\""), "{}", shown.stdout);
    let explained = place.docket(&["explain", "document", "empty.txt"]).code(0);
    assert!(explained.stdout.contains("dead-lettered"), "{}", explained.stdout);
    assert!(explained.stdout.contains("not finished: the document ended before"), "{}", explained.stdout);
    assert!(!explained.stdout.contains("waits for"), "{}", explained.stdout);
    assert!(place.docket(&["explain", "document", "good.txt"]).code(0).stdout.contains("succeeded"));
    // What failed for a lasting reason fails again; both documents are still reported once.
    place.docket(&["dlq", "replay", "--all", "--output", "out"]).code(1);
    let results = place.results("out/results.jsonl");
    assert_eq!(results.len(), 2);
    place.docket(&["dlq", "replay", "good.txt"]).code(2).says("not a dead letter");
}

#[test]
fn the_deadline_of_a_replayed_document_is_explained_as_it_counts() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", "spec:\n  deadline: 1h\n  stages:"));
    place.write("empty.txt", "");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "empty.txt"]).code(1);
    let deadline = || {
        let explained = place.docket(&["explain", "document", "empty.txt", "--format", "jsonl"]).code(0);
        explained.lines()[0]["deadline"].as_str().expect("a time").to_owned()
    };
    let first = deadline();
    place.docket(&["dlq", "replay", "empty.txt"]).code(1);
    assert_ne!(deadline(), first, "it starts anew");
}

#[test]
fn the_time_of_a_failed_attempt_counts() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("empty.txt", "");
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "empty.txt", "--format", "jsonl"]).code(1);
    let stage = &ran.lines()[0]["stages"]["parse"];
    assert_eq!(stage["outcome"], "failed");
    assert!(stage["seconds"].as_f64() > Some(0.0), "{stage}");
}

#[test]
fn help_names_every_command_and_exit_code() {
    let place = Place::new();
    let ran = place.docket(&["--help"]).code(0);
    for word in ["run", "validate", "ingest", "query", "dlq", "explain", "model", "bench", "Exit codes"] {
        assert!(ran.stdout.contains(word), "{word} is not in:\n{}", ran.stdout);
    }
}
