//! Wrong files and broken documents: a clear answer, nothing lost, the others go on.

use std::{fs::File, io::Write as _};

use serde_json::{Value, json};

use crate::support::{PLAIN, Place, Ran};

/// Runs the pipeline over a folder of bad documents and one good one; the reasons by document.
fn reasons(place: &Place) -> Vec<(String, String)> {
    place.write("pipeline.yaml", PLAIN);
    place.write("in/good.txt", "a good document");
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"]).code(1);
    let lines = ran.lines();
    let good = lines.iter().find(|line| line["document"] == "good.txt").expect("the good document");
    assert_eq!(good["outcome"], "succeeded");
    let bad = lines.iter().filter(|line| line["document"] != "good.txt");
    bad.map(|line| {
        assert_eq!(line["outcome"], "dead-lettered", "{line}");
        assert!(!line["deadLetter"]["message"].as_str().expect("a message").is_empty());
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (word(&line["document"]), word(&line["deadLetter"]["reason"]))
    })
    .collect()
}

#[track_caller]
fn check(name: &str, content: &[u8], reason: &str) {
    let place = Place::new();
    place.write(&format!("in/{name}"), content);
    assert_eq!(reasons(&place), [(name.to_owned(), reason.to_owned())]);
}

#[test]
fn an_empty_document_is_dead_lettered() {
    check("empty.txt", b"", "DocumentEmpty");
}

#[test]
fn a_binary_document_is_dead_lettered() {
    check("program.bin", &(0..=255).cycle().take(4096).collect::<Vec<u8>>(), "DocumentBinary");
}

#[test]
fn a_document_of_200_mib_is_refused_without_being_read() {
    let place = Place::new();
    place.write("in/large.txt", "");
    File::options()
        .write(true)
        .open(place.path("in/large.txt"))
        .and_then(|file| file.set_len(200 << 20))
        .expect("a large file");
    assert_eq!(reasons(&place), [("large.txt".to_owned(), "DocumentTooLarge".to_owned())]);
}

#[test]
fn a_dangling_link_is_unreadable() {
    let place = Place::new();
    place.write("in/other.txt", "other");
    std::fs::remove_file(place.path("in/other.txt")).expect("removed");
    std::os::unix::fs::symlink("nowhere.txt", place.path("in/link.txt")).expect("a link");
    assert_eq!(reasons(&place), [("link.txt".to_owned(), "DocumentUnreadable".to_owned())]);
}

#[test]
fn broken_lines_and_double_ids_are_dead_lettered_one_by_one() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write(
        "in.jsonl",
        "{\"id\": \"a\", \"text\": \"one\"}\nnot json\n{\"id\": \"a\", \"text\": \"two\"}\n{\"id\": \"b\"}\n",
    );
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in.jsonl", "--format", "jsonl"]).code(1);
    let mut ends: Vec<String> = ran
        .lines()
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["document"].as_str().unwrap_or_default(),
                line["deadLetter"]["reason"].as_str().unwrap_or("-")
            )
        })
        .collect();
    ends.sort();
    assert_eq!(ends, ["a -", "a#2 DuplicateId", "in.jsonl:2 InvalidLine", "in.jsonl:4 InvalidLine"]);
}

#[test]
fn invalid_utf8_is_read_with_exact_offsets_and_a_warning() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/latin.txt", b"caf\xe9 au lait");
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"]).code(0);
    let parse = &ran.lines()[0]["stages"]["parse"]["output"];
    assert_eq!(parse["textBytes"], 12);
    assert_eq!(parse["warnings"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_truncated_pdf_and_one_that_recurses_do_not_stop_the_others() {
    let place = Place::new();
    let recursive = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>endobj\ntrailer<</Root 1 0 R/Size 3>>\n%%EOF";
    place.write("in/recursive.pdf", recursive);
    place.write("in/truncated.pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog");
    assert_eq!(reasons(&place).len(), 2);
}

#[test]
fn a_zip_bomb_in_a_docx_is_refused() {
    let place = Place::new();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("word/document.xml", zip::write::SimpleFileOptions::default()).expect("an entry");
    for _ in 0..512 {
        archive.write_all(&vec![b' '; 1 << 20]).expect("bytes");
    }
    let bytes = archive.finish().expect("an archive").into_inner();
    assert!(bytes.len() < 1 << 20);
    place.write("in/bomb.docx", bytes);
    assert_eq!(reasons(&place).len(), 1);
}

#[track_caller]
fn refused(change: impl Fn(&str) -> String, words: &[&str]) {
    let place = Place::new();
    place.write("pipeline.yaml", change(PLAIN));
    place.write("a.txt", "text");
    let validated = place.docket(&["validate", "-f", "pipeline.yaml"]).code(2);
    for word in words {
        assert!(validated.stderr.contains(word), "\"{word}\" is not in:\n{}", validated.stderr);
    }
    assert!(validated.stderr.contains("pipeline.yaml:"), "no file and line in:\n{}", validated.stderr);
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt"]).code(2);
    assert_eq!(ran.stderr, validated.stderr);
    assert!(!place.path(".docket").exists(), "a refused file leaves no state");
}

#[test]
fn malformed_yaml_is_refused() {
    refused(|file| file.replace("spec:\n  stages:", "spec: [\n  stages:"), &[]);
}

#[test]
fn an_unknown_field_is_refused() {
    refused(|file| file.replace("concurrency: 4", "concurrencies: 4"), &["spec.concurrencies", "concurrency"]);
}

#[test]
fn a_cycle_is_refused() {
    refused(
        |file| file.replace("name: head, pool: readers, after: [parse]", "name: head, pool: readers, after: [both]"),
        &["head", "both"],
    );
}

#[test]
fn a_dangling_stage_is_refused() {
    refused(
        |file| file.replace("after: [head, size]", "after: [heda, size]"),
        &["spec.stages[3].after[0]", "heda", "head"],
    );
}

#[test]
fn a_dangling_pool_is_refused() {
    refused(
        |file| file.replace("{name: parse, pool: readers", "{name: parse, pool: reader"),
        &["spec.stages[0].pool", "reader"],
    );
}

#[test]
fn a_template_that_cannot_be_compiled_is_refused() {
    refused(|file| file.replace("| head(20) }}", "| head(20) }"), &["spec.stages[1].transform.template"]);
}

#[test]
fn a_missing_file_and_a_missing_input_are_usage_errors() {
    let place = Place::new();
    place.docket(&["validate", "-f", "nowhere.yaml"]).code(2).says("nowhere.yaml");
    place.write("pipeline.yaml", PLAIN);
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "nowhere"]).code(2).says("nowhere");
    place.docket(&["run", "-f", "pipeline.yaml"]).code(2).says("--input");
    place.docket(&["dlq", "list"]).code(2).says("state folder");
}

/// A pipeline that wants a model.
fn with_model(source: &str) -> String {
    let pools = format!("spec: {{concurrency: 4, models: [{{name: m, task: Embed, source: {source}}}]}}");
    let file = PLAIN.replace("spec: {concurrency: 4}", &pools);
    file.replace(
        "  - {name: head,",
        "  - {name: vectors, pool: readers, after: [parse], embed: {model: m}}\n  - {name: head,",
    )
}

#[test]
fn a_model_that_is_not_on_this_machine_is_named_with_the_command_that_gets_it() {
    let place = Place::new();
    place.write("pipeline.yaml", with_model("{catalog: minilm}"));
    place.write("a.txt", "text");
    let models = place.path("no-models");
    let models = models.to_str().expect("UTF-8");
    place
        .docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt", "--models", models])
        .code(2)
        .says("docket model pull minilm");
}

#[test]
fn a_model_that_the_catalogue_does_not_know_is_named() {
    let place = Place::new();
    place.write("pipeline.yaml", with_model("{catalog: minilmm}"));
    place.write("a.txt", "text");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt"]).code(2).says("minilmm");
}

#[test]
fn a_corrupt_model_file_is_refused_before_anything_runs() {
    let place = Place::new();
    place.write("model/model.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7fgarbage");
    place.write("model/tokenizer.json", b"{}");
    place.write("pipeline.yaml", with_model("{file: model}"));
    place.write("a.txt", "text");
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt"]);
    assert!(matches!(ran.code, Some(2 | 3)), "{:?} {}", ran.code, ran.stderr);
    assert!(ran.stderr.contains("model"), "{}", ran.stderr);
}

#[test]
fn a_full_disk_fails_the_run_and_loses_nothing() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    for n in 0..20 {
        // Random bytes as text: compression does not save the day.
        let text: String = blake3::Hasher::new_derive_key(&n.to_string()).finalize_xof_text(200_000);
        place.write(&format!("in/{n:02}.txt"), text);
    }
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out", "--limit", "5"]).code(0);
    // No file may grow beyond 96 KiB from here on: writing fails as on a full disk.
    let run = "run -f pipeline.yaml --input in --output out --resume";
    let script = format!("ulimit -f 96; trap '' XFSZ; exec {} {run}", env!("CARGO_BIN_EXE_docket"));
    let output =
        std::process::Command::new("bash").args(["-c", &script]).current_dir(place.path("")).output().expect("bash");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let ran = place
        .docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out", "--resume", "--format", "jsonl"])
        .code(0);
    assert_eq!(ran.lines().len(), 20);
    assert_eq!(place.results("out/results.jsonl").len(), 20);
}

/// Text of so many hexadecimal digits.
trait FinalizeText {
    fn finalize_xof_text(&self, digits: usize) -> String;
}

impl FinalizeText for blake3::Hasher {
    fn finalize_xof_text(&self, digits: usize) -> String {
        let mut bytes = vec![0; digits / 2];
        self.finalize_xof().fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Lines of which one is a document and three cannot be taken.
fn with_refused(place: &Place) {
    place.write("in.jsonl", "{\"id\": \"a\", \"text\": \"one\"}\n{\"id\": \"a\", \"text\": \"two\"}\n{\"id\": \"a#2\", \"text\": \"three\"}\n{\"id\": \"gone\", \"path\": \"nowhere.txt\"}\n");
}

fn ends(ran: &Ran) -> Vec<String> {
    let mut ends: Vec<String> = ran
        .lines()
        .iter()
        .map(|line| {
            let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", word(&line["document"]), word(&line["outcome"]), word(&line["deadLetter"]["reason"]))
        })
        .collect();
    ends.sort();
    ends
}

const REFUSED: [&str; 4] = [
    "a succeeded -",
    "a#2 dead-lettered DuplicateId",
    "a#2#2 dead-lettered DuplicateId",
    "gone dead-lettered DocumentUnreadable",
];

#[test]
fn a_refused_document_stays_refused_where_the_first_stage_is_optional_or_the_pipeline_suspended() {
    let place = Place::new();
    with_refused(&place);
    place.write(
        "pipeline.yaml",
        PLAIN.replace("{name: parse, pool: readers,", "{name: parse, pool: readers, optional: true,"),
    );
    let run = ["run", "-f", "pipeline.yaml", "--input", "in.jsonl", "--format", "jsonl"];
    let ran = place.docket(&run).code(1);
    assert_eq!(ends(&ran), REFUSED);
    for line in ran.lines().iter().filter(|line| line["outcome"] == "dead-lettered") {
        let parse = &line["stages"]["parse"];
        assert_eq!((&parse["outcome"], &parse["attempts"]), (&json!("failed"), &json!(0)), "{line}");
    }
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", "spec:\n  suspend: true\n  stages:"));
    place.docket(&run).code(1);
    place.write("pipeline.yaml", PLAIN);
    assert_eq!(ends(&place.docket(&[&run[..], &["--resume"]].concat()).code(1)), REFUSED);
    place.docket(&["dlq", "replay", "gone"]).code(2).says("mend the input");
    assert_eq!(place.docket(&["dlq", "list", "--format", "jsonl"]).code(0).lines().len(), 3);
}

#[test]
fn a_pipe_in_the_input_stops_nothing() {
    let place = Place::new();
    place.write("in/b.txt", "b");
    let made = std::process::Command::new("mkfifo").arg(place.path("in/a.pipe")).status().expect("mkfifo");
    assert!(made.success());
    place.write("pipeline.yaml", PLAIN);
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"]).code(1);
    assert_eq!(ends(&ran), ["a.pipe dead-lettered DocumentUnreadable", "b.txt succeeded -"]);
}

#[test]
fn a_run_that_cannot_start_leaves_the_last_one_as_it_was() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/empty.txt", "");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out"]).code(1);
    place.write("pipeline.yaml", with_model("{catalog: minilm}"));
    let models = place.path("no-models");
    let models = models.to_str().expect("UTF-8");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out", "--models", models]).code(2);
    assert_eq!(place.results("out/results.jsonl").len(), 1);
    assert_eq!(place.docket(&["dlq", "list", "--format", "jsonl"]).code(0).lines().len(), 1);
}

#[test]
fn an_output_that_is_a_file_is_refused_before_anything_begins() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/a.txt", "a");
    place.write("out", "precious");
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out"]);
    ran.code(2).says("--output out: this is not a folder");
    assert!(!place.path(".docket").exists());
}

#[test]
fn labels_that_no_head_can_learn_from_are_refused_with_their_lines() {
    let place = Place::new();
    let heads = "spec:\n  heads:\n  - {name: kind, kind: Classifier, embedder: minilm}\n  - {name: worth, kind: Quality, embedder: minilm}\n  - {name: odd, kind: Anomaly, embedder: minilm}\n  stages:";
    let models = "spec: {concurrency: 4, models: [{name: minilm, task: Embed, source: {catalog: minilm}}]}";
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", heads).replace("spec: {concurrency: 4}", models));
    place.write("in/a.txt", "a");
    let labels = [
        r#"{"document": "a.txt", "head": "kind", "label": "good"}"#,
        r#"{"document": "a.txt", "head": "kind", "score": 0.5}"#,
        r#"{"document": "a.txt", "head": "worth", "label": "good"}"#,
        r#"{"document": "a.txt", "head": "odd", "label": "good"}"#,
        r#"{"document": "a.txt", "head": "none", "label": "good"}"#,
        r#"{"document": "a.txt", "head": "kind"}"#,
    ];
    place.write("labels.jsonl", labels.join("\n"));
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--feedback", "labels.jsonl"]).code(2);
    let said = |line: usize, words: &str| {
        let expected = format!("labels.jsonl:{line}: {words}");
        assert!(ran.stderr.contains(&expected), "\"{expected}\" is not in:\n{}", ran.stderr);
    };
    said(2, "head \"kind\" is a Classifier: it learns from \"label\"");
    said(3, "head \"worth\" is of kind Quality: it learns from \"score\"");
    said(4, "head \"odd\" is of kind Anomaly");
    said(5, "pipeline \"plain\" has no head \"none\"");
    said(6, "set exactly one of \"label\" and \"score\"");
    assert!(!ran.stderr.contains("labels.jsonl:1:"));
}
