//! Tokens that watchers see while a model writes.

use std::{collections::BTreeMap, sync::Arc};

use agent_pod::{
    runtime::{models, progress, services::Services, state::State},
    stages::{Executed, execute},
};
use bytes::Bytes;
use engine::reach::Reach;
use flow::{Effect, Submission};
use serde_json::Value;

use crate::support;

const PIPELINE: &str = "
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  models: [{name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 256}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: one}
spec:
  stages: [{name: draft, pool: writers, generate: {prompt: 'Name three animals.', maxTokens: 12}}]
";

/// The answer of a stage and the pieces that a watcher of its tokens got; `None` where there is no model.
async fn answer_and_pieces(pipeline: &str) -> Option<(String, Vec<Value>)> {
    let models = support::models(&["smollm2-135m-instruct"])?;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pipeline.yaml");
    std::fs::write(&file, pipeline).expect("a file");
    let resources = crds::file::read(&[file]).expect("a valid file");
    let pools: BTreeMap<_, _> =
        resources.pools.iter().map(|pool| (pool.name().to_owned(), pool.resource.spec.clone())).collect();
    let spec = &resources.pipelines[0].resource.spec;
    let plan = Arc::new(flow::compile("one", 1, spec, &pools).expect("a plan"));
    let state = State::open(folder.path()).expect("a state folder");
    let (engine, names) =
        models::start(&[Arc::clone(&plan)], Some(&models), &Reach::anybody()).await.expect("an engine");
    let services = Arc::new(Services::open(&state, engine, names).expect("services"));
    let submission = Submission {
        document: "text".to_owned(),
        tenant: "local".to_owned(),
        source: "text".to_owned(),
        payload: services.ports.payloads.put(Bytes::from("some text")).await.expect("a payload"),
        metadata: None,
        priority: crds::Priority::Normal,
        deadline: None,
        bytes: None,
    };
    let first = flow::submit(&plan, submission, 1);
    let Some(Effect::Publish(task)) = first.effects.first() else { panic!("no task: {:?}", first.effects) };
    let mut watched = services.ports.events.watch(&progress::tokens_prefix("one", "text")).await.expect("a watcher");
    let done = match execute(&services, &plan, &first.record, task).await {
        Ok(Executed::Done(done)) => done,
        Ok(Executed::Skipped | Executed::Asks { .. }) => panic!("it has no condition"),
        Err(failure) => panic!("{failure:?}"),
    };
    let answer = services.json(&done.output).await.expect("an output");
    // Whoever still sends holds the ports: without them the watcher's end is reached.
    drop((services, state));
    let mut pieces = Vec::new();
    while let Some((_, body)) = watched.recv().await {
        pieces.push(serde_json::from_slice(&body).expect("JSON"));
    }
    Some((answer["text"].as_str().expect("a text").to_owned(), pieces))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_reach_watchers_in_order_unless_streaming_is_off() {
    let Some((answer, pieces)) = answer_and_pieces(PIPELINE).await else { return };
    assert!(pieces.len() > 3, "{pieces:?}");
    let text: String = pieces.iter().map(|piece| piece["text"].as_str().expect("a text")).collect();
    assert_eq!(text.trim(), answer);
    let numbers: Vec<_> = pieces.iter().map(|piece| piece["sequence"].as_u64().expect("a number")).collect();
    assert!(numbers.iter().copied().eq(0..pieces.len() as u64), "{numbers:?}");
    let silent = PIPELINE.replace("spec:\n  stages", "spec:\n  streaming: false\n  stages");
    let (same, pieces) = answer_and_pieces(&silent).await.expect("a model");
    assert_eq!(same, answer);
    assert!(pieces.is_empty(), "{pieces:?}");
}
