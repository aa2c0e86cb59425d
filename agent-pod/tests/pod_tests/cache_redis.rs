//! The cache level that processes share, through the command: a second machine answers from it, and its death stops nothing.

use std::{io::Read as _, process::Stdio};

use serde_json::{Value, json};

use crate::support::{PLAIN, Place, Ran, models, redis_server::RedisServer};

fn with_levels(levels: &str) -> String {
    PLAIN.replace("spec:\n  stages:", &format!("spec:\n  cache: {{levels: {levels}}}\n  stages:"))
}

/// A run of all that is in `in`, with a state folder and a server; these tests are not about time, so it may take some.
fn arguments<'a>(state: &'a str, url: &'a str) -> Vec<&'a str> {
    let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--output", state, "--format", "jsonl"];
    [&run[..], &["--state", state, "--redis", url, "--redis-timeout", "20s"]].concat()
}

fn run(place: &Place, state: &str, url: &str) -> Ran {
    place.docket(&arguments(state, url)).code(0)
}

fn summary(place: &Place, state: &str) -> Value {
    let text = std::fs::read_to_string(place.path(&format!("{state}/summary.json"))).expect("a summary");
    serde_json::from_str(&text).expect("JSON")
}

fn stats(place: &Place, state: &str, url: &str) -> Value {
    let ran = place.docket(&["cache", "stats", "--state", state, "--redis", url, "--format", "json"]).code(0);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// Reads and writes with a small model; what it writes depends on the text alone.
const WRITER: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  models: [{name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 512}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: writer}
spec:
  stages:
  - {name: parse, pool: writers, parse: {}}
  - {name: draft, pool: writers, after: [parse], generate: {model: small, prompt: "{{ document.text }}", maxTokens: 4}}
"#;

#[test]
fn a_second_state_folder_answers_from_the_same_redis() {
    let (Some(redis), Some(_)) = (RedisServer::start(), models(&["smollm2-135m-instruct"])) else { return };
    let place = Place::new();
    let levels =
        |levels| WRITER.replace("spec:\n  stages:", &format!("spec:\n  cache: {{levels: {levels}}}\n  stages:"));
    place.write("pipeline.yaml", levels("[Memory, Redis, Disk]"));
    place.write("in/a.html", "<html><body><p>Say hello.</p></body></html>");
    let first = run(&place, "first", &redis.url()).lines();
    assert_eq!(first[0]["stages"]["draft"]["cached"], false);
    assert_eq!(stats(&place, "first", &redis.url())["redis"]["entries"], 2);
    let second = run(&place, "second", &redis.url()).lines();
    assert_eq!(second[0]["stages"]["draft"]["cached"], true);
    assert_eq!(second[0]["output"], first[0]["output"]);
    // The text of the page is a payload, and the second folder has never had it.
    assert_eq!(second[0]["stages"]["parse"]["cached"], false);
    let summary = summary(&place, "second");
    let cache = &summary["cache"];
    assert_eq!((&cache["redis"]["hits"], &cache["redis"]["misses"]), (&json!(1), &json!(1)), "{cache}");
    assert_eq!((&cache["redis"]["errors"], &cache["redis"]["breaker"]), (&json!(0), &json!("closed")), "{cache}");
    assert_eq!((&cache["computed"], &cache["disk"]["hits"]), (&json!(1), &json!(0)), "{cache}");
    assert_eq!(summary["tokens"]["completion"], 0);
    // Without the level, a third one finds nothing.
    place.write("pipeline.yaml", levels("[Memory, Disk]"));
    let ran = run(&place, "third", &redis.url()).says("--redis is not used");
    assert_eq!(ran.lines()[0]["stages"]["draft"]["cached"], false);
}

#[test]
fn a_second_process_answers_from_redis_where_the_payloads_are() {
    let Some(redis) = RedisServer::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", with_levels("[Redis]"));
    place.write("in/a.txt", "the same text");
    assert_eq!(run(&place, "state", &redis.url()).lines()[0]["stages"]["parse"]["cached"], false);
    let lines = run(&place, "state", &redis.url()).lines();
    assert_eq!(lines[0]["stages"]["parse"]["cached"], true);
    assert_eq!(lines[0]["output"], json!({"head": "the same text", "bytes": 13}));
    let kept = stats(&place, "state", &redis.url());
    assert_eq!((&kept["redis"]["entries"], &kept["disk"]["entries"]), (&json!(1), &json!(0)));
    let cleared = place.docket(&["cache", "clear", "--state", "state", "--redis", &redis.url(), "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&cleared.code(0).stdout).expect("JSON")["redis"], kept["redis"]);
    assert_eq!(run(&place, "state", &redis.url()).lines()[0]["stages"]["parse"]["cached"], false);
}

#[test]
fn a_stage_that_leaves_the_cache_alone_leaves_redis_alone() {
    let Some(redis) = RedisServer::start() else { return };
    let place = Place::new();
    let all = with_levels("[Memory, Redis, Disk]");
    place
        .write("pipeline.yaml", all.replace("name: parse, pool: readers,", "name: parse, pool: readers, cache: None,"));
    place.write("in/a.txt", "the same text");
    run(&place, "state", &redis.url());
    assert_eq!(run(&place, "state", &redis.url()).lines()[0]["stages"]["parse"]["cached"], false);
    let kept = stats(&place, "state", &redis.url());
    assert_eq!((&kept["redis"]["entries"], &kept["disk"]["entries"]), (&json!(0), &json!(0)));
    // The same without the word is kept everywhere.
    place.write("pipeline.yaml", all);
    run(&place, "state", &redis.url());
    let kept = stats(&place, "state", &redis.url());
    assert_eq!((&kept["redis"]["entries"], &kept["disk"]["entries"]), (&json!(1), &json!(1)));
}

#[test]
fn redis_dies_in_the_middle_and_every_document_ends() {
    const DOCUMENTS: usize = 200;
    let Some(mut redis) = RedisServer::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", with_levels("[Redis]"));
    for n in 0..DOCUMENTS {
        place.write(&format!("in/{n:03}.txt"), format!("document number {n}"));
    }
    let url = redis.url();
    let mut docket = place.command(&arguments("state", &url));
    let mut docket = docket.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("docket starts");
    let mut results = docket.stdout.take().expect("its output");
    // The first document has ended, most have not.
    let mut first = [0; 1];
    results.read_exact(&mut first).expect("a result");
    redis.kill();
    let mut rest = String::new();
    results.read_to_string(&mut rest).expect("the results");
    assert_eq!(docket.wait().expect("docket ends").code(), Some(0));
    assert_eq!(rest.lines().count(), DOCUMENTS);
    let summary = summary(&place, "state");
    assert_eq!(summary["documents"]["succeeded"], DOCUMENTS);
    let level = &summary["cache"]["redis"];
    assert!(level["errors"].as_u64().is_some_and(|errors| errors >= 5), "it was used when it died: {level}");
    assert_ne!(level["breaker"], "closed", "{level}");
}

#[test]
fn without_redis_the_level_is_left_out_and_said_so() {
    let place = Place::new();
    place.write("pipeline.yaml", with_levels("[Memory, Redis, Disk]"));
    place.write("in/a.txt", "text");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "in"]).code(0).says("the level is left out");
    // Nobody listens at this port.
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "in", "--redis", "redis://127.0.0.1:1"]).code(0);
    ran.says("the Redis level of the cache is left out");
    let wrong = ["run", "-f", "pipeline.yaml", "--input", "in", "--redis", "http://localhost"];
    place.docket(&wrong).code(2).says("--redis");
    place.docket(&["cache", "stats", "--redis", "redis://127.0.0.1:1"]).code(3).says("ask Redis at 127.0.0.1:1");
}

#[test]
fn kept_results_are_counted_and_cleared() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("a.txt", "the same text");
    let missing = place.docket(&["cache", "stats"]).code(2);
    missing.says("there is no state folder .docket");
    let run = ["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "jsonl"];
    place.docket(&run).code(0);
    let count = |arguments: &[&str]| -> Value {
        let ran = place.docket(&[&["cache"], arguments, &["--format", "json"]].concat()).code(0);
        serde_json::from_str::<Value>(&ran.stdout).expect("JSON")["disk"].clone()
    };
    let kept = count(&["stats"]);
    assert_eq!(kept["entries"], 1);
    assert!(kept["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    assert!(place.docket(&["cache", "stats"]).code(0).stdout.contains("LEVEL"));
    assert_eq!(count(&["clear", "--older-than", "1h"])["entries"], 0);
    assert_eq!(count(&["clear", "--older-than", "0ms"]), kept, "it says what it removed");
    assert_eq!(count(&["stats"])["entries"], 0);
    assert_eq!(place.docket(&run).code(0).lines()[0]["stages"]["parse"]["cached"], false);
    assert_eq!(count(&["clear"])["entries"], 1);
    assert_eq!(place.docket(&run).code(0).lines()[0]["stages"]["parse"]["cached"], false);
}
