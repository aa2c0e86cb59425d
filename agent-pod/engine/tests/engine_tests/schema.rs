//! Answers forced into JSON schemas while they are decoded: always whole, always matching, or refused beforehand.

use std::collections::HashMap;

use crate::generation_support::{request, smollm2};
use engine::generation::{Error, Finish, GenerateRequest, Sampling};
use serde_json::{Value, json};

fn licence_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "holders": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
            "year": {"type": "integer", "minimum": 1900, "maximum": 2100},
            "kind": {"enum": ["permissive", "copyleft", "other"]},
            "notice": {"type": "object", "properties": {"required": {"type": "boolean"}}, "required": ["required"],
                       "additionalProperties": false}
        },
        "required": ["holders", "year", "kind", "notice"],
        "additionalProperties": false
    })
}

fn check_licence(text: &str) {
    let answer: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
    let fields: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["holders", "year", "kind", "notice"], "{text}");
    assert!(answer["holders"].as_array().unwrap().iter().all(Value::is_string), "{text}");
    assert!(answer["holders"].as_array().unwrap().len() <= 4, "{text}");
    assert!((1900..=2100).contains(&answer["year"].as_i64().unwrap()), "{text}");
    assert!(["permissive", "copyleft", "other"].contains(&answer["kind"].as_str().unwrap()), "{text}");
    assert!(answer["notice"]["required"].is_boolean(), "{text}");
}

#[test]
fn an_answer_under_a_schema_always_matches_it() {
    let Some(mut generator) = smollm2() else { return };
    let question = "MIT License. Copyright (c) 2015 Jane Roe and John Doe. Extract the data as JSON.";
    // With few tokens left the answer is closed in time; with too few it is refused before work starts.
    let mut accepted = 0;
    for (seed, max_tokens) in [(0, 128), (1, 64), (2, 48), (3, 40), (4, 36), (5, 32), (6, 30), (7, 28)] {
        let sampling = Sampling { temperature: if seed == 0 { 0.0 } else { 1.3 }, seed, ..Sampling::greedy() };
        let request = GenerateRequest { sampling, schema: Some(licence_schema()), ..request(question, max_tokens) };
        match generator.generate_in_pieces(request) {
            Ok((answer, pieces)) => {
                eprintln!("{max_tokens}: {}", answer.text);
                check_licence(&answer.text);
                assert!(answer.completion_tokens <= max_tokens);
                assert_eq!((answer.finish, pieces.concat()), (Finish::Stop, answer.text));
                accepted += 1;
            }
            Err(Error::SchemaTooLong { needed, .. }) => assert!(needed > max_tokens),
            Err(error) => panic!("{max_tokens} tokens: {error}"),
        }
    }
    assert!(accepted >= 4, "only {accepted} answers");
}

#[test]
fn an_open_string_is_closed_before_tokens_run_out() {
    let Some(mut generator) = smollm2() else { return };
    let schema = json!({"type": "object", "properties": {"story": {"type": "string"}}, "required": ["story"]});
    for max_tokens in [12, 20, 33] {
        let request =
            GenerateRequest { schema: Some(schema.clone()), ..request("Tell a very long story.", max_tokens) };
        let answer = generator.generate(request).unwrap();
        let parsed: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(parsed["story"].is_string(), "{}", answer.text);
        assert!(answer.completion_tokens <= max_tokens);
    }
}

#[test]
fn schemas_and_free_texts_share_a_batch() {
    let Some(mut generator) = smollm2() else { return };
    let number = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                        "additionalProperties": false});
    let requests = vec![
        GenerateRequest { schema: Some(licence_schema()), ..request("Extract the licence's data.", 80) },
        request("Say hello.", 12),
        GenerateRequest { schema: Some(number), ..request("Give me a number as JSON.", 24) },
    ];
    let alone: Vec<String> =
        requests.iter().map(|request| smollm2().unwrap().generate(request.clone()).unwrap().text).collect();
    let together: Vec<String> =
        generator.generate_together(requests, 0).into_iter().map(|answer| answer.unwrap().text).collect();
    check_licence(&together[0]);
    let parsed: HashMap<String, i64> = serde_json::from_str(&together[2]).unwrap();
    assert!(parsed.contains_key("n"));
    assert_eq!(together, alone);
}

#[test]
fn a_bad_schema_is_refused_before_work_starts() {
    let Some(mut generator) = smollm2() else { return };
    let bad = [
        json!({"type": "no such type"}),
        json!("not an object"),
        json!({"type": "object", "properties": {"a": {"$ref": "#/definitions/absent"}}, "required": ["a"]}),
        json!({"type": "string", "pattern": "(unclosed"}),
        json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
    ];
    for schema in bad {
        let request = GenerateRequest { schema: Some(schema.clone()), ..request("hello", 16) };
        let error = generator.generate(request).unwrap_err();
        assert!(matches!(error, Error::Schema(_)), "{schema}: {error}");
        eprintln!("{schema}: {error}");
    }
    let long = json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 500}}, "required": ["a"]});
    let error = generator.generate(GenerateRequest { schema: Some(long), ..request("hello", 16) }).unwrap_err();
    assert!(matches!(error, Error::SchemaTooLong { max_tokens: 16, .. }), "{error}");
}
