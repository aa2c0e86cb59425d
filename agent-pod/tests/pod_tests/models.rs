//! The whole way with real models: ingest, query, classify, retrieve, generate, extract, cite.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Place, Ran, models};

const MODELS: &[&str] = &["minilm", "smollm2-135m-instruct"];

const PIPELINE: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: agents}
spec:
  models:
  - {name: minilm, task: Embed, source: {catalog: minilm}}
  - {name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 1024}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: review}
spec:
  knowledge: [{name: texts, embedder: minilm, chunking: {tokens: 64}}]
  heads:
  - {name: kind, kind: Classifier, embedder: minilm}
  - {name: odd, kind: Anomaly, embedder: minilm}
  stages:
  - {name: parse, pool: agents, parse: {}}
  - {name: label, pool: agents, after: [parse], classify: {head: kind}}
  - {name: anomaly, pool: agents, after: [parse], score: {head: odd}}
  - {name: vectors, pool: agents, after: [parse], embed: {model: minilm}}
  - name: facts
    pool: agents
    after: [parse]
    extract:
      prompt: "{{ document.text | head(400) }}\n\nWhat is this about?"
      maxTokens: 60
      schema: {type: object, additionalProperties: false, required: [topic], properties: {topic: {type: string, maxLength: 40}}}
  - {name: similar, pool: agents, after: [label], retrieve: {knowledge: texts, query: "{{ document.text | head(200) }}", topK: 3}}
  - name: draft
    pool: agents
    after: [similar, facts]
    generate: {role: Writing, prompt: "{{ document.text | head(400) }}\n\nRepeat the first sentence.", maxTokens: 40}
  - name: cite
    pool: agents
    after: [draft]
    cite: {text: "{{ document.text | head(300) }}", sources: [similar], minSimilarity: 0.5}
"#;

const TEXTS: [(&str, &str, &str); 6] = [
    (
        "cats1.txt",
        "cats",
        "The cat sat on the warm stone wall and purred. Cats sleep for most of the day, and they hunt mice at night.",
    ),
    (
        "cats2.txt",
        "cats",
        "A kitten learns to hunt by playing with its mother. Every cat cleans its fur with its rough tongue.",
    ),
    ("cats3.txt", "cats", "My cat follows me through the garden. It climbs the old apple tree and watches the birds."),
    (
        "tax1.txt",
        "tax",
        "Income tax is due at the end of the quarter. The authority charges interest on late payments.",
    ),
    ("tax2.txt", "tax", "The company must file its tax return before May. Deductions need receipts from the supplier."),
    ("tax3.txt", "tax", "Value added tax is collected by the seller. Small businesses may be exempt from the tax."),
];

/// The texts, their labels and the pipeline; `None` where there are no models.
fn prepared() -> Option<Place> {
    models(MODELS)?;
    let place = Place::new();
    place.write("pipeline.yaml", PIPELINE);
    for (name, _, text) in TEXTS {
        place.write(&format!("in/{name}"), text);
    }
    let line = |(name, label, _): &(&str, &str, &str)| {
        let split = if name.contains('3') { "test" } else { "train" };
        format!("{{\"document\": \"{name}\", \"head\": \"kind\", \"label\": \"{label}\", \"split\": \"{split}\"}}")
    };
    place.write("labels.jsonl", TEXTS.iter().map(line).collect::<Vec<_>>().join("\n"));
    Some(place)
}

fn ingest(place: &Place) -> Value {
    let ran = place
        .docket(&["ingest", "-f", "pipeline.yaml", "--knowledge", "texts", "--input", "in", "--format", "json"])
        .code(0);
    ran.lines().remove(0)
}

fn run(place: &Place) -> Ran {
    place
        .docket(&[
            "run",
            "-f",
            "pipeline.yaml",
            "--input",
            "in",
            "--feedback",
            "labels.jsonl",
            "--format",
            "jsonl",
            "--output",
            "out",
        ])
        .code(0)
}

#[test]
fn ingesting_twice_changes_nothing_and_queries_find_the_place() {
    let Some(place) = prepared() else { return };
    let first = ingest(&place);
    assert_eq!(first["documents"], 6);
    let second = ingest(&place);
    assert_eq!(second["unchanged"], 6);
    assert_eq!(second["chunksInTable"], first["chunksInTable"]);
    assert_eq!(second["embedded"], 0);
    place.write("queries.jsonl", "{\"id\": \"q1\", \"text\": \"when must the tax return be filed?\"}\n{\"id\": \"q2\", \"text\": \"what do kittens play?\"}\n");
    let hits = place.docket(&[
        "query",
        "-f",
        "pipeline.yaml",
        "--knowledge",
        "texts",
        "--queries",
        "queries.jsonl",
        "--format",
        "jsonl",
    ]);
    let hits = hits.code(0).lines();
    let first =
        |query: &str| hits.iter().find(|hit| hit["query"] == query && hit["rank"] == 1).expect("a first hit").clone();
    assert_eq!(first("q1")["document"], "tax2.txt");
    assert_eq!(first("q2")["document"], "cats2.txt");
    for hit in &hits {
        let source =
            fs::read_to_string(place.path("in").join(hit["document"].as_str().expect("a name"))).expect("the source");
        assert_eq!(hit["text"], range(&source, hit), "a hit names its place");
    }
}

#[test]
fn labels_are_learned_answers_match_their_schema_and_citations_name_their_place() {
    let Some(place) = prepared() else { return };
    ingest(&place);
    let lines = run(&place).lines();
    assert_eq!(lines.len(), 6);
    let mut citations = 0;
    for line in &lines {
        let stages = &line["stages"];
        let label = TEXTS.iter().find(|(name, _, _)| line["document"] == *name).expect("one of the texts").1;
        assert_eq!(stages["label"]["output"]["label"], label, "{}", line["document"]);
        let score = stages["anomaly"]["output"]["score"].as_f64().expect("a score");
        assert!((0.0..=1.0).contains(&score));
        assert!(stages["facts"]["output"]["topic"].is_string(), "{}", stages["facts"]["output"]);
        assert_eq!(stages["vectors"]["output"]["dimensions"], 384);
        assert!(stages["draft"]["output"]["text"].is_string());
        assert!(line["tokens"]["completion"].as_u64() > Some(0));
        for citation in line["citations"].as_array().expect("citations") {
            let source = fs::read_to_string(place_of(&place, citation)).expect("the source");
            assert_eq!(citation["text"], range(&source, citation), "a citation names its place");
            citations += 1;
        }
    }
    assert!(citations >= 6, "a text that repeats its source is supported by it");
    let summary: Value =
        serde_json::from_str(&fs::read_to_string(place.path("out/summary.json")).expect("a summary")).expect("JSON");
    let head = &summary["heads"].as_array().expect("heads")[0];
    assert_eq!(head["accuracy"][0]["heldOut"], 2);
    // Without labels the heads of the first run are used again.
    let again = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"]).code(0).lines();
    assert!(again.iter().all(|line| line["stages"]["label"]["cached"] == true));
}

fn range<'a>(source: &'a str, place: &Value) -> &'a str {
    let offset = |key: &str| usize::try_from(place[key].as_u64().expect("an offset")).expect("small");
    &source[offset("start")..offset("end")]
}

fn place_of(place: &Place, citation: &Value) -> std::path::PathBuf {
    place.path("").join(Path::new(citation["source"].as_str().expect("a source")))
}

#[test]
fn a_head_that_was_never_trained_says_how_to_train_it() {
    let Some(place) = prepared() else { return };
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in/cats1.txt", "--format", "jsonl"]).code(1);
    let letter = &ran.lines()[0]["deadLetter"];
    assert_eq!(letter["reason"], "HeadUntrained");
    assert!(letter["message"].as_str().expect("a message").contains("--feedback"));
}

#[test]
fn a_prompt_longer_than_the_context_is_a_dead_letter_that_names_both_lengths() {
    let Some(place) = prepared() else { return };
    place.write(
        "pipeline.yaml",
        PIPELINE.replace("document.text | head(400) }}\\n\\nRepeat", "document.text }}\\n\\nRepeat"),
    );
    place.write("in/long.txt", "A cat is a cat and nothing else. ".repeat(400));
    let ran = place
        .docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--feedback", "labels.jsonl", "--format", "jsonl"])
        .code(1);
    let lines = ran.lines();
    let long = lines.iter().find(|line| line["document"] == "long.txt").expect("the long one");
    assert_eq!(long["deadLetter"]["stage"], "draft");
    assert!(long["deadLetter"]["message"].as_str().expect("a message").contains("1024"), "{}", long["deadLetter"]);
    assert_eq!(lines.iter().filter(|line| line["outcome"] == "succeeded").count(), 6);
}

/// One document through stages of the pool `agents`; what is printed about it.
fn one_document(stages: &str) -> Ran {
    let place = Place::new();
    let (pool, _) = PIPELINE.split_once("---").expect("two resources");
    let head = "---\napiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: counted}\nspec:\n";
    place.write("pipeline.yaml", format!("{pool}{head}{stages}"));
    place.write("a.txt", TEXTS[0].2);
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "jsonl", "--output", "out"])
}

#[test]
fn tokens_of_all_rounds_count() {
    if models(MODELS).is_none() {
        return;
    }
    let rounds = |more: u64| {
        let ran = one_document(&format!(
            r#"
  quality: {{stage: judge, threshold: 0.5, maxRounds: {more}, restartAt: judge}}
  stages:
  - name: judge
    pool: agents
    cache: None
    score: {{path: score}}
    extract: {{prompt: "How good is this?", maxTokens: 40, schema: {{type: object, additionalProperties: false, required: [score], properties: {{score: {{enum: [0.1]}}}}}}}}
"#
        ));
        let line = ran.code(0).lines().remove(0);
        assert_eq!(line["stages"]["judge"]["rounds"], 1 + more, "{line}");
        let count = |kind: &str| line["tokens"][kind].as_u64().expect("a number");
        (count("prompt"), count("completion"))
    };
    let (read, written) = rounds(0);
    assert!(read > 0 && written > 0);
    assert_eq!(rounds(2), (3 * read, 3 * written));
}

#[test]
fn labels_of_unknown_documents_are_named_and_teach_nothing() {
    let Some(place) = prepared() else { return };
    place.write("labels.jsonl", r#"{"document": "typo.txt", "head": "kind", "label": "cats"}"#);
    let run =
        ["run", "-f", "pipeline.yaml", "--input", "in/cats1.txt", "--feedback", "labels.jsonl", "--format", "jsonl"];
    let ran = place.docket(&run).code(1).says("labels.jsonl:1 (\"typo.txt\")").says("has nothing to learn from");
    assert_eq!(ran.lines()[0]["deadLetter"]["reason"], "HeadUntrained");
}

#[test]
fn pulling_asks_the_mirror_and_ends_at_a_signal() {
    // A mirror that takes the connection and never answers.
    let mirror = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", mirror.local_addr().expect("it is bound"));
    let place = Place::new();
    let mut pulling = place
        .command(&["model", "pull", "smollm2-135m-instruct"])
        .env("DOCKET_MODELS", place.path("models"))
        .env("HF_ENDPOINT", url)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("docket starts");
    let _asked = mirror.accept().expect("it asks the mirror");
    let pid = pulling.id().to_string();
    let told = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill starts");
    assert!(told.success());
    // By itself it would end with the time-out of the connection, with another status.
    assert_eq!(pulling.wait().expect("it ends").code(), Some(143));
}
