//! Small vocabularies for tests.

use crate::gguf::{Header, Value};

/// The header of a model without a template, with these tokens after the one that ends a text.
pub(super) fn header(family: &str, tokens: &[String]) -> Header {
    let tokens: Vec<String> = std::iter::once("</s>".to_owned()).chain(tokens.iter().cloned()).collect();
    let kinds = tokens.iter().map(|token| match token.as_str() {
        "</s>" => 3,
        byte if byte.starts_with("<0x") => 6,
        _ => 1,
    });
    let entries = [
        ("model", Value::Text(family.to_owned())),
        ("token_type", Value::Integers(kinds.collect())),
        ("scores", Value::Floats(tokens.iter().map(|token| token.len() as f32).collect())),
        ("merges", Value::Texts(["a b", "ab ab"].map(str::to_owned).to_vec())),
        ("eos_token_id", Value::Unsigned(0)),
        ("tokens", Value::Texts(tokens)),
    ];
    let metadata = entries.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    Header { metadata, ..Header::default() }
}

/// A space as the family writes it, and letters that merge.
pub(super) fn words(space: &str) -> Vec<String> {
    [space, "a", "b", "ab", "abab"].map(str::to_owned).to_vec()
}

/// Words and a token for each byte.
pub(super) fn sentence_piece() -> Header {
    let bytes: Vec<String> = (0..=255_u8).map(|byte| format!("<{byte:#04X}>")).collect();
    header("llama", &[words("\u{2581}"), bytes].concat())
}
