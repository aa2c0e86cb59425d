//! `stageTimeout: Adaptive`: an attempt that hangs is cut after what was learned.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::Value;

use crate::support::{
    PLAIN, Place, changed,
    processes::{GatewayProcess, client, wait_for},
};

/// Documents that are worked before a limit is learned of them, and a few.
const LEARNED_FROM: usize = 25;

/// The processes that a process has started.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let listed: String = threads.filter_map(Result::ok).map(of_thread).collect();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Stops the first process that `process` starts, where it is; gives up when told. One that is not yet another program is left
/// alone: until then who starts it waits for it, and nothing could cut that.
fn stop_a_child(process: u32, is_over: &AtomicBool) {
    let words = |process: u32| fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let before = words(process);
    while !is_over.load(Ordering::Relaxed) {
        for child in children(process).into_iter().filter(|child| words(*child) != before) {
            let stopped = Command::new("kill").args(["-STOP", &child.to_string()]).output();
            if stopped.is_ok_and(|kill| kill.status.success()) {
                return;
            }
        }
    }
}

#[test]
fn an_attempt_that_hangs_is_cut_after_what_was_learned_and_repeated() {
    let place = Place::new();
    let adaptive = ("spec:\n  stages:", "spec:\n  stageTimeout: Adaptive\n  cache: {levels: []}\n  stages:");
    place.write("pipeline.yaml", changed(PLAIN, &[adaptive]));
    let gateway = GatewayProcess::start(&place, "resources: [pipeline.yaml]\nstate: state\n");
    let documents = format!("{}/v1/pipelines/plain/documents", gateway.http);
    let client = client();
    // A page is parsed in a process of its own, for long enough that it can be caught.
    let worked = |id: &str| -> Value {
        let page = format!("<html><body>{}</body></html>", format!("<p>A page of {id}.</p>").repeat(10_000));
        let taken = client.post(format!("{documents}?id={id}&source={id}.html")).body(page).send();
        assert_eq!(taken.expect("it answers").status(), 202);
        // The default is 5m, which nobody waits for here.
        wait_for("the document's end", || {
            let answer = client.get(format!("{documents}/{id}?wait=30")).send().expect("it answers");
            let result: Value = answer.json().expect("JSON");
            (result["outcome"] != "unfinished").then_some(result)
        })
    };
    for n in 0..LEARNED_FROM {
        assert_eq!(worked(&format!("quick{n}"))["outcome"], "succeeded");
    }
    let mut n = 0;
    let hung = wait_for("a parser to be caught", || {
        n += 1;
        let is_over = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            scope.spawn(|| stop_a_child(gateway.process.id(), &is_over));
            let result = worked(&format!("hung{n}"));
            is_over.store(true, Ordering::Relaxed);
            result
        });
        // One that was almost done when it was stopped is not the one.
        (result["stages"]["parse"]["attempts"] != 1).then_some(result)
    });
    assert_eq!(hung["outcome"], "succeeded", "{hung}");
    // On a busy machine what was learned may be too short once more.
    assert!(hung["stages"]["parse"]["attempts"].as_u64() >= Some(2), "{hung}");
}
