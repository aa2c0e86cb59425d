//! `/v1/embeddings`: texts to vectors of length 1.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::Value;

use super::{base64, fields::Fields, job::Job, refusal::Refusal};

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

/// Numbers are written as short as they can be read back exactly, so both forms say the same.
#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Text(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) async fn answer(job: &Job, fields: &Fields) -> Result<Response, Refusal> {
    let as_text = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding_format \"{other}\" is neither float nor base64");
            return Err(Refusal::of_field("encoding_format", message));
        }
    };
    let dimensions = job.engine.dimensions(&job.engine_name).unwrap_or(0);
    if fields.whole("dimensions")?.is_some_and(|wanted| wanted != dimensions as u64) {
        let message = format!("the vectors of model \"{}\" have {dimensions} dimensions and no other number", job.name);
        return Err(Refusal::of_field("dimensions", message));
    }
    let texts = texts(fields, "input", job.limits.inputs as usize)?;
    let embedded = job.embed(texts, "input").await?;
    let vector = |vector: Vec<f32>| match as_text {
        true => Vector::Text(base64::encode(&vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())),
        false => Vector::Numbers(vector),
    };
    let data = embedded.vectors.into_iter().enumerate();
    let data = data.map(|(index, made)| Embedding { object: "embedding", index, embedding: vector(made) }).collect();
    let usage = Usage { prompt_tokens: embedded.tokens, total_tokens: embedded.tokens };
    Ok(Json(Answer { object: "list", data, model: &job.name, usage }).into_response())
}

/// One text or a list of them, none empty.
pub fn texts(fields: &Fields, name: &'static str, most: usize) -> Result<Vec<String>, Refusal> {
    let invalid = |message: String| Refusal::of_field(name, message);
    let texts = match fields.get(name) {
        None => return Err(invalid(format!("{name} is missing"))),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => {
            if items.len() > most {
                return Err(invalid(format!("{name} has {} texts, at most {most} are taken", items.len())));
            }
            let text = |item: &Value| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Number(_) | Value::Array(_) => {
                    Err(invalid(format!("{name} holds tokens; send the text itself: tokenizers differ between models")))
                }
                _ => Err(invalid(format!("{name} is neither a text nor a list of texts"))),
            };
            items.iter().map(text).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(invalid(format!("{name} is neither a text nor a list of texts"))),
    };
    match texts.iter().position(String::is_empty) {
        Some(place) => Err(invalid(format!("{name}[{place}] is empty"))),
        None if texts.is_empty() => Err(invalid(format!("{name} is an empty list"))),
        None => Ok(texts),
    }
}
