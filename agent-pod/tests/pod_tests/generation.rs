//! The fields of the stages that write: what each changes in the answer, against a stage without it.

use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{Place, models};

/// Each stage differs from `plain` by one field. None is answered from the cache: equal answers are made twice.
const GENERATES: [(&str, &str); 14] = [
    ("plain", "maxTokens: 24"),
    ("short", "maxTokens: 3"),
    ("stopped", "maxTokens: 24, stop: [' ']"),
    ("role", "maxTokens: 24, role: Validation"),
    ("system", "maxTokens: 24, system: '{{ document.text }}'"),
    ("warm", "maxTokens: 24, sampling: {temperature: 1.5, seed: 1}"),
    ("warm-again", "maxTokens: 24, sampling: {temperature: 1.5, seed: 1}"),
    ("warm-otherwise", "maxTokens: 24, sampling: {temperature: 1.5, seed: 2}"),
    ("warm-top-k", "maxTokens: 24, sampling: {temperature: 1.5, seed: 1, topK: 1}"),
    ("warm-top-p", "maxTokens: 24, sampling: {temperature: 1.5, seed: 1, topP: 0.000001}"),
    ("penalty", "maxTokens: 24, sampling: {repetitionPenalty: 5}"),
    ("schema", "maxTokens: 24, output: {schema: SCHEMA}"),
    ("first-model", "maxTokens: 24, model: wide"),
    ("other-model", "maxTokens: 24, model: narrow"),
];

const EXTRACTS: [(&str, &str); 6] = [
    ("from-text", "maxTokens: 24"),
    ("from-prompt", "maxTokens: 24, prompt: 'Which pet?'"),
    ("told", "maxTokens: 24, prompt: 'Which pet?', system: '{{ document.text }}'"),
    ("too-short", "maxTokens: 2"),
    ("narrow-model", "maxTokens: 24, model: narrow"),
    ("varied", "maxTokens: 24, sampling: {temperature: 5, seed: 3}"),
];

const SCHEMA: &str =
    "{type: object, additionalProperties: false, required: [pet], properties: {pet: {enum: [cat, dog]}}}";

const TEXT: &str =
    "The cat sat on the warm stone wall and purred. It sleeps for most of the day, and it hunts at night. ";

/// What the one run over all stages gave.
struct Answers {
    line: Value,
    explained: Vec<Value>,
}

/// `None` where there is no model.
fn answers() -> Option<&'static Answers> {
    static ANSWERS: OnceLock<Option<Answers>> = OnceLock::new();
    ANSWERS.get_or_init(make).as_ref()
}

fn make() -> Option<Answers> {
    models(&["smollm2-135m-instruct"])?;
    let head = "optional: true, pool: writers, cache: None";
    let stage = |name: &str, work: &str, fields: &str| format!("  - {{name: {name}, {head}, {work}, {fields}}}}}\n");
    let generates =
        GENERATES.iter().map(|(name, fields)| stage(name, "generate: {prompt: 'Name three animals.'", fields));
    let extracts = EXTRACTS.iter().map(|(name, fields)| stage(name, "extract: {schema: SCHEMA", fields));
    let stages = generates.chain(extracts).collect::<String>().replace("SCHEMA", SCHEMA);
    let place = Place::new();
    place.write(
        "pipeline.yaml",
        format!(
            r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {{name: writers}}
spec:
  models:
  - {{name: wide, task: Generate, source: {{catalog: smollm2-135m-instruct}}, contextTokens: 512}}
  - {{name: narrow, task: Generate, source: {{catalog: smollm2-135m-instruct}}, contextTokens: 32}}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {{name: answers}}
spec:
  stages:
{stages}"#
        ),
    );
    place.write("text.txt", TEXT.repeat(8));
    let line = place.result("text.txt");
    let explained = place.docket(&["explain", "document", "text.txt", "--format", "json"]).code(0).lines().remove(0);
    let explained = explained["stages"].as_array().expect("stages").clone();
    Some(Answers { line, explained })
}

impl Answers {
    fn output(&self, stage: &str) -> &Value {
        let stage = &self.line["stages"][stage];
        assert_eq!(stage["outcome"], "succeeded", "{stage}");
        &stage["output"]
    }

    fn text(&self, stage: &str) -> &str {
        self.output(stage)["text"].as_str().expect("a text")
    }

    /// Tokens that the model read.
    fn tokens_read(&self, stage: &str) -> u64 {
        let stage = self.explained.iter().find(|explained| explained["name"] == stage).expect("the stage");
        let why = stage["why"].as_str().expect("words");
        let number = why.split(" tokens read").next().and_then(|words| words.split(' ').next_back()?.parse().ok());
        number.unwrap_or_else(|| panic!("no tokens in: {why}"))
    }

    fn failure(&self, stage: &str) -> &str {
        let stage = &self.line["stages"][stage];
        assert_eq!(stage["outcome"], "failed", "{stage}");
        stage["error"]["message"].as_str().expect("a message")
    }
}

#[test]
fn max_tokens_and_stop_end_an_answer() {
    let Some(answers) = answers() else { return };
    let (plain, short, stopped) = (answers.text("plain"), answers.text("short"), answers.text("stopped"));
    assert!(plain.len() > short.len() && plain.starts_with(short), "{short:?} begins {plain:?}");
    assert_eq!(answers.output("short")["finish"], "length");
    assert!(
        !stopped.is_empty() && !stopped.contains(' ') && plain.starts_with(stopped),
        "{stopped:?} begins {plain:?}"
    );
    assert_eq!(answers.output("stopped")["finish"], "stop");
}

#[test]
fn the_role_sets_the_system_prompt_unless_one_is_written() {
    let Some(answers) = answers() else { return };
    let (plain, role, system) =
        (answers.tokens_read("plain"), answers.tokens_read("role"), answers.tokens_read("system"));
    assert_ne!(plain, role, "the roles Writing and Validation are told different things");
    assert!(system > 150 && system > 2 * plain, "the document is the system prompt: {system} tokens, {plain} without");
}

#[test]
fn sampling_varies_answers_and_its_bounds_and_seed_hold_them() {
    let Some(answers) = answers() else { return };
    let (plain, warm) = (answers.text("plain"), answers.text("warm"));
    assert_ne!(plain, warm, "temperature");
    assert_eq!(warm, answers.text("warm-again"), "the same seed");
    assert_ne!(warm, answers.text("warm-otherwise"), "another seed");
    assert_eq!(plain, answers.text("warm-top-k"), "only the likeliest token");
    assert_eq!(plain, answers.text("warm-top-p"), "only the likeliest token");
    assert_ne!(plain, answers.text("penalty"), "words of the prompt are repeated no more");
}

#[test]
fn an_output_schema_forces_the_answer() {
    let Some(answers) = answers() else { return };
    for stage in ["schema", "from-text", "from-prompt", "told", "varied"] {
        let pet = &answers.output(stage)["pet"];
        assert!(pet == "cat" || pet == "dog", "{stage}: {pet}");
    }
    assert!(answers.output("plain").get("pet").is_none());
}

#[test]
fn a_stage_uses_the_model_that_it_names_or_its_pools_first() {
    let Some(answers) = answers() else { return };
    assert_eq!(answers.text("plain"), answers.text("first-model"));
    for stage in ["other-model", "narrow-model"] {
        assert!(answers.failure(stage).contains("the context of 32"), "{}", answers.failure(stage));
    }
}

#[test]
fn extract_reads_the_document_unless_a_prompt_is_written() {
    let Some(answers) = answers() else { return };
    let (text, prompt, told) =
        (answers.tokens_read("from-text"), answers.tokens_read("from-prompt"), answers.tokens_read("told"));
    assert!(text > 150 && prompt < 100, "{text} tokens with the document, {prompt} with a prompt");
    assert!(told > 150, "the document is the system prompt: {told} tokens");
    assert!(answers.failure("too-short").contains("maxTokens is 2"), "{}", answers.failure("too-short"));
}
