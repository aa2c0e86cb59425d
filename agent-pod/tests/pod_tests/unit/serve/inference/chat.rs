//! How a request for an answer is read.

use agent_pod::serve::inference::{
    chat::{Asked, read},
    fields::Fields,
    limits::InferenceLimits,
};
use engine::generation::ChatRole;
use serde_json::{Value, json};

fn asked(body: &Value) -> Result<Asked, (String, String)> {
    let fields = Fields::read(body.to_string().as_bytes()).unwrap_or_else(|_| panic!("JSON: {body}"));
    read(&fields, &InferenceLimits { max_tokens: 100, ..InferenceLimits::default() }).map_err(|refusal| {
        let error = refusal.body()["error"].clone();
        (error["param"].as_str().unwrap_or_default().to_owned(), error["message"].to_string())
    })
}

fn with(more: &Value) -> Value {
    let mut body = json!({"model": "small", "messages": [{"role": "user", "content": "Hello"}]});
    for (name, value) in more.as_object().unwrap_or_else(|| panic!("fields")) {
        body[name] = value.clone();
    }
    body
}

#[track_caller]
fn accepted(more: &Value) -> Asked {
    asked(&with(more)).unwrap_or_else(|problem| panic!("{problem:?}"))
}

#[test]
fn messages_become_a_conversation() {
    let body = json!({"messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "yes."}]},
        {"role": "assistant", "content": null},
        {"role": "user", "content": "Well?"},
    ]});
    let messages: Vec<_> = asked(&body)
        .unwrap_or_else(|problem| panic!("{problem:?}"))
        .messages
        .into_iter()
        .map(|message| (message.role, message.content))
        .collect();
    let expected = [
        (ChatRole::System, "Be brief."),
        (ChatRole::User, "Say yes."),
        (ChatRole::Assistant, ""),
        (ChatRole::User, "Well?"),
    ];
    assert_eq!(messages, expected.map(|(role, content)| (role, content.to_owned())));
}

#[test]
fn parameters_have_the_meaning_and_the_defaults_that_clients_know() {
    let plain = accepted(&json!({}));
    assert_eq!((plain.max_tokens, plain.stream, plain.sampling.temperature), (None, None, 1.0));
    let seeds = [accepted(&json!({})).sampling.seed, plain.sampling.seed];
    assert_ne!(seeds[0], seeds[1], "without a seed every answer is another");
    let all = accepted(&json!({
        "max_tokens": 7, "max_completion_tokens": 9, "temperature": 0, "top_p": 0, "seed": -1, "stop": "END",
        "stream": true, "stream_options": {"include_usage": true}, "n": 1, "tools": [], "logprobs": false,
        "presence_penalty": 0, "user": "somebody", "metadata": {"a": "b"},
    }));
    assert_eq!((all.max_tokens, all.stream, all.stop), (Some(9), Some(true), vec!["END".to_owned()]));
    assert_eq!((all.sampling.temperature, all.sampling.seed), (0.0, u64::MAX));
    assert!(all.sampling.top_p.is_some_and(|share| share > 0.0));
    assert_eq!(accepted(&json!({"stream": true})).stream, Some(false));
}

#[test]
fn a_format_is_a_schema() {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": schema}});
    assert_eq!(accepted(&json!({"response_format": format})).schema, Some(schema));
    let any = accepted(&json!({"response_format": {"type": "json_object"}})).schema;
    assert_eq!(any, Some(json!({"type": "object"})));
    assert_eq!(accepted(&json!({"response_format": {"type": "text"}})).schema, None);
}

#[test]
fn what_makes_no_sense_or_is_not_done_is_refused_with_its_field() {
    let of_message = |message: Value| json!({"messages": [message]});
    for (more, param) in [
        (json!({"messages": []}), "messages"),
        (of_message(json!({"role": "tool", "content": "a"})), "messages"),
        (of_message(json!({"role": "user", "content": null})), "messages"),
        (of_message(json!({"role": "user", "content": [{"type": "image_url"}]})), "messages"),
        (of_message(json!("Hello")), "messages"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 101}), "max_tokens"),
        (json!({"max_completion_tokens": 1_000_000}), "max_completion_tokens"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"top_p": -0.1}), "top_p"),
        (json!({"seed": 1.5}), "seed"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"stop": [""]}), "stop"),
        (json!({"stop": [1]}), "stop"),
        (json!({"stop": "a", "response_format": {"type": "json_object"}}), "stop"),
        (json!({"response_format": {"type": "xml"}}), "response_format"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format"),
        (json!({"n": 2}), "n"),
        (json!({"tools": [{"type": "function"}]}), "tools"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"frequency_penalty": 0.5}), "frequency_penalty"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"stream": "yes"}), "stream"),
    ] {
        let problem = asked(&with(&more)).expect_err("it is refused");
        assert_eq!(problem.0, param, "{more}: {problem:?}");
    }
}
