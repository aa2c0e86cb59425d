//! Which worker is asked first.

use std::sync::Arc;

use agent_pod::serve::inference::{
    directory::Held,
    workers::{Sending, Sent, candidates},
};
use flow::{HeldModel, PodStatus};

fn worker(name: &str, in_work: u32, slots: u32) -> PodStatus {
    PodStatus {
        name: name.to_owned(),
        pool: "readers".to_owned(),
        slots,
        in_work,
        ready: true,
        models: vec![HeldModel { name: "mini".to_owned(), digest: String::new() }],
        address: Some(format!("{name}:80")),
        ..PodStatus::default()
    }
}

#[test]
fn the_least_loaded_worker_comes_first_and_what_was_just_sent_counts() {
    let living = [worker("a", 4, 8), worker("b", 1, 8), worker("c", 1, 2)];
    let all = || living.iter().filter_map(|status| Some((status.address.as_deref()?, status))).collect();
    let sent = Arc::new(Sent::default());
    assert_eq!(sent.in_order(all()), ["b:80", "a:80", "c:80"]);
    let sending: Vec<Sending> = (0..5).map(|_| sent.begin("b:80".to_owned())).collect();
    assert_eq!(sent.in_order(all()), ["a:80", "c:80", "b:80"]);
    drop(sending);
    assert_eq!(sent.in_order(all()), ["b:80", "a:80", "c:80"]);
}

fn asked<'a>(living: &'a [PodStatus], held: &[&Held]) -> Vec<&'a str> {
    candidates(living, held).into_iter().map(|(address, _)| address).collect()
}

#[test]
fn only_workers_that_take_requests_for_the_model_are_asked() {
    let mut directory = agent_pod::serve::inference::directory::Directory::default();
    let models = serde_json::json!({"models": [{"name": "mini", "task": "Embed", "source": {"catalog": "minilm"}}]});
    directory.add("readers", &serde_json::from_value(models).expect("a pool"), [], None);
    let caller = agent_pod::serve::gateway::tokens::Caller::default();
    let held = directory.find(&caller, "mini", crds::ModelTask::Embed).unwrap_or_else(|_| panic!("it is there"));
    let of_another_pool = PodStatus { pool: "writers".to_owned(), ..worker("other", 0, 1) };
    let without_model = PodStatus { models: Vec::new(), ..worker("empty", 0, 1) };
    let living = [
        worker("good", 0, 1),
        PodStatus { ready: false, ..worker("loading", 0, 1) },
        PodStatus { cordoned: true, ..worker("stopping", 0, 1) },
        PodStatus { cordoned: true, resting: true, ..worker("resting", 0, 1) },
        PodStatus { address: None, ..worker("closed", 0, 1) },
        of_another_pool,
        without_model,
    ];
    assert_eq!(asked(&living, &held), ["good:80"]);
    assert_eq!(asked(&living[1..], &held), ["resting:80"], "nobody else could answer");
}
