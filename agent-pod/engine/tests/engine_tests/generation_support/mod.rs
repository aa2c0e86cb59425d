//! Models and requests for the tests of generation.

use std::path::PathBuf;

use engine::ModelFiles;
use engine::generation::{
    ChatMessage, ChatRole, GenerateRequest, GeneratorSettings, LocalGenerator, Sampling, WeightFormat,
};

pub(crate) const SMOLLM2: &str = "smollm2-135m-instruct";

/// A model's GGUF file, or `None` with a line that says so.
pub(crate) fn model(name: &str) -> Option<ModelFiles> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/docket/models"));
    let folder = std::env::var_os("DOCKET_MODELS").map(PathBuf::from).or_else(home)?.join(name);
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let weights = files.filter(|path| path.extension().is_some_and(|extension| extension == "gguf")).min();
    if weights.is_none() {
        eprintln!("SKIPPED: no GGUF file in {}", folder.display());
    }
    Some(ModelFiles { weights: weights?, tokenizer: None, config: None })
}

pub(crate) fn settings(dtype: WeightFormat) -> GeneratorSettings {
    GeneratorSettings { dtype, context_tokens: 2048, max_sequences: 8, prefill_chunk: 128, cache_bytes: None }
}

pub(crate) fn smollm2() -> Option<LocalGenerator> {
    Some(LocalGenerator::load(&model(SMOLLM2)?, &settings(WeightFormat::Q8_0)).expect("the model loads"))
}

pub(crate) fn request(text: &str, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: text.to_owned() }],
        max_tokens,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        schema: None,
    }
}
