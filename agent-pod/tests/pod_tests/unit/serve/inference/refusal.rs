//! Refusals as OpenAI's clients read them.

use std::time::Duration;

use agent_pod::serve::inference::refusal::Refusal;
use axum::response::IntoResponse as _;
use engine::generation;
use serde_json::json;

#[test]
fn an_error_names_its_field_in_the_form_that_clients_read() {
    for exceeded in [
        generation::Error::ContextExceeded { prompt: 90, max_tokens: 20, context: 100 },
        generation::Error::PromptTooLong { least: 1_000, context: 100 },
    ] {
        let refusal = Refusal::from(engine::Error::Generate(exceeded));
        let body = refusal.body();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(
            (&body["error"]["param"], &body["error"]["code"]),
            (&json!("messages"), &json!("context_length_exceeded"))
        );
        assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains("100 tokens")), "{body}");
        assert_eq!(refusal.into_response().status(), 400);
    }
}

#[test]
fn what_may_succeed_later_says_when() {
    let busy = Refusal::from(engine::Error::Overloaded).into_response();
    assert_eq!((busy.status().as_u16(), busy.headers()["retry-after"].as_bytes()), (429, &b"1"[..]));
    let waiting = Duration::from_secs(7);
    let away = Refusal::Unavailable { message: String::new(), retry_after: waiting }.into_response();
    assert_eq!((away.status().as_u16(), away.headers()["retry-after"].as_bytes()), (503, &b"7"[..]));
    assert!(!Refusal::UnknownPath.into_response().headers().contains_key("retry-after"));
}
