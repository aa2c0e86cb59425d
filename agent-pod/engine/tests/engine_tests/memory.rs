//! A share of the device's memory: counted to the byte, kept to, and never a reason to stand still.

use std::time::Duration;

use crate::engine_support::{tiny_tensors, write_tiny_model};
use crate::generation_support::{SMOLLM2, model, request, settings};
use engine::catalogue::files_at;
use engine::generation::{Error as GenerationError, GeneratorSettings, LocalGenerator, WeightFormat};
use engine::{Class, DeviceKind, Engine, Error, ModelSpec, ModelTask, Settings};

/// Of SmolLM2 135M: 30 layers, 3 heads of 64 for keys and as many for values, 2 bytes each, by blocks of 16 tokens.
const BLOCK_BYTES: usize = 30 * 3 * 64 * 2 * 2 * 16;

/// An engine whose models may take so many bytes.
fn engine_of(bytes: usize, models: Vec<ModelSpec>) -> Result<Engine, Error> {
    let total = engine::memory::limit().expect("the machine has memory");
    // Half a byte more, because the share is rounded down.
    let fraction = (bytes as f64 + 0.5) / total as f64;
    let settings = Settings {
        device: DeviceKind::Cpu,
        threads: 2,
        max_batch: 8,
        max_wait: Duration::ZERO,
        token_budget: None,
        memory_fraction: Some(fraction),
    };
    Engine::start(settings, models)
}

fn tiny(name: &str, folder: &std::path::Path) -> ModelSpec {
    let files = files_at(folder).expect("the folder holds a model");
    ModelSpec { name: name.to_owned(), task: ModelTask::Embed, files, dtype: None, context_tokens: None }
}

fn writer() -> Option<ModelSpec> {
    let files = model(SMOLLM2)?;
    let name = "writer".to_owned();
    Some(ModelSpec { name, task: ModelTask::Generate, files, dtype: None, context_tokens: Some(2048) })
}

#[tokio::test]
async fn weights_fit_to_the_byte_or_are_an_error_that_names_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_tiny_model(folder.path(), 1);
    let bytes = 4 * tiny_tensors(1).values().map(|(_, values)| values.len()).sum::<usize>();
    let both = || vec![tiny("first", folder.path()), tiny("second", folder.path())];
    let engine = engine_of(2 * bytes, both()).expect("both fit");
    let embedded = engine.embed("second", vec!["a b".to_owned()], Class::Normal, None).await;
    assert_eq!(embedded.expect("it works").vectors.len(), 1);
    let error = engine_of(2 * bytes - 1, both()).err().expect("a byte is missing");
    let Error::FitWeights { model, weights, others, limit, .. } = &error else { panic!("{error}") };
    assert_eq!((model.as_str(), *weights, *others), ("second", bytes as u64, bytes as u64));
    assert_eq!(*limit, 2 * bytes as u64 - 1);
    assert!(error.to_string().contains("device.memoryFraction"), "{error}");
}

#[test]
fn what_is_measured_of_a_header_is_what_its_weights_take() {
    for (dtype, format) in [
        (None, WeightFormat::Q8_0),
        (Some(engine::Dtype::AsStored), WeightFormat::AsStored),
        (Some(engine::Dtype::F32), WeightFormat::F32),
    ] {
        let Some(spec) = writer() else { return };
        let loaded = LocalGenerator::load(&spec.files, &settings(format)).expect("the model loads").weight_bytes();
        let error = engine_of(1, vec![ModelSpec { dtype, ..spec }]).err().expect("nothing fits into a byte");
        let Error::FitWeights { weights, .. } = error else { panic!("{error}") };
        assert_eq!(weights, loaded as u64, "{format:?}");
    }
}

#[test]
fn a_little_memory_gives_the_same_answers_one_after_the_other() {
    let Some(files) = model(SMOLLM2) else { return };
    let load = |cache_bytes| {
        let settings = GeneratorSettings { cache_bytes, ..settings(WeightFormat::Q8_0) };
        LocalGenerator::load(&files, &settings).expect("the model loads")
    };
    let questions = ["What is a licence?", "Name three rivers.", "Why is the sky blue?", "Say hello."];
    let answers = |cache_bytes| {
        let mut generator = load(cache_bytes);
        let asked = questions.iter().map(|question| request(question, 30)).collect();
        let answers = generator.generate_together(asked, 0);
        let texts: Vec<String> = answers.into_iter().map(|answer| answer.expect("an answer").text).collect();
        (texts, generator.most_in_work())
    };
    let (free, all) = answers(None);
    // A quarter is for earlier answers; the rest holds one of them, and less than two.
    let (one, alone) = answers(Some(6 * BLOCK_BYTES * 4 / 3));
    assert_eq!((all, alone), (4, 1));
    assert_eq!(one, free);
    assert_eq!(answers(Some(12 * BLOCK_BYTES * 4 / 3)), (free, 2));
}

#[test]
fn an_answer_that_alone_would_not_fit_is_refused_and_names_what_to_change() {
    let Some(files) = model(SMOLLM2) else { return };
    let with = |cache_bytes| {
        let settings = GeneratorSettings { cache_bytes: Some(cache_bytes), ..settings(WeightFormat::Q8_0) };
        LocalGenerator::load(&files, &settings)
    };
    let mut generator = with(8 * BLOCK_BYTES * 4 / 3).expect("the model loads");
    let error = generator.generate(request("Tell me everything.", 200)).expect_err("128 tokens fit");
    assert!(matches!(error, GenerationError::MemoryExceeded { max_tokens: 200, fits: 128, .. }), "{error}");
    assert!(error.to_string().contains("contextTokens to at most 128"), "{error}");
    assert!(generator.generate(request("Say hello.", 10)).is_ok(), "a shorter one is answered after");
    let error = with(BLOCK_BYTES).err().expect("three quarters of a block hold nothing");
    assert!(matches!(error, GenerationError::FitCache { .. }), "{error}");
}

#[tokio::test]
async fn an_engine_with_room_for_one_answer_gives_all() {
    let Some(spec) = writer() else { return };
    let weights = LocalGenerator::load(&spec.files, &settings(WeightFormat::Q8_0)).expect("it loads").weight_bytes();
    let engine = engine_of(weights + 7 * BLOCK_BYTES * 4 / 3, vec![spec]).expect("weights and an answer fit");
    let ask = |text: &'static str| engine.generate("writer", request(text, 16), Class::Normal, None, None);
    let (first, second, third) = tokio::join!(ask("Say hello."), ask("Name a river."), ask("Name a colour."));
    for answer in [first, second, third] {
        assert!(!answer.expect("it waits for its turn").text.is_empty());
    }
    let (room, of) = engine.answer_room("writer", request("Say hello.", 1).messages).await.expect("a conversation");
    assert!(room < of && of == 7 * 16, "{room} of {of}");
}
