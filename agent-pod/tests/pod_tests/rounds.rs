//! Quality rounds: a score below the threshold sends the document round again, within a bound.

use serde_json::{Value, json};

use crate::support::{Place, changed, models};

/// The review copies the number that its prompt names; the schema leaves it two to choose from.
const ROUNDS: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  models: [{name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 256}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: rounds}
spec:
  quality: {stage: review, threshold: 0.5, restartAt: draft}
  stages:
  - {name: read, pool: writers, parse: {}}
  - {name: outline, pool: writers, after: [read], transform: {template: "{{ round }}"}}
  - {name: draft, pool: writers, after: [outline], transform: {format: Json, template: '{"round": {{ round }}, "before": {{ (previous.draft.round if previous.draft else none) | tojson }}}'}}
  - name: review
    pool: writers
    after: [draft]
    extract:
      prompt: "The score is {{ 0.9 if round >= document.metadata.good else 0.1 }}. Repeat the score."
      maxTokens: 20
      schema: {type: object, additionalProperties: false, required: [score], properties: {score: {enum: [0.1, 0.9]}}}
    score: {path: score}
  - {name: publish, pool: writers, after: [review], transform: {format: Json, template: '{"draft": {{ stages.draft | tojson }}, "score": {{ stages.review.score }}}'}}
"#;

/// What became of a document that gets its good score in this round; `None` where there is no model.
fn run(good_in_round: u32, changes: &[(&str, &str)]) -> Option<Value> {
    models(&["smollm2-135m-instruct"])?;
    let place = Place::new();
    place.write("pipeline.yaml", changed(ROUNDS, changes));
    let document = json!({"id": "text", "text": "some text", "metadata": {"good": good_in_round}});
    place.write("in.jsonl", document.to_string());
    Some(place.result("in.jsonl"))
}

/// In how many rounds a stage was.
fn rounds(line: &Value, stage: &str) -> u64 {
    line["stages"][stage]["rounds"].as_u64().expect("a number")
}

#[test]
fn a_low_score_sends_the_document_round_again_with_its_outputs() {
    let Some(line) = run(1, &[]) else { return };
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["quality"], 0.9);
    assert_eq!(line["output"], json!({"draft": {"round": 1, "before": 0}, "score": 0.9}));
    assert_eq!([rounds(&line, "draft"), rounds(&line, "review"), rounds(&line, "publish")], [2, 2, 2]);
    assert_eq!(
        [rounds(&line, "read"), rounds(&line, "outline")],
        [1, 1],
        "what lies before `restartAt` is not repeated"
    );
}

#[test]
fn a_round_begins_at_restart_at() {
    let Some(line) = run(1, &[("restartAt: draft", "restartAt: outline")]) else { return };
    assert_eq!([rounds(&line, "read"), rounds(&line, "outline"), rounds(&line, "draft")], [1, 2, 2]);
    assert_eq!(line["stages"]["outline"]["output"]["text"], "1");
}

#[test]
fn a_good_score_goes_on_at_once() {
    let Some(line) = run(0, &[]) else { return };
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["output"], json!({"draft": {"round": 0, "before": null}, "score": 0.9}));
}

#[test]
fn after_max_rounds_the_document_goes_on_and_ends_as_partial() {
    for (changes, most) in [(&[][..], 2), (&[("threshold: 0.5,", "threshold: 0.5, maxRounds: 1,")], 1)] {
        let Some(line) = run(99, changes) else { return };
        assert_eq!(line["outcome"], "partial", "{line}");
        assert_eq!(line["quality"], 0.1);
        assert_eq!(rounds(&line, "draft"), most + 1);
        assert_eq!(line["output"]["draft"], json!({"round": most, "before": most - 1}));
        assert!(line["degraded"][0].as_str().expect("a note").starts_with("review: score 0.1 is below 0.5"), "{line}");
    }
}

#[test]
fn the_threshold_decides_and_without_quality_nothing_goes_round() {
    let Some(low) = run(99, &[("threshold: 0.5", "threshold: 0.05")]) else { return };
    let quality = "quality: {stage: review, threshold: 0.5, restartAt: draft}";
    let Some(none) = run(99, &[(quality, "suspend: false")]) else { return };
    for (line, quality) in [(low, json!(0.1)), (none, Value::Null)] {
        assert_eq!(line["outcome"], "succeeded", "{line}");
        assert_eq!(line["quality"], quality);
        assert_eq!(rounds(&line, "draft"), 1);
    }
}

#[test]
fn an_output_without_the_score_is_a_dead_letter() {
    let Some(line) = run(0, &[("score: {path: score}", "score: {path: marks.total}")]) else { return };
    assert_eq!(line["outcome"], "dead-lettered", "{line}");
    assert_eq!(line["deadLetter"]["stage"], "review");
    assert_eq!(line["deadLetter"]["reason"], "NoScore");
}
