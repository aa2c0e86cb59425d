//! Embeddings through the engine: right against an independent reference, independent of their company, and every
//! request ends.

use std::path::Path;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::engine_support::{
    HIDDEN, POSITIONS, installed, safetensors, tiny_tensors, tiny_tokenizer, write_tiny_model,
};
use engine::catalogue::files_at;
use engine::generation::{ChatMessage, ChatRole, GenerateRequest, Sampling};
use engine::{Class, DeviceKind, Dtype, Engine, Error, ModelSpec, ModelTask, Settings};
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        device: DeviceKind::Cpu,
        threads: 2,
        max_batch: 32,
        max_wait: Duration::from_millis(5),
        token_budget: None,
        memory_fraction: None,
    }
}

fn spec(name: &str, folder: &Path) -> ModelSpec {
    let files = files_at(folder).expect("the folder holds a model");
    ModelSpec { name: name.to_owned(), task: ModelTask::Embed, files, dtype: None, context_tokens: None }
}

fn tiny(settings: Settings) -> (Engine, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_tiny_model(folder.path(), 1);
    let engine = Engine::start(settings, vec![spec("tiny", folder.path())]).expect("the tiny model loads");
    (engine, folder)
}

/// Writes what sentence-transformers keeps beside a model about its pooling.
fn write_pooling(folder: &Path, config: &str) {
    let folder = folder.join("1_Pooling");
    std::fs::create_dir_all(&folder).expect("the folder is writable");
    std::fs::write(folder.join("config.json"), config).expect("the folder is writable");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn embed(engine: &Engine, model: &str, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts = texts.iter().map(|&text| text.to_owned()).collect();
    runtime().block_on(engine.embed(model, texts, Class::Normal, None)).expect("the texts are embedded").vectors
}

fn most_different(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<GoldenCase>,
}

#[derive(serde::Deserialize)]
struct GoldenCase {
    text: String,
    tokens: usize,
    truncated: bool,
    vector: Vec<f32>,
}

/// Tolerances: cosine above 0.99999, no value off by more than 1e-4, against a reference in float64.
#[test]
fn minilm_agrees_with_the_reference() {
    let Some(folder) = installed("minilm") else { return };
    let golden: Golden =
        serde_json::from_str(include_str!("../golden/embedding.json")).expect("the golden file is JSON");
    let engine = Engine::start(settings(), vec![spec("minilm", &folder)]).expect("the model loads");
    assert_eq!(engine.dimensions("minilm"), Some(384));
    assert_eq!(engine.max_tokens("minilm"), Some(256));
    let runtime = runtime();
    let all: Vec<String> = golden.cases.iter().map(|case| case.text.clone()).collect();
    let together = runtime.block_on(engine.embed("minilm", all, Class::Normal, None)).expect("all texts are embedded");
    for (case, batched) in golden.cases.iter().zip(&together.vectors) {
        let alone = engine.embed("minilm", vec![case.text.clone()], Class::Interactive, None);
        let alone = runtime.block_on(alone).expect("the text is embedded");
        let name = case.text.chars().take(40).collect::<String>();
        assert_eq!((alone.tokens, alone.truncated), (case.tokens, usize::from(case.truncated)), "{name:?}");
        for vector in [batched, &alone.vectors[0]] {
            let cosine: f32 = vector.iter().zip(&case.vector).map(|(left, right)| left * right).sum();
            assert!(cosine > 0.99999, "{name:?}: cosine {cosine}");
            let off = most_different(vector, &case.vector);
            assert!(off < 1e-4, "{name:?}: off by {off}");
        }
    }
    assert_eq!(together.truncated, golden.cases.iter().filter(|case| case.truncated).count());
}

#[test]
fn minilm_offsets_of_a_long_text_are_those_of_its_tokens() {
    let Some(folder) = installed("minilm") else { return };
    let engine = Engine::start(settings(), vec![spec("minilm", &folder)]).expect("the model loads");
    let text = "The licensee may sublicense §4(b), über alles, to 3 affiliates… 契約\n".repeat(2000);
    let offsets = engine.token_offsets("minilm", &text).expect("the text has tokens");
    let mut tokenizer = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).expect("the tokenizer loads");
    tokenizer.with_padding(None).with_truncation(None).expect("truncation can be turned off");
    let whole = tokenizer.encode(text.as_str(), false).expect("the text has tokens");
    assert_eq!(offsets.len(), whole.len());
    assert_eq!(offsets, whole.get_offsets());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_vector_does_not_depend_on_its_companions(texts in prop::collection::vec("[a-z ]{0,80}", 2..12)) {
        let (engine, _folder) = tiny(settings());
        let all: Vec<&str> = texts.iter().map(String::as_str).collect();
        let together = embed(&engine, "tiny", &all);
        for (text, batched) in all.iter().zip(&together) {
            let alone = embed(&engine, "tiny", &[text]);
            prop_assert!(most_different(batched, &alone[0]) < 1e-6);
        }
    }

    #[test]
    fn offsets_are_ordered_and_on_characters(text in "(\\PC{0,40}|[a-z]{1,9} ){0,60}") {
        let (engine, _folder) = tiny(settings());
        let mut previous = 0;
        for (start, end) in engine.token_offsets("tiny", &text).expect("any text has offsets") {
            prop_assert!(previous <= start && start <= end && end <= text.len());
            prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
            previous = start;
        }
    }
}

#[test]
fn minilm_vectors_do_not_depend_on_their_companions() {
    let Some(folder) = installed("minilm") else { return };
    let engine = Engine::start(settings(), vec![spec("minilm", &folder)]).expect("the model loads");
    let long = "an obligation that survives termination ".repeat(30);
    let texts = ["a", "short text", long.as_str(), "", "the parties agree"];
    let together = embed(&engine, "minilm", &texts);
    for (text, batched) in texts.iter().zip(&together) {
        let off = most_different(batched, &embed(&engine, "minilm", &[text])[0]);
        assert!(off < 1e-6, "off by {off}");
    }
}

#[test]
fn more_texts_than_a_slice_come_back_in_order_and_of_length_one() {
    let (engine, _folder) = tiny(settings());
    let texts: Vec<String> = (0..700).map(|number| format!("text {number}")).collect();
    let embedded = runtime().block_on(engine.embed("tiny", texts, Class::Bulk, None)).expect("all are embedded");
    assert_eq!(embedded.vectors.len(), 700);
    for number in [0, 255, 256, 511, 512, 699] {
        let text = format!("text {number}");
        let alone = embed(&engine, "tiny", &[&text]);
        assert!(most_different(&embedded.vectors[number], &alone[0]) < 1e-6, "text {number}");
    }
    for vector in &embedded.vectors {
        assert_eq!(vector.len(), HIDDEN);
        assert!((vector.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let statistics = engine.statistics();
    assert!(statistics.sequences >= 700 && statistics.batches >= 700 / 32);
    assert_eq!(statistics.useful_tokens, statistics.processed_tokens);
}

#[test]
fn no_text_gives_no_vector_and_an_empty_text_gives_one() {
    let (engine, _folder) = tiny(settings());
    assert!(embed(&engine, "tiny", &[]).is_empty());
    assert_eq!(embed(&engine, "tiny", &[""]).len(), 1);
}

#[test]
fn a_text_without_tokens_gives_zeros_and_changes_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_tiny_model(folder.path(), 1);
    write_pooling(folder.path(), r#"{"pooling_mode_cls_token": true}"#);
    // Without a post-processor no special token frames a text.
    let tokenizer = tiny_tokenizer();
    let (before, rest) = tokenizer.split_once(r#""post_processor":"#).expect("it has a post-processor");
    let (_, after) = rest.split_once(r#""decoder":"#).expect("a decoder follows");
    let frameless = format!(r#"{before}"post_processor":null,"decoder":{after}"#);
    std::fs::write(folder.path().join("tokenizer.json"), frameless).expect("the folder is writable");
    let engine = Engine::start(settings(), vec![spec("tiny", folder.path())]).expect("the tiny model loads");
    let zeros = vec![0.0_f32; HIDDEN];
    assert_eq!(embed(&engine, "tiny", &["\u{200b}"]), [zeros.clone()]);
    let together = embed(&engine, "tiny", &["", "abc", "\u{200b}"]);
    assert_eq!((&together[0], &together[2]), (&zeros, &zeros));
    assert!(most_different(&together[1], &embed(&engine, "tiny", &["abc"])[0]) < 1e-6);
}

#[test]
fn a_text_beyond_the_limit_is_cut_and_counted() {
    let (engine, _folder) = tiny(settings());
    let text = "abc ".repeat(POSITIONS);
    let embedded = runtime().block_on(engine.embed("tiny", vec![text], Class::Normal, None)).expect("it is embedded");
    assert_eq!((embedded.tokens, embedded.truncated), (POSITIONS, 1));
}

#[test]
fn requests_for_what_is_not_there_say_so() {
    let (engine, folder) = tiny(settings());
    let unknown = runtime().block_on(engine.embed("other", vec!["a".into()], Class::Normal, None));
    assert!(matches!(unknown, Err(Error::FindModel { model }) if model == "other"));
    assert!(engine.digest("other").is_none() && engine.dimensions("other").is_none());
    let bytes = std::fs::read(folder.path().join("model.safetensors")).expect("the weights are readable");
    assert_eq!(engine.digest("tiny"), Some(blake3::hash(&bytes).to_hex().as_str()));
    assert_eq!(engine.models()[0].bytes, bytes.len() as u64);
}

#[test]
fn what_changes_vectors_changes_their_digest_and_a_name_does_not() {
    let digest = |name: &str, context_tokens: Option<usize>, change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_tiny_model(folder.path(), 1);
        change(folder.path());
        let spec = ModelSpec { context_tokens, ..spec(name, folder.path()) };
        let engine = Engine::start(settings(), vec![spec]).expect("the tiny model loads");
        engine.vectors_digest(name).expect("it embeds").to_owned()
    };
    let plain = digest("tiny", None, &|_| {});
    assert_eq!(plain, digest("other", Some(POSITIONS), &|_| {}));
    let write = |folder: &Path, file: &str, text: &str| {
        std::fs::write(folder.join(file), text).expect("the folder is writable");
    };
    let cased = tiny_tokenizer().replace(r#""lowercase":true"#, r#""lowercase":false"#);
    let changed = [
        digest("tiny", Some(8), &|_| {}),
        digest("tiny", None, &|folder| write(folder, "tokenizer.json", &cased)),
        digest("tiny", None, &|folder| write(folder, "config.json", r#"{"num_attention_heads": 4}"#)),
        digest("tiny", None, &|folder| write_pooling(folder, r#"{"pooling_mode_cls_token": true}"#)),
        digest("tiny", None, &|folder| write_tiny_model(folder, 2)),
    ];
    let all: std::collections::HashSet<_> = changed.iter().chain([&plain]).collect();
    assert_eq!(all.len(), 6);
}

#[test]
fn models_that_cannot_work_are_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_tiny_model(folder.path(), 1);
    let start = |change: &dyn Fn(&mut ModelSpec)| {
        let mut spec = spec("tiny", folder.path());
        change(&mut spec);
        Engine::start(settings(), vec![spec]).err().expect("the model is refused")
    };
    let error = start(&|spec| spec.dtype = Some(Dtype::F16));
    assert!(chain(&error).contains("f16"), "{}", chain(&error));
    assert!(matches!(start(&|spec| spec.files.tokenizer = None), Error::FindTokenizer { .. }));
    assert!(matches!(
        start(&|spec| spec.files.weights = folder.path().join("absent.safetensors")),
        Error::LoadEmbedder { .. }
    ));
    let twice = vec![spec("tiny", folder.path()), spec("tiny", folder.path())];
    assert!(matches!(Engine::start(settings(), twice), Err(Error::DistinguishModels { .. })));
}

#[test]
fn encoders_whose_vectors_would_be_wrong_are_refused_and_told_why() {
    let start = |change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_tiny_model(folder.path(), 1);
        change(folder.path());
        Engine::start(settings(), vec![spec("tiny", folder.path())])
    };
    let write_config = |folder: &Path, field: &str| {
        let config = format!(r#"{{"num_attention_heads": 2, {field}}}"#);
        std::fs::write(folder.join("config.json"), config).expect("the folder is writable");
    };
    let write_gap = |folder: &Path| {
        let moved = |name: String| name.replace("encoder.layer.1.", "encoder.layer.2.");
        let tensors = tiny_tensors(1).into_iter().map(|(name, tensor)| (moved(name), tensor)).collect();
        std::fs::write(folder.join("model.safetensors"), safetensors(&tensors)).expect("the folder is writable");
    };
    let refusals: [(&dyn Fn(&Path), &str); 7] = [
        (&|folder| write_config(folder, r#""model_type": "xlm-roberta""#), "xlm-roberta"),
        (&|folder| write_config(folder, r#""num_hidden_layers": 3"#), "names 3 layers, the weights have 2"),
        (&write_gap, "encoder.layer.1."),
        (&|folder| write_pooling(folder, r#"{"pooling_mode_max_tokens": true}"#), "max_tokens"),
        (&|folder| write_pooling(folder, r#"{"pooling_mode_lasttoken": true}"#), "lasttoken"),
        (
            &|folder| write_pooling(folder, r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#),
            "cls_token, mean_tokens",
        ),
        (&|folder| write_pooling(folder, r#"{"pooling_mode": "max"}"#), "max"),
    ];
    for (change, reason) in refusals {
        let error = chain(&start(change).err().expect("the model is refused"));
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let known = start(&|folder| {
        write_config(folder, r#""model_type": "bert", "num_hidden_layers": 2"#);
        write_pooling(folder, r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_sqrt_len_tokens": true}"#);
    });
    let (plain, _folder) = tiny(settings());
    let known = embed(&known.expect("the model is known"), "tiny", &["abc"]);
    assert!(most_different(&known[0], &embed(&plain, "tiny", &["abc"])[0]) < 1e-6);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_without_support_is_an_error_and_never_the_cpu() {
    let error = Engine::start(Settings { device: DeviceKind::Gpu, ..settings() }, Vec::new());
    assert!(matches!(error, Err(Error::FindGpuSupport)));
}

#[test]
fn a_deadline_that_has_passed_ends_the_request() {
    let (engine, _folder) = tiny(settings());
    let past = Instant::now().checked_sub(Duration::from_secs(1)).expect("the machine runs for more than a second");
    let late = runtime().block_on(engine.embed("tiny", vec!["a".into()], Class::Normal, Some(past)));
    assert!(matches!(late, Err(Error::MeetDeadline)));
    assert_eq!(embed(&engine, "tiny", &["still works"]).len(), 1);
}

#[test]
fn requests_whose_caller_has_gone_are_dropped_and_counted() {
    let (engine, _folder) = tiny(Settings { max_batch: 1, ..settings() });
    runtime().block_on(async {
        let long = vec!["a long text that keeps the engine busy for a while".to_owned(); 256];
        let busy = tokio::spawn({
            let engine = engine.clone();
            async move { engine.embed("tiny", long, Class::Normal, None).await }
        });
        while engine.statistics().batches == 0 {
            tokio::task::yield_now().await;
        }
        // Each waits behind the long request, unless that has ended meanwhile on a busy machine.
        for _ in 0..50 {
            let mut request = Box::pin(engine.embed("tiny", vec!["gone".to_owned()], Class::Normal, None));
            std::future::poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_ready())).await;
        }
        busy.await.expect("no task panics").expect("it is embedded");
        engine.embed("tiny", vec!["last".to_owned()], Class::Normal, None).await.expect("it is embedded");
    });
    let statistics = engine.statistics();
    assert_eq!((statistics.dropped + statistics.sequences, statistics.waiting), (50 + 257, 0));
    assert!(statistics.dropped > 0, "all were embedded");
}

#[test]
fn all_classes_are_served_at_once() {
    let (engine, _folder) = tiny(settings());
    runtime().block_on(async {
        let tasks: Vec<_> = [Class::Bulk, Class::Normal, Class::Interactive]
            .into_iter()
            .cycle()
            .take(60)
            .enumerate()
            .map(|(number, class)| {
                let engine = engine.clone();
                let texts = (0..20).map(|text| format!("{number} {text}")).collect();
                tokio::spawn(async move { engine.embed("tiny", texts, class, None).await })
            })
            .collect();
        for task in tasks {
            let embedded = task.await.expect("no task panics").expect("every class is served");
            assert_eq!(embedded.vectors.len(), 20);
        }
    });
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn embedding_and_generation_share_one_engine() {
    let (Some(embedder), Some(writer)) = (installed("minilm"), installed("smollm2-135m-instruct")) else { return };
    let writer = ModelSpec { task: ModelTask::Generate, ..spec("writer", &writer) };
    let engine = Engine::start(settings(), vec![spec("minilm", &embedder), writer]).expect("both models load");
    let request = || GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: "Name a colour.".to_owned() }],
        max_tokens: 12,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        schema: None,
    };
    let mismatch = runtime().block_on(engine.embed("writer", vec!["a".into()], Class::Normal, None));
    assert!(matches!(mismatch, Err(Error::MatchTask { .. })));
    let mismatch = runtime().block_on(engine.generate("minilm", request(), Class::Normal, None, None));
    assert!(matches!(mismatch, Err(Error::MatchTask { .. })));

    let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel();
    let texts = (0..60).map(|number| format!("clause {number} of the agreement")).collect();
    let past = Instant::now();
    let (embedded, generated, late) = runtime().block_on(async {
        tokio::join!(
            engine.embed("minilm", texts, Class::Bulk, None),
            engine.generate("writer", request(), Class::Interactive, None, Some(sender)),
            engine.generate("writer", request(), Class::Normal, Some(past), None),
        )
    });
    assert_eq!(embedded.expect("texts are embedded").vectors.len(), 60);
    let generated = generated.expect("an answer is generated");
    assert!(generated.completion_tokens > 0 && generated.completion_tokens <= 12);
    let mut streamed = String::new();
    while let Ok(piece) = pieces.try_recv() {
        streamed.push_str(&piece);
    }
    assert_eq!(streamed, generated.text);
    assert!(matches!(late, Err(Error::MeetDeadline)));
    let offsets = engine.token_offsets("writer", "two words").expect("the text has tokens");
    assert_eq!(offsets, [(0, 3), (3, 9)]);
    assert!(engine.statistics().generation_steps > 0);
}
