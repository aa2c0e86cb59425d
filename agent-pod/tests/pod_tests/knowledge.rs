//! Knowledge bases, what is retrieved and cited from them, and heads: the fields of each and what they change.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Place, changed, models};

const PIPELINE: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec:
  models:
  - {name: minilm, task: Embed, source: {catalog: minilm}}
  - {name: second, task: Embed, source: {catalog: minilm}, contextTokens: 32}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: searching}
spec:
  knowledge: [{name: texts, embedder: minilm, chunking: {tokens: 16}}]
  heads: [{name: worth, kind: Quality, embedder: minilm}]
  stages:
  - {name: parse, pool: readers, parse: {}}
  - {name: add, pool: readers, after: [parse], embed: {knowledge: texts}}
  - {name: find, pool: readers, after: [add], retrieve: {knowledge: texts, query: "when is the tax due? quarter"}}
"#;

const TEXTS: [(&str, &str); 2] = [
    (
        "cats.txt",
        "The cat sat on the warm stone wall and purred. Cats sleep for most of the day. They hunt mice at night and bring \
         them home. A kitten learns to hunt by playing with its mother. Every cat cleans its fur with its rough tongue.",
    ),
    (
        "tax.txt",
        "Income tax is due at the end of the quarter. The authority charges interest on late payments. The company must \
         file its tax return before May. Deductions need receipts from the supplier.",
    ),
];

/// The texts and a changed pipeline; `None` where there is no model.
fn prepared(changes: &[(&str, &str)]) -> Option<Place> {
    models(&["minilm"])?;
    let place = Place::new();
    place.write("pipeline.yaml", changed(PIPELINE, changes));
    TEXTS.iter().for_each(|(name, text)| drop(place.write(&format!("in/{name}"), text)));
    Some(place)
}

fn ingest(place: &Place) -> Value {
    let command = ["ingest", "-f", "pipeline.yaml", "--knowledge", "texts", "--input", "in", "--format", "json"];
    place.docket(&command).code(0).lines().remove(0)
}

/// The text's result, after everything was ingested.
fn result(changes: &[(&str, &str)], text: &str) -> Option<Value> {
    let place = prepared(changes)?;
    ingest(&place);
    Some(place.result(&format!("in/{text}")))
}

fn hits(line: &Value) -> Vec<Value> {
    line["stages"]["find"]["output"]["hits"].as_array().unwrap_or_else(|| panic!("no hits: {line}")).clone()
}

#[test]
fn chunking_decides_the_length_of_chunks_and_what_they_share() {
    let chunks = |chunking: &str| -> Option<(u64, Vec<(u64, u64)>)> {
        let place = prepared(&[("chunking: {tokens: 16}", &format!("chunking: {chunking}"))])?;
        let count = ingest(&place)["chunksInTable"].as_u64().expect("a number");
        let query =
            ["query", "-f", "pipeline.yaml", "--knowledge", "texts", "tax", "--format", "jsonl", "--top-k", "100"];
        let hits = place.docket(&query).code(0).lines();
        let place = |hit: &Value| (hit["start"].as_u64().expect("start"), hit["end"].as_u64().expect("end"));
        let mut places: Vec<_> = hits.iter().filter(|hit| hit["document"] == "tax.txt").map(place).collect();
        places.sort_unstable();
        Some((count, places))
    };
    let Some((short, apart)) = chunks("{tokens: 16}") else { return };
    assert!(apart.is_sorted_by(|left, right| left.1 <= right.0), "they share nothing: {apart:?}");
    let Some((_, shared)) = chunks("{tokens: 16, overlap: 8}") else { return };
    assert!(shared.windows(2).any(|pair| pair[1].0 < pair[0].1), "each begins in the one before: {shared:?}");
    let Some((usual, _)) = chunks("{}") else { return };
    assert!(short > usual && usual == 2, "{short} chunks of 16 tokens, {usual} of 128");
}

#[test]
fn a_chunk_longer_than_its_embedder_reads_is_refused() {
    let Some(place) = prepared(&[("chunking: {tokens: 16}", "chunking: {tokens: 512}")]) else { return };
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in"]).code(2);
    ran.says("chunking.tokens is 512").says("reads at most 254").says("texts");
}

#[test]
fn a_changed_chunking_cuts_documents_anew() {
    let Some(place) = prepared(&[]) else { return };
    let first = ingest(&place)["chunksInTable"].as_u64();
    assert_eq!(ingest(&place)["unchanged"], 2);
    place.write("pipeline.yaml", changed(PIPELINE, &[("chunking: {tokens: 16}", "chunking: {tokens: 64}")]));
    let second = ingest(&place);
    assert_eq!(second["unchanged"], 0);
    assert!(second["chunksInTable"].as_u64() < first, "{second}");
}

#[test]
fn a_knowledge_base_lies_where_its_uri_says() {
    for (uri, folder) in
        [("", ".docket/knowledge"), ("uri: default,", ".docket/knowledge"), ("uri: library,", "library")]
    {
        let Some(place) = prepared(&[("embedder: minilm, chunking", &format!("embedder: minilm, {uri} chunking"))])
        else {
            return;
        };
        ingest(&place);
        for known in [".docket/knowledge", "library"] {
            assert_eq!(place.path(known).join("texts.lance").exists(), known == folder, "{known} with \"{uri}\"");
        }
    }
}

#[test]
fn a_knowledge_base_at_an_address_is_refused() {
    let place = Place::new();
    place.write(
        "pipeline.yaml",
        changed(PIPELINE, &[("embedder: minilm, chunking", "embedder: minilm, uri: 's3://texts', chunking")]),
    );
    place.docket(&["validate", "-f", "pipeline.yaml"]).code(2).says("spec.knowledge[0].uri");
}

#[test]
fn an_embed_stage_adds_its_document_to_the_knowledge_base_that_it_names() {
    let Some(place) = prepared(&[]) else { return };
    let line = place.result("in/tax.txt");
    assert_eq!(line["stages"]["add"]["output"]["unchanged"], false, "{line}");
    let found: BTreeSet<String> = hits(&line).iter().map(|hit| hit["document"].to_string()).collect();
    assert_eq!(found.len(), 1, "only what was added is there: {found:?}");
    assert_eq!(place.result("in/tax.txt")["stages"]["add"]["output"]["unchanged"], true, "a second time adds nothing");
}

#[test]
fn an_embed_stage_uses_the_model_that_it_names_and_cuts_to_its_length() {
    let vectors =
        |model: &str| result(&[("embed: {knowledge: texts}", &format!("embed: {{model: {model}}}"))], "cats.txt");
    let chunks = |line: &Value| line["stages"]["add"]["output"]["chunks"].as_array().expect("chunks").clone();
    let (Some(first), Some(second)) = (vectors("minilm"), vectors("second")) else { return };
    assert_ne!(first["stages"]["add"]["output"]["model"], second["stages"]["add"]["output"]["model"]);
    assert_eq!(chunks(&first).len(), 1, "128 tokens hold the whole text");
    assert!(chunks(&second).len() > 1, "contextTokens 32");
    assert!(chunks(&second).iter().all(|chunk| chunk["tokens"].as_u64() <= Some(30)), "two more tokens frame a text");
}

#[test]
fn a_retrieve_stage_finds_as_many_as_it_asks_for_by_the_steps_it_names() {
    let with = |fields: &str| Some(hits(&result(&[("quarter\"}", &format!("quarter\", {fields}}}"))], "tax.txt")?));
    let Some(usual) = with("topK: 10") else { return };
    assert!(usual.len() > 3, "{usual:?}");
    assert_eq!(with("topK: 3").expect("models").len(), 3);
    let words = with("steps: [FullText]").expect("models");
    assert!(
        !words.is_empty() && words.iter().all(|hit| hit["document"] == "tax.txt"),
        "no cat has these words: {words:?}"
    );
    let near = with("steps: [Ann]").expect("models");
    assert!(near.iter().any(|hit| hit["document"] == "cats.txt"), "every chunk is at some distance: {near:?}");
    assert_ne!(usual[0]["score"], near[0]["score"], "ranks are fused, distances are not");
}

#[test]
fn citations_need_a_source_and_enough_similarity() {
    const CLAIMS: &str = "The cat sat on the warm stone wall and purred. Income tax is due at the end of the quarter.";
    let cited = |fields: &str| {
        let stage = format!("  - {{name: cite, pool: readers, after: [find], cite: {{text: '{CLAIMS}', {fields}}}}}\n");
        let place = prepared(&[])?;
        place.write("pipeline.yaml", format!("{PIPELINE}{stage}"));
        ingest(&place);
        let line = place.result("in/cats.txt");
        let explained = place.docket(&["explain", "document", "cats.txt"]).code(0).stdout;
        let of_stage = explained.lines().find(|line| line.starts_with("cite")).expect("the stage").to_owned();
        let sources = line["citations"].as_array().expect("citations").iter();
        Some((
            sources.map(|citation| citation["source"].as_str().expect("a source").to_owned()).collect::<Vec<_>>(),
            of_stage,
        ))
    };
    let Some((usual, model)) = cited("sources: []") else { return };
    assert_eq!(usual, ["in/cats.txt"], "the document itself, which says nothing of taxes");
    assert!(model.contains("with minilm in"), "the pool's first: {model}");
    assert_eq!(cited("sources: [find]").expect("models").0, ["in/cats.txt", "in/tax.txt"]);
    assert_eq!(
        cited("minSimilarity: 0").expect("models").0,
        ["in/cats.txt", "in/cats.txt"],
        "anything is similar enough"
    );
    assert!(cited("model: second").expect("models").1.contains("with minilm#2"));
}

/// The output of a cite stage with these fields.
fn cite(text: &str, fields: &str) -> Option<Value> {
    let place = prepared(&[])?;
    place.write("in/cats.txt", text);
    let stage = format!("  - {{name: cite, pool: readers, after: [find], cite: {{{fields}}}}}\n");
    place.write("pipeline.yaml", format!("{PIPELINE}{stage}"));
    ingest(&place);
    let line = place.result("in/cats.txt");
    Some(line["stages"]["cite"]["output"].clone())
}

#[test]
fn sentences_without_spaces_between_words_are_cited() {
    const TEXT: &str = "猫は暖かい石の壁の上に座っていた。所得税は四半期の終わりに支払う。";
    let Some(output) = cite(TEXT, "text: '猫は暖かい石の壁の上に座っていた。'") else { return };
    let citations = output["citations"].as_array().expect("citations");
    assert_eq!(citations.len(), 1, "{output}");
    assert_eq!(citations[0]["text"], "猫は暖かい石の壁の上に座っていた。");
    assert_eq!((&citations[0]["start"], &output["unsupported"]), (&Value::from(0), &Value::from(0)));
}

#[test]
fn sentences_that_are_not_looked_at_are_counted() {
    let sentence = "The cat sat on the warm stone wall. ";
    let Some(output) = cite(sentence, &format!("text: '{}'", sentence.repeat(70))) else { return };
    assert_eq!(output["citations"].as_array().map(Vec::len), Some(64));
    assert_eq!((&output["unsupported"], &output["unchecked"]), (&Value::from(0), &Value::from(6)));
}

#[test]
fn a_quality_head_learns_scores_and_scores() {
    let score = ("after: [parse], embed: {knowledge: texts}", "after: [parse], score: {head: worth}");
    let Some(place) = prepared(&[score]) else { return };
    let untrained = place.result("in/cats.txt");
    assert_eq!(untrained["deadLetter"]["reason"], "HeadUntrained", "{untrained}");
    let labels = [("cats.txt", 0.9), ("tax.txt", 0.1)];
    let line =
        |(document, score)| format!("{{\"document\": \"{document}\", \"head\": \"worth\", \"score\": {score}}}\n");
    place.write("labels.jsonl", labels.map(line).concat());
    let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--feedback", "labels.jsonl", "--format", "jsonl"];
    let lines = place.docket(&run).code(0).lines();
    let scored = |document: &str| {
        let line = lines.iter().find(|line| line["document"] == document).expect("the document");
        line["stages"]["add"]["output"]["score"].as_f64().expect("a score")
    };
    assert!(scored("cats.txt") > 0.6 && scored("tax.txt") < 0.4, "{} and {}", scored("cats.txt"), scored("tax.txt"));
}
