//! What takes long to compute keeps nobody else on the thread waiting.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_pod::{
    runtime::{models, services::Services, state::State},
    stages::{Executed, cite, execute},
};
use bytes::Bytes;
use engine::reach::Reach;
use flow::{Effect, Submission};

use crate::support;

const PIPELINE: &str = "
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec:
  models: [{name: minilm, task: Embed, source: {catalog: minilm}}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: one}
spec:
  stages: [{name: only, pool: readers, STAGE}]
";

/// Notes the longest time that it had to wait for its turn.
async fn wait_for_turns(longest: &Cell<Duration>) {
    loop {
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        longest.set(longest.get().max(begun.elapsed()));
    }
}

/// How long another on the same thread had to wait at most while a stage worked a text, and what it was worked with; `None`
/// where there is no model.
async fn longest_wait(stage: &str, text: &str) -> Option<(Duration, Arc<Services>)> {
    let models = support::models(&["minilm"])?;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pipeline.yaml");
    std::fs::write(&file, PIPELINE.replace("STAGE", stage)).expect("a file");
    let resources = crds::file::read(&[file]).expect("a valid file");
    let pools: BTreeMap<_, _> =
        resources.pools.iter().map(|pool| (pool.name().to_owned(), pool.resource.spec.clone())).collect();
    let plan = flow::compile("one", 1, &resources.pipelines[0].resource.spec, &pools).expect("a plan");
    let plan = Arc::new(plan);
    let state = State::open(folder.path()).expect("a state folder");
    let (engine, names) =
        models::start(&[Arc::clone(&plan)], Some(&models), &Reach::anybody()).await.expect("an engine");
    let services = Arc::new(Services::open(&state, engine, names).expect("services"));
    let submission = Submission {
        document: "text".to_owned(),
        tenant: "local".to_owned(),
        source: "text".to_owned(),
        payload: services.ports.payloads.put(Bytes::from(text.to_owned())).await.expect("a payload"),
        metadata: None,
        priority: crds::Priority::Normal,
        deadline: None,
        bytes: None,
    };
    let first = flow::submit(&plan, submission, 1);
    let Some(Effect::Publish(task)) = first.effects.first() else { panic!("no task: {:?}", first.effects) };
    let longest = Cell::new(Duration::ZERO);
    tokio::select! {
        done = execute(&services, &plan, &first.record, task) => match done {
            Ok(Executed::Done(_)) => {}
            Ok(Executed::Skipped | Executed::Asks { .. }) => panic!("it has no condition"),
            Err(failure) => panic!("{failure:?}"),
        },
        () = wait_for_turns(&longest) => {}
    }
    Some((longest.get(), services))
}

/// Half of what the part of the work that the test can do itself takes here; whoever does the work in between waits longer.
fn half_of<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(work());
    begun.elapsed() / 2
}

#[tokio::test]
async fn others_do_not_wait_while_a_long_text_is_cut() {
    // All paragraphs are equal, so that the model has little to do; wide spaces make them long.
    let paragraph = "the cat sat on the warm stone wall and slept until late ".repeat(7).replace(' ', &" ".repeat(20));
    let text = format!("{paragraph}\n\n").repeat(6_000);
    let Some((longest, services)) = longest_wait("embed: {}", &text).await else { return };
    let half = half_of(|| {
        let offsets = services.token_offsets("minilm", &text).expect("a tokenizer");
        knowledge::chunk(&text, &offsets, 128, 0)
    });
    assert!(longest < half, "{longest:?} of {:?}", half * 2);
}

#[tokio::test]
async fn others_do_not_wait_while_places_are_looked_for() {
    let sentence = |n: usize| format!("Cat number {n} sat on the warm stone wall.");
    let text: String = (0..100_000).map(|n| sentence(n) + "\n").collect();
    let claims: Vec<String> = (0..8).map(sentence).collect();
    let stage = format!("cite: {{text: '{}'}}", claims.join(" "));
    let Some((longest, _)) = longest_wait(&stage, &text).await else { return };
    let half = half_of(|| {
        let sentences = knowledge::sentences(&text).into_iter();
        sentences.map(|(start, end)| cite::words(&text[start..end]).len()).sum::<usize>()
    });
    assert!(longest < half, "{longest:?} of {:?}", half * 2);
}
