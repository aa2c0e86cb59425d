//! How a request for vectors is read.

use agent_pod::serve::inference::{embeddings::texts, fields::Fields};

fn read(body: &str) -> Result<Vec<String>, String> {
    let fields = Fields::read(body.as_bytes()).unwrap_or_else(|_| panic!("JSON: {body}"));
    texts(&fields, "input", 2).map_err(|refusal| refusal.body()["error"]["message"].to_string())
}

#[test]
fn a_text_and_a_list_of_texts_are_taken() {
    assert_eq!(read(r#"{"input": "a"}"#), Ok(vec!["a".to_owned()]));
    assert_eq!(read(r#"{"input": ["a", "b"]}"#), Ok(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn everything_else_is_refused_with_what_is_wrong() {
    for tokens in [r#"{"input": [1, 2]}"#, r#"{"input": [[1, 2], [3]]}"#] {
        assert!(read(tokens).is_err_and(|message| message.contains("send the text itself")), "{tokens}");
    }
    for (body, words) in [
        (r#"{}"#, "missing"),
        (r#"{"input": null}"#, "missing"),
        (r#"{"input": []}"#, "an empty list"),
        (r#"{"input": ""}"#, "input[0] is empty"),
        (r#"{"input": ["a", ""]}"#, "input[1] is empty"),
        (r#"{"input": ["a", "b", "c"]}"#, "at most 2"),
        (r#"{"input": ["a", {}]}"#, "neither a text nor"),
        (r#"{"input": 7}"#, "neither a text nor"),
    ] {
        assert!(read(body).is_err_and(|message| message.contains(words)), "{body}");
    }
}
