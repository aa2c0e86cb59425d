//! Vectors that are kept: whose they are, and that they go.

use std::{path::Path, time::Duration};

use agent_pod::runtime::{
    models::ModelNames,
    services::Services,
    vectors::{Vectors, remove_others},
};
use engine::{Class, DeviceKind, Engine, ModelSpec, ModelTask, Settings};

use crate::support;

/// What stages use, with a model that reads so many tokens.
fn services(folder: &Path, model: &Path, context_tokens: usize) -> Services {
    let files = engine::catalogue::files_at(model).expect("the folder holds a model");
    let context_tokens = Some(context_tokens);
    let spec = ModelSpec { name: "minilm".to_owned(), task: ModelTask::Embed, files, dtype: None, context_tokens };
    let settings = Settings {
        device: DeviceKind::Cpu,
        threads: 1,
        max_batch: 8,
        max_wait: Duration::ZERO,
        token_budget: None,
        memory_fraction: None,
    };
    let engine = Engine::start(settings, vec![spec]).expect("the model loads");
    Services::open_at(folder, queue::memory::open(), engine, ModelNames::default()).expect("services")
}

#[tokio::test]
async fn a_model_that_reads_more_does_not_get_vectors_of_one_that_reads_less() {
    let Some(models) = support::models(&["minilm"]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let text = ["The licensee may sublicense the work, and shall keep every notice in all copies of it.".to_owned()];
    let mut made = Vec::new();
    for context_tokens in [8, 64, 8] {
        let services = services(folder.path(), &models.join("minilm"), context_tokens);
        made.push(services.embed("minilm", &text, Class::Normal, None).await.expect("a vector"));
    }
    assert_ne!(made[0], made[1]);
    assert_eq!(made[0], made[2]);
}

#[test]
fn vectors_of_models_that_are_held_no_more_go_with_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let [held, other] = ["held", "other"].map(|digest| {
        let vectors = Vectors::open(folder.path(), digest, 1).expect("a log");
        vectors.put([("text", &[1.0_f32][..])]);
        vectors
    });
    drop(other);
    assert_eq!(remove_others(folder.path(), [&held].into_iter()).expect("removed"), 1);
    assert_eq!(Vectors::open(folder.path(), "held", 1).expect("a log").get("text"), Some(vec![1.0]));
    assert_eq!(Vectors::open(folder.path(), "other", 1).expect("a log").get("text"), None);
}
