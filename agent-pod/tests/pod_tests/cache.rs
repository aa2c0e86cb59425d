//! The cache of stage results: where results are kept, for how long, and stages that leave it alone.

use serde_json::{Value, json};

use crate::support::{PLAIN, Place, changed, models};

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

#[test]
fn vectors_are_kept_for_a_time_of_their_own() {
    if models(&["minilm"]).is_none() {
        return;
    }
    let place = Place::new();
    let file = changed(
        PLAIN,
        &[
            ("spec: {concurrency: 4}", "spec: {models: [{name: m, task: Embed, source: {catalog: minilm}}]}"),
            (
                "  - {name: head,",
                "  - {name: vectors, pool: readers, after: [parse], embed: {model: m}}\n  - {name: head,",
            ),
        ],
    );
    place.write("a.txt", "some text");
    let cached = |cache: &str| {
        place.write(
            "pipeline.yaml",
            changed(&file, &[("spec:\n  stages:", &format!("spec:\n  cache: {cache}\n  stages:"))]),
        );
        let stages = &place.result("a.txt")["stages"];
        ["parse", "vectors"].map(|stage| stages[stage]["cached"].clone())
    };
    assert_eq!(cached("{levels: [Disk]}"), [false, false]);
    assert_eq!(cached("{levels: [Disk]}"), [true, true]);
    assert_eq!(cached("{levels: [Disk], exact: {ttl: 1ms}}"), [false, true]);
    assert_eq!(cached("{levels: [Disk], embeddings: {ttl: 1ms}}"), [true, false]);
}

#[test]
fn warming_leaves_results_in_the_cache_and_nothing_else() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/a.txt", "the same text");
    let warm = ["cache", "warm", "-f", "pipeline.yaml", "--input", "in", "--format", "json"];
    let summary: Value = serde_json::from_str(&place.docket(&warm).code(0).stdout).expect("JSON");
    assert_eq!((&summary["documents"]["succeeded"], &summary["cache"]["computed"]), (&json!(1), &json!(1)));
    place.docket(&["dlq", "list"]).code(2).says("nothing has run");
    let line = &place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"]).code(0).lines()[0];
    assert_eq!(
        (&line["stages"]["parse"]["cached"], &line["stages"]["parse"]["cacheLevel"]),
        (&json!(true), &json!("disk"))
    );
    // A run that was there stays the last one, with what it gave up.
    place.write("empty.txt", "");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "empty.txt"]).code(1);
    place.docket(&warm).code(0);
    let letters = place.docket(&["dlq", "list", "--format", "jsonl"]).code(0).lines();
    assert_eq!((letters.len(), &letters[0]["document"]), (1, &json!("empty.txt")));
    place.write("bad/empty.txt", "");
    place.docket(&["cache", "warm", "-f", "pipeline.yaml", "--input", "bad"]).code(1);
    assert_eq!(place.docket(&["dlq", "list", "--format", "jsonl"]).code(0).lines().len(), 1);
}

#[test]
fn what_cannot_be_warmed_is_refused() {
    let place = Place::new();
    place.write("a.txt", "text");
    let refuse = |file: String, why: &str| {
        place.write("pipeline.yaml", file);
        place.docket(&["cache", "warm", "-f", "pipeline.yaml", "--input", "a.txt"]).code(2).says(why);
    };
    for levels in ["[Memory]", "[]"] {
        refuse(with_cache(&format!("{{levels: {levels}}}")), "keep nothing that outlives this process");
    }
    refuse(changed(PLAIN, &[("spec:\n  stages:", "spec:\n  suspend: true\n  stages:")]), "is suspended");
    let results = "spec:\n  results: {table: {uri: kept}}\n  stages:";
    refuse(changed(PLAIN, &[("spec:\n  stages:", results)]), "writes results");
    let approve = "  - {name: sign, pool: readers, after: [parse], approve: {reason: why}}\n  - {name: head,";
    refuse(changed(PLAIN, &[("  - {name: head,", approve)]), "asks a person");
    let adds = changed(
        PLAIN,
        &[
            ("spec: {concurrency: 4}", "spec: {models: [{name: m, task: Embed, source: {catalog: minilm}}]}"),
            ("spec:\n  stages:", "spec:\n  knowledge: [{name: texts, embedder: m}]\n  stages:"),
            (
                "  - {name: head,",
                "  - {name: add, pool: readers, after: [parse], embed: {knowledge: texts}}\n  - {name: head,",
            ),
        ],
    );
    refuse(adds, "adds documents to a knowledge base");
}

#[test]
fn explain_says_which_level_answered() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("a.txt", "some text");
    place.result("a.txt");
    place.result("a.txt");
    let explained = place.docket(&["explain", "document", "a.txt"]).code(0).stdout;
    assert!(explained.contains("from the cache (disk)"), "{explained}");
}

/// Writes a few words about a question; one document after another, so that a later one can be answered by an earlier one.
const ASKING: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  concurrency: 1
  models:
  - {name: minilm, task: Embed, source: {catalog: minilm}}
  - {name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 1024}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: asking}
spec:
  cache: {semantic: {scope: [jurisdiction], shadow: 0}}
  stages:
  - name: answer
    pool: writers
    generate:
      prompt: "{% if document.metadata.short %}In one word.{% else %}In a sentence.{% endif %} {{ document.text }}"
      maxTokens: 4
"#;

const ASKING_MODELS: [&str; 2] = ["minilm", "smollm2-135m-instruct"];

/// Works questions in their order; which level answered each, `None` where the work was done.
fn levels(place: &Place, questions: &[(&str, Value)]) -> Vec<Option<String>> {
    let line = |(n, (text, metadata)): (usize, &(&str, Value))| json!({"id": n.to_string(), "text": text, "metadata": metadata});
    let lines: Vec<String> = questions.iter().enumerate().map(|question| line(question).to_string()).collect();
    place.write("questions.jsonl", lines.join("\n"));
    let run = ["run", "-f", "pipeline.yaml", "--input", "questions.jsonl", "--output", "out", "--format", "jsonl"];
    let mut lines = place.docket(&run).code(0).lines();
    lines.sort_by_key(|line| line["document"].as_str().and_then(|id| id.parse::<usize>().ok()));
    let level = |line: &Value| {
        let stage = &line["stages"]["answer"];
        assert_eq!(stage["cached"], stage["cacheLevel"].is_string(), "{stage}");
        assert_eq!(line["tokens"]["completion"] == 0, stage["cached"] == true, "{line}");
        stage["cacheLevel"].as_str().map(str::to_owned)
    };
    lines.iter().map(level).collect()
}

fn summary(place: &Place) -> Value {
    serde_json::from_str(&std::fs::read_to_string(place.path("out/summary.json")).expect("a summary")).expect("JSON")
}

#[test]
fn nearly_equal_prompts_of_one_scope_answer_each_other() {
    if models(&ASKING_MODELS).is_none() {
        return;
    }
    let place = Place::new();
    place.write("pipeline.yaml", ASKING);
    let (german, austrian) = (json!({"jurisdiction": "DE"}), json!({"jurisdiction": "AT"}));
    let long = "The lease of the house is signed by both of them and it is kept in the drawer of the desk. ".repeat(20);
    let longer = format!("{long} ");
    let questions = [
        ("What is the capital city of France?", &german, None),
        ("Which city is the capital of France?", &german, Some("semantic")),
        ("What is the capital city of France?", &german, Some("memory")),
        ("What is the capital city of Spain?", &german, None),
        ("WHAT is the capital city of France ?", &austrian, None),
        ("What is the capital city of France??", &json!({}), None),
        ("What is  the capital city of France ?", &json!({"jurisdiction": null}), None),
        ("Is the rent of 500 due in May?", &german, None),
        ("is the rent of 500 due in May", &german, Some("semantic")),
        ("Is the rent of 600 due in May?", &german, None),
        ("Is the rent of 500 not due in May?", &german, None),
        ("What is the  capital city of France?", &json!({"jurisdiction": "DE", "short": true}), None),
        (long.as_str(), &german, None),
        (longer.as_str(), &german, None),
    ];
    let asked: Vec<(&str, Value)> = questions.iter().map(|(text, metadata, _)| (*text, (*metadata).clone())).collect();
    let expected: Vec<Option<String>> = questions.iter().map(|(_, _, level)| level.map(str::to_owned)).collect();
    let found = levels(&place, &asked);
    for ((text, metadata, expected), found) in questions.iter().zip(&found) {
        assert_eq!(found.as_deref(), *expected, "{text} {metadata}");
    }
    assert_eq!(found, expected);
    let semantic = &summary(&place)["cache"]["semantic"];
    // Two without the field, two too long.
    assert_eq!(
        (&semantic["hits"], &semantic["skipped"], &semantic["checked"]),
        (&json!(2), &json!(4), &json!(0)),
        "{semantic}"
    );
    // The folder remembers, and the exact part was given none of what another prompt was answered with.
    let kept = |level: Option<&str>| level.map(str::to_owned);
    let again = |text: &str| levels(&place, &[(text, german.clone())]);
    assert_eq!(again("WHAT is the capital city of France?"), [kept(Some("semantic"))]);
    assert_eq!(again("Which city is the capital of France?"), [kept(Some("semantic"))]);
    assert_eq!(again("What is the capital city of France?"), [kept(Some("disk"))]);
    let stats = place.docket(&["cache", "stats", "--format", "json"]).code(0).stdout;
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["disk"]["semantic"]["entries"], 7, "{stats}");
    // Whoever asks for less gets less.
    for (country, old, new) in [
        ("Italy", "  cache: {semantic: {scope: [jurisdiction], shadow: 0}}\n", ""),
        ("Poland", "pool: writers\n    generate", "pool: writers\n    cache: Exact\n    generate"),
        ("Norway", "shadow: 0", "shadow: 0, similarity: 1"),
        ("Greece", "shadow: 0", "shadow: 0, ttl: 0ms"),
    ] {
        place.write("pipeline.yaml", changed(ASKING, &[(old, new)]));
        let one = format!("What is the capital city of {country}?");
        let other = format!("Which city is the capital of {country}?");
        let found = levels(&place, &[(&one, german.clone()), (&other, german.clone())]);
        assert_eq!(found, [None, None], "{new}");
    }
    place.docket(&["cache", "clear"]).code(0);
    place.write("pipeline.yaml", ASKING);
    assert_eq!(again("WHAT is the capital city of France?"), [None]);
}

#[test]
fn a_share_of_the_answers_is_checked_and_the_fresh_one_counts() {
    if models(&ASKING_MODELS).is_none() {
        return;
    }
    let place = Place::new();
    place.write("pipeline.yaml", changed(ASKING, &[("shadow: 0", "shadow: 1")]));
    let metadata = json!({"jurisdiction": "DE"});
    let asked = [
        "What is the capital city of France?",
        "WHAT is the capital city of France ?",
        "Which city is the capital of France?",
    ];
    let found = levels(&place, &asked.map(|text| (text, metadata.clone())));
    assert_eq!(found, [None, None, None], "all are worked");
    let semantic = summary(&place)["cache"]["semantic"].clone();
    assert_eq!((&semantic["hits"], &semantic["checked"]), (&json!(2), &json!(2)), "{semantic}");
    let (wrong, ratio) = (semantic["wrong"].as_u64().expect("a number"), semantic["wrongRatio"].as_f64());
    assert_eq!(ratio, Some(wrong as f64 / 2.0));
    let stats = place.docket(&["cache", "stats", "--format", "json"]).code(0).stdout;
    let checked = &serde_json::from_str::<Value>(&stats).expect("JSON")["checked"];
    assert_eq!((&checked["checked"], &checked["wrong"]), (&json!(2), &json!(wrong)));
    let table = place.docket(&["cache", "stats"]).code(0).stdout;
    assert!(table.contains("answers to nearly equal prompts: 2 checked"), "{table}");
}

#[test]
fn an_extract_stage_is_answered_by_nearly_the_same_text() {
    if models(&ASKING_MODELS).is_none() {
        return;
    }
    let place = Place::new();
    let (head, _) = ASKING.split_once("    generate:").expect("a stage that generates");
    let schema =
        "{type: object, additionalProperties: false, required: [city], properties: {city: {enum: ['yes', 'no']}}}";
    place.write("pipeline.yaml", format!("{head}    extract: {{schema: {schema}}}\n"));
    let metadata = json!({"jurisdiction": "DE"});
    let asked = ["How do I reset my password?", "How can I reset my password?", "What is the capital city of France?"];
    let found = levels(&place, &asked.map(|text| (text, metadata.clone())));
    assert_eq!(found, [None, Some("semantic".to_owned()), None]);
    let results = place.results("out/results.jsonl");
    let output = |id: &str| &results.iter().find(|line| line["document"] == id).expect("a result")["output"];
    assert_eq!(output("0"), output("1"));
}

#[test]
fn only_stages_that_write_can_be_answered_by_nearly_the_same() {
    let place = Place::new();
    let parse = "{name: parse, pool: readers,";
    place.write("pipeline.yaml", changed(PLAIN, &[(parse, &format!("{parse} cache: Semantic,"))]));
    place.docket(&["validate", "-f", "pipeline.yaml"]).code(2).says("only generate and extract");
    place.write("pipeline.yaml", with_cache("{semantic: {similarity: 0.2}}"));
    place.docket(&["validate", "-f", "pipeline.yaml"]).code(2).says("spec.cache.semantic.similarity");
}
