//! Requests and answers as JSON.

use agent_pod::runtime::providers::messages::{Answer, ChatRequest, Fault, Usage, WORDS, words};
use engine::generation::{ChatMessage, ChatRole, Finish, GenerateRequest, Sampling};
use serde_json::json;

#[test]
fn a_request_says_what_the_stage_says() {
    let request = GenerateRequest {
        messages: vec![
            ChatMessage { role: ChatRole::System, content: "s".to_owned() },
            ChatMessage { role: ChatRole::User, content: "u".to_owned() },
        ],
        max_tokens: 7,
        sampling: Sampling { temperature: 0.7, top_p: Some(0.9), seed: 3, ..Sampling::greedy() },
        stop: vec!["END".to_owned()],
        schema: Some(json!({"type": "object"})),
    };
    let written = serde_json::to_string(&ChatRequest::new("large", &request)).expect("JSON");
    assert_eq!(
        written,
        r#"{"model":"large","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"max_tokens":7,"temperature":0.7,"top_p":0.9,"seed":3,"stop":["END"],"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}},"stream":true,"stream_options":{"include_usage":true}}"#
    );
}

#[test]
fn an_answer_is_put_together_from_its_parts() {
    let mut answer = Answer::default();
    let parts = [
        (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, None),
        (r#"{"choices":[{"delta":{"content":"Two "},"finish_reason":null}]}"#, Some("Two ")),
        (r#"{"choices":[{"delta":{"content":"cats"}}]}"#, Some("cats")),
        (r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#, None),
        (r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#, None),
    ];
    for (part, text) in parts {
        assert_eq!(answer.add(part).expect("a part").as_deref(), text);
    }
    assert_eq!((answer.text.as_str(), answer.finish()), ("Two cats", Some(Finish::Length)));
    assert_eq!(answer.usage, Some(Usage { prompt_tokens: 5, completion_tokens: 2 }));
    let whole = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;
    let mut answer = Answer::default();
    answer.add(whole).expect("a whole answer");
    assert_eq!((answer.text.as_str(), answer.finish()), ("Hi", Some(Finish::Stop)));
}

#[test]
fn failures_and_refusals_in_an_answer_are_found() {
    let mut answer = Answer::default();
    assert!(matches!(answer.add("{oops"), Err(Fault::Form(_))));
    assert_eq!(answer.add(r#"{"error":{"message":"too hot"}}"#), Err(Fault::Error("too hot".to_owned())));
    answer.add(r#"{"choices":[{"delta":{"refusal":"I will not."},"finish_reason":"stop"}]}"#).expect("a part");
    assert_eq!(answer.declined().as_deref(), Some("I will not."));
    assert_eq!(Answer::default().finish(), None);
}

#[test]
fn the_words_of_a_provider_are_few_and_on_one_line() {
    assert_eq!(words(r#"{"error": {"message": "no\nsuch  model", "type": "x"}}"#), "no such model");
    assert_eq!(words(r#"{"error": "overloaded"}"#), "overloaded");
    assert_eq!(words(r#"{"message": "busy"}"#), "busy");
    assert_eq!(words(r#"{"detail": "busy"}"#), "busy");
    assert_eq!(words("<html>502</html>\u{7}"), "<html>502</html>");
    assert_eq!(words(" "), "it says nothing");
    assert_eq!(words(&"ä".repeat(9_000)).chars().count(), WORDS + 1);
}
