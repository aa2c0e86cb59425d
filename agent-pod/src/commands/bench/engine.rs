//! Embedding and generation, alone and together.

use std::path::Path;

use engine::{
    Class, Engine,
    generation::{ChatMessage, ChatRole, GenerateRequest, Sampling},
};
use futures::future;

use super::measure::{Measured, Round};
use crate::{Error, Result, runtime::models};

const SUITE: &str = "engine";
const EMBEDDER: &str = "minilm";
const WRITER: &str = "smollm2-135m-instruct";
/// A word of about one token in both models, so that lengths can be set.
const WORD: &str = "work ";

pub(super) async fn run(folder: Option<&Path>, rounds: usize) -> Result<Vec<Measured>> {
    let engine = models::start_catalogue(&[EMBEDDER, WRITER], folder).await?;
    let mut measured = Vec::new();
    let lengths = |count: usize, length: fn(usize) -> usize| -> Vec<String> {
        (0..count).map(|n| WORD.repeat(length(n))).collect()
    };
    for (name, texts) in [
        ("embed 32 x 126 tokens", lengths(32, |_| 126)),
        ("embed 64 mixed, 6 to 250 tokens", lengths(64, |n| 6 + (n * 37) % 245)),
        ("embed 1 x 16 tokens", lengths(1, |_| 14)),
    ] {
        let count = texts.len() as f64;
        let round = async |_| {
            engine.embed(EMBEDDER, texts.clone(), Class::Normal, None).await.map_err(Error::system("embed"))?;
            Ok(Round { amount: count })
        };
        measured.push(Measured::rate(SUITE, name, "sequences/s", rounds, round).await?);
    }
    measured.push(
        Measured::rate(SUITE, "decode 64 tokens, 1 sequence", "tokens/s", rounds, async |round| {
            Ok(Round { amount: decode(&engine, 1, round).await? })
        })
        .await?,
    );
    measured.push(
        Measured::rate(SUITE, "decode 64 tokens, 8 sequences", "tokens/s", rounds, async |round| {
            Ok(Round { amount: decode(&engine, 8, round).await? })
        })
        .await?,
    );
    measured.push(
        Measured::rate(SUITE, "prefill 512 tokens", "tokens/s", rounds, async |round| {
            // A different first word each round: nothing of the prompt is known already.
            let generated = engine.generate(
                WRITER,
                request(&format!("{round} {}", WORD.repeat(500)), 1),
                Class::Normal,
                None,
                None,
            );
            let generated = generated.await.map_err(Error::system("generate"))?;
            Ok(Round { amount: generated.prompt_tokens as f64 })
        })
        .await?,
    );
    Ok(measured)
}

async fn decode(engine: &Engine, sequences: usize, round: usize) -> Result<f64> {
    let requests = (0..sequences).map(|n| {
        let prompt = format!("Round {round}, letter {n}. Write a long story about a lighthouse keeper.");
        engine.generate(WRITER, request(&prompt, 64), Class::Normal, None, None)
    });
    let generated = future::try_join_all(requests).await.map_err(Error::system("generate"))?;
    Ok(generated.iter().map(|generated| generated.completion_tokens as f64).sum())
}

fn request(prompt: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: prompt.to_owned() }],
        max_tokens,
        sampling: Sampling { temperature: 0.0, top_p: None, top_k: None, repetition_penalty: None, seed: 0 },
        stop: Vec::new(),
        schema: None,
    }
}
