//! A broker, a gateway and workers as processes of their own: killed, stopped, and compared with one process.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
};

use queue::jetstream::{self, Settings};
use serde_json::{Value, json};

use crate::support::{
    PLAIN, Place, Ran, changed,
    processes::{GatewayProcess, Nats, Process, client, metrics, sum, wait_for, worker},
    redis_server::RedisServer,
};

/// A pipeline whose second stage takes a while and whose results depend on nothing but the text.
fn pipeline() -> String {
    let slow =
        "{% for a in range(60) %}{% for b in range(1000) %}{% endfor %}{% endfor %}{{ document.text | head(20) }}";
    PLAIN
        .replace("{{ document.text | head(20) }}", slow)
        .replace("spec:\n  stages:", "spec:\n  cache: {levels: []}\n  stages:")
}

/// A cluster in a test's folder.
struct Cluster {
    place: Place,
    nats: Nats,
    gateway: GatewayProcess,
    lease: &'static str,
}

impl Cluster {
    fn start() -> Option<Self> {
        Self::start_with(LEASE)
    }

    fn start_with(lease: &'static str) -> Option<Self> {
        let nats = Nats::start()?;
        let place = Place::new();
        place.write("pipeline.yaml", pipeline());
        let gateway = GatewayProcess::start(&place, &common_with(&nats, lease, ""));
        Some(Self { place, nats, gateway, lease })
    }

    fn worker(&self, name: &str, config: &str) -> Process {
        let config = common_with(&self.nats, self.lease, config);
        let mut worker = worker(&self.place, name, &format!("pool: readers\n{config}"));
        worker.says(&format!("worker {name} takes tasks"));
        worker
    }

    fn write_documents(&self, count: usize) {
        for n in 0..count {
            self.place.write(&format!("in/{}/{n:03}.txt", n % 3), format!("document number {n} says {}", n * n));
        }
    }

    fn count(&self, outcome: &str) -> usize {
        count(&self.gateway.http, outcome)
    }

    fn submit(&self, more: &[&str]) -> Ran {
        let submit = ["submit", "--gateway", &self.gateway.http, "--input", "in", "--format", "jsonl"];
        self.place.docket(&[&submit[..], more].concat())
    }
}

fn count(gateway: &str, outcome: &str) -> usize {
    let address = format!("{gateway}/v1/pipelines/plain/documents?limit=1000&outcome={outcome}");
    let listed: Value = client().get(address).send().expect("it answers").json().expect("JSON");
    listed["documents"].as_array().expect("documents").len()
}

/// A lease that is short enough for a test and long enough for a busy machine.
const LEASE: &str = "3s";

fn common(nats: &Nats, more: &str) -> String {
    common_with(nats, LEASE, more)
}

fn common_with(nats: &Nats, lease: &str, more: &str) -> String {
    format!("resources: [pipeline.yaml]\nnats: {{servers: ['{}'], lease: {lease}}}\n{more}", nats.url)
}

/// What must not depend on where a document was worked: outcome, outputs and the outcome of every stage.
fn essence(lines: &[Value]) -> BTreeMap<String, Value> {
    let stage = |(name, stage): (&String, &Value)| (name.clone(), json!([stage["outcome"], stage["output"]]));
    let of = |line: &Value| {
        let stages: BTreeMap<String, Value> = line["stages"].as_object().expect("stages").iter().map(stage).collect();
        json!({"outcome": line["outcome"], "output": line["output"], "plan": line["plan"], "stages": stages})
    };
    lines.iter().map(|line| (line["document"].as_str().expect("an id").to_owned(), of(line))).collect()
}

/// Tries what is to happen in the middle of the work, until it does: a busy machine may come too late for it, but not each
/// time.
fn in_the_middle(attempt: fn() -> bool) {
    assert!((0..3).any(|_| attempt()), "all work was done before anything was interrupted, three times");
}

#[test]
fn every_document_ends_once_as_in_one_process_although_a_worker_is_killed() {
    in_the_middle(a_worker_is_killed);
}

/// Whether it was in the middle of the work, or cannot be tried.
fn a_worker_is_killed() -> bool {
    let Some(cluster) = Cluster::start() else { return true };
    let documents = 200;
    cluster.write_documents(documents);
    let mut killed = cluster.worker("killed", "");
    let _other = cluster.worker("other", "");
    let (ran, unfinished) = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| cluster.submit(&["--output", "out"]));
        // The others are the machine's time to be late in.
        wait_for("some documents to end", || (cluster.count("succeeded") >= 5).then_some(()));
        killed.kill();
        let unfinished = cluster.count("unfinished");
        (submitting.join().expect("it has ended"), unfinished)
    });
    let lines = ran.code(0).lines();
    assert_eq!(lines.len(), documents, "one line a document");
    assert_eq!(cluster.place.results("out/results.jsonl").len(), documents);
    assert_eq!(cluster.count("unfinished"), 0);
    assert_eq!(cluster.count("succeeded"), documents);
    let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"];
    let alone = cluster.place.docket(&run).code(0).lines();
    assert_eq!(essence(&lines), essence(&alone));
    let again = cluster.submit(&[]).code(0).lines();
    assert_eq!(essence(&again), essence(&lines), "a second submission is the first one");
    unfinished > 0
}

#[test]
fn processes_that_are_there_before_the_broker_wait_for_it_or_for_a_signal() {
    let Some(mut nats) = Nats::start() else { return };
    nats.kill();
    let place = Place::new();
    place.write("pipeline.yaml", pipeline());
    place.write("gateway.yaml", format!("http: 127.0.0.1:0\nhealth: 127.0.0.1:0\n{}", common(&nats, "")));
    let gateway = || Process::start(&place, &["gateway", "--config", "gateway.yaml", "--log", "warn"]);
    let agent = |name: &str| worker(&place, name, &format!("pool: readers\n{}", common(&nats, "")));
    let mut stopped = [agent("stopped"), gateway()];
    let (mut works, mut serves) = (agent("works"), gateway());
    for process in stopped.iter().chain([&works, &serves]) {
        wait_for("a broker that is missed", || process.said().contains("cannot be used yet").then_some(()));
    }
    for process in &mut stopped {
        process.terminate();
        assert_eq!(process.ends().code(), Some(0), "{}", process.said());
    }
    nats.restart();
    works.says("worker works takes tasks");
    serves.says("gateway ");
}

/// A pool whose model comes from there.
fn with_model_from(address: SocketAddr) -> String {
    let source = format!("{{http: {{url: 'http://{address}/model.gguf', sha256: '{}'}}}}", "0".repeat(64));
    let model = format!("{{name: slow, task: Generate, source: {source}}}");
    changed(PLAIN, &[("{concurrency: 4}", &format!("{{models: [{model}]}}"))])
}

#[test]
fn processes_whose_models_do_not_come_end_when_they_are_asked_to() {
    let Some(nats) = Nats::start() else { return };
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    server.set_nonblocking(true).expect("set");
    let place = Place::new();
    place.write("pipeline.yaml", with_model_from(server.local_addr().expect("an address")));
    let patient = "grace: 1h\nmodels: models\n";
    let alone = format!("http: 127.0.0.1:0\nresources: [pipeline.yaml]\nstate: state\n{patient}");
    place.write("gateway.yaml", alone);
    let agent = worker(&place, "waits", &format!("pool: readers\n{}", common(&nats, patient)));
    let gateway = Process::start(&place, &["gateway", "--config", "gateway.yaml", "--log", "warn"]);
    // Both are asked for and none is answered.
    let asked = [(), ()].map(|()| wait_for("a download", || server.accept().ok()));
    for mut process in [agent, gateway] {
        process.terminate();
        assert_eq!(process.ends().code(), Some(0), "{}", process.said());
    }
    drop(asked);
}

#[test]
fn a_worker_that_is_stopped_finishes_what_it_has_and_another_goes_on() {
    in_the_middle(a_worker_is_stopped);
}

/// Whether it was in the middle of the work, or cannot be tried.
fn a_worker_is_stopped() -> bool {
    // A lease that ends on a busy machine would be a second try.
    let Some(cluster) = Cluster::start_with("30s") else { return true };
    let documents = 200;
    cluster.write_documents(documents);
    cluster.submit(&["--detach"]).code(0);
    let mut stopped = cluster.worker("stopped", "");
    let health = stopped.says("health listens on ");
    for path in ["livez", "readyz"] {
        assert_eq!(client().get(format!("http://{health}/{path}")).send().expect("it answers").status(), 200);
    }
    wait_for("some documents to end", || (cluster.count("succeeded") >= 3).then_some(()));
    stopped.terminate();
    assert_eq!(stopped.ends().code(), Some(0), "{}", stopped.said());
    let unfinished = cluster.count("unfinished");
    let _next = cluster.worker("next", "");
    let lines = cluster.submit(&[]).code(0).lines();
    assert_eq!(lines.len(), documents);
    let stages = lines.iter().flat_map(|line| line["stages"].as_object().expect("stages").values());
    assert!(stages.into_iter().all(|stage| stage["attempts"] == 1), "nothing was tried twice");
    unfinished > 0
}

#[test]
fn what_cannot_be_finished_is_handed_back_and_counts_against_no_document() {
    in_the_middle(hasty_workers_hand_back);
}

/// Whether they had anything to hand back, or none can be tried.
fn hasty_workers_hand_back() -> bool {
    let Some(cluster) = Cluster::start() else { return true };
    // More than the first workers have done before they are told to end.
    cluster.write_documents(100);
    cluster.submit(&["--detach"]).code(0);
    let mut handed_back = 0;
    // As many interruptions as would quarantine a document three times over.
    for n in 0..9 {
        let name = format!("hasty-{n}");
        let mut hasty = cluster.worker(&name, "grace: 0ms\n");
        // It pulls as soon as it is ready; on a fast machine it may have done some work by now.
        wait_for("work", || {
            let metrics = metrics(&mut hasty);
            let busy = sum(&metrics, "docket_agent_utilization_ratio") > 0.0;
            (busy || cluster.count("unfinished") == 0).then_some(())
        });
        hasty.terminate();
        assert_eq!(hasty.ends().code(), Some(0), "{}", hasty.said());
        handed_back += hasty.said().matches("handed back unfinished").count();
    }
    let _patient = cluster.worker("patient", "");
    let lines = cluster.submit(&[]).code(0).lines();
    assert!(lines.iter().all(|line| line["outcome"] == "succeeded"), "{lines:#?}");
    handed_back > 0
}

#[test]
fn a_broker_that_is_killed_and_started_again_loses_nothing() {
    let Some(mut cluster) = Cluster::start() else { return };
    cluster.write_documents(60);
    let _workers = [cluster.worker("one", ""), cluster.worker("two", "")];
    let place = &cluster.place;
    let http = cluster.gateway.http.clone();
    let submit = ["submit", "--gateway", &http, "--input", "in", "--format", "jsonl"];
    let ran = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| place.docket(&submit));
        wait_for("some documents to end", || (count(&http, "succeeded") >= 5).then_some(()));
        cluster.nats.restart();
        submitting.join().expect("it has ended")
    });
    let lines = ran.code(0).lines();
    assert_eq!(lines.len(), 60);
    assert!(lines.iter().all(|line| line["outcome"] == "succeeded"), "{lines:#?}");
}

#[test]
fn clients_read_and_follow_documents_in_the_formats_of_a_run() {
    let Some(cluster) = Cluster::start() else { return };
    let _worker = cluster.worker("only", "");
    cluster.place.write("in/good.txt", "Alpha is the first of the letters.");
    cluster.place.write("in/empty.txt", "");
    let http = cluster.gateway.http.clone();
    let ran = cluster.place.docket(&["submit", "--gateway", &http, "--input", "in", "--output", "out"]).code(1);
    assert!(ran.stdout.contains("1 dead-lettered, 1 succeeded"), "{}", ran.stdout);
    assert!(ran.stdout.contains("DocumentEmpty"), "{}", ran.stdout);
    let got = cluster.place.docket(&["get", "--gateway", &http, "good.txt", "--format", "jsonl"]).code(0).lines();
    assert_eq!(got[0]["output"]["head"], "Alpha is the first");
    let watched = cluster.place.docket(&["watch", "--gateway", &http, "empty.txt", "--format", "jsonl"]).code(1);
    assert_eq!(watched.lines().last().expect("an end")["data"]["outcome"], "dead-lettered");
    let listed = cluster.place.docket(&["list", "--gateway", &http, "--format", "jsonl"]).code(0).lines();
    assert_eq!(listed.len(), 2);
    let letters = cluster.place.docket(&["dlq", "list", "--gateway", &http, "--format", "jsonl"]).code(0).lines();
    assert_eq!((letters.len(), &letters[0]["stage"]), (1, &json!("parse")));
    cluster.place.docket(&["dlq", "replay", "--all", "--gateway", &http]).code(1);
    let cancelled = cluster.place.docket(&["cancel", "--gateway", &http, "good.txt", "--format", "jsonl"]).code(0);
    assert_eq!(cancelled.lines()[0]["outcome"], "succeeded", "what has ended stays as it is");
    cluster.place.docket(&["get", "--gateway", &http, "nothing"]).code(2).says("NotFound");
}

#[test]
fn caches_of_all_processes_are_seen_and_cleared_also_of_one_that_is_away() {
    let (Some(nats), Some(redis)) = (Nats::start(), RedisServer::start()) else { return };
    let place = Place::new();
    let shared = "spec:\n  cache: {levels: [Memory, Redis, Disk]}\n  stages:";
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", shared));
    let config = common(&nats, &format!("redis: {{url: '{}', timeout: 20s}}\n", redis.url()));
    let gateway = GatewayProcess::start(&place, &config);
    let start = |name: &str| {
        let mut started = worker(&place, name, &format!("pool: readers\n{config}"));
        started.says(&format!("worker {name} takes tasks"));
        started
    };
    let docket = |arguments: &[&str]| {
        let ran = place.docket(&[arguments, &["--gateway", &gateway.http]].concat()).code(0);
        ran.lines()
    };
    let submit = |prefix: &str| docket(&["submit", "--input", "in", "--prefix", prefix, "--format", "jsonl"]);
    let levels = |lines: Vec<Value>| -> Vec<Value> {
        lines.iter().map(|line| line["stages"]["parse"]["cacheLevel"].clone()).collect()
    };
    // What each process that has answered has in its folder and in its memory.
    let entries = |answer: &Value| -> BTreeMap<String, Value> {
        let processes = answer["processes"].as_array().expect("processes").iter();
        let of = |process: &Value| {
            let count = json!([process["disk"]["entries"], process["memory"]["entries"]]);
            (process["process"].as_str().expect("a name").to_owned(), count)
        };
        processes.filter(|process| process["done"] == true).map(of).collect()
    };
    // A process on a busy machine may answer one question too late; by its answer to another it has obeyed what came before.
    let wait_for_entries = |on_redis: u64, process: &str| {
        wait_for("what is kept, by all who have it", || {
            let found = docket(&["cache", "stats", "--format", "json"]).remove(0);
            let all = entries(&found);
            (found["redis"]["entries"] == on_redis && all.contains_key(process)).then_some(all)
        })
    };
    let only = |process: &str, count: Value| BTreeMap::from([(process.to_owned(), count)]);
    place.write("in/a.txt", "the same text");
    let mut first = start("first");
    assert_eq!(levels(submit("1-")), [Value::Null]);
    assert_eq!(wait_for_entries(1, "first"), only("first", json!([1, 1])));
    first.terminate();
    assert_eq!(first.ends().code(), Some(0));
    // Another one has nothing of its own, and the server has.
    let second = start("second");
    assert_eq!(levels(submit("2-")), ["redis"]);
    assert_eq!(levels(submit("3-")), ["memory"]);
    assert_eq!(wait_for_entries(1, "second"), only("second", json!([0, 1])), "it took it from the server");
    let cleared = docket(&["cache", "clear", "--format", "json"]).remove(0);
    assert_eq!(cleared["redis"]["entries"], 1, "{cleared}");
    assert_eq!(wait_for_entries(0, "second"), only("second", json!([0, 0])));
    assert_eq!(levels(submit("4-")), [Value::Null]);
    assert_eq!(wait_for_entries(1, "second"), only("second", json!([1, 1])));
    drop(second);
    // The first one was away when all was cleared: it must not answer from what it had, nor give it to the server.
    redis.command("FLUSHALL").expect("an answer");
    let _first = start("first");
    assert_eq!(levels(submit("5-")), [Value::Null]);
}

#[test]
fn documents_of_a_suspended_pipeline_wait_and_go_on_when_it_is_not_any_more() {
    let Some(nats) = Nats::start() else { return };
    let place = Place::new();
    let suspended =
        |suspend: bool| PLAIN.replace("spec:\n  stages:", &format!("spec:\n  suspend: {suspend}\n  stages:"));
    place.write("pipeline.yaml", suspended(true));
    let gateway = GatewayProcess::start(&place, &common(&nats, ""));
    let mut worker = worker(&place, "only", &format!("pool: readers\n{}", common(&nats, "")));
    worker.says("worker only takes tasks");
    for number in 0..5 {
        place.write(&format!("in/{number}.txt"), format!("document {number}"));
    }
    place.docket(&["submit", "--gateway", &gateway.http, "--input", "in", "--detach"]).code(0);
    assert_eq!((count(&gateway.http, "unfinished"), count(&gateway.http, "succeeded")), (5, 0));
    drop(gateway);
    place.write("pipeline.yaml", suspended(false));
    let gateway = GatewayProcess::start(&place, &common(&nats, ""));
    wait_for("all documents to end", || (count(&gateway.http, "succeeded") == 5).then_some(()));
}

#[test]
fn a_gateway_starts_although_a_document_has_lost_its_plan() {
    let Some(nats) = Nats::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    let gateway = GatewayProcess::start(&place, &common(&nats, ""));
    place.write("in/one.txt", "a document that nobody works");
    place.docket(&["submit", "--gateway", &gateway.http, "--input", "in", "--detach"]).code(0);
    drop(gateway);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let records = jetstream::open(Settings::new(&nats.url)).await.expect("the broker's ports").ports.records;
        let plans = records.scan("plans/", None, 100).await.expect("a list");
        assert!(!plans.is_empty());
        for (plan, _) in plans {
            records.delete(&plan).await.expect("removed");
        }
    });
    // The pipeline is another now, and its documents are to be held.
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", "spec:\n  suspend: true\n  stages:"));
    let gateway = GatewayProcess::start(&place, &common(&nats, ""));
    assert_eq!(count(&gateway.http, "unfinished"), 1);
}

#[test]
fn a_closed_pipeline_takes_no_further_documents_and_knows_those_that_it_has() {
    let Some(nats) = Nats::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    let gateway = GatewayProcess::start(&place, &common(&nats, ""));
    place.write("in/one.txt", "the first document");
    place.docket(&["submit", "--gateway", &gateway.http, "--input", "in", "--detach"]).code(0);
    drop(gateway);
    let gateway = GatewayProcess::start(&place, &common(&nats, "closed: [plain]\n"));
    place.docket(&["submit", "--gateway", &gateway.http, "--input", "in", "--detach"]).code(0);
    let further = client().post(format!("{}/v1/pipelines/plain/documents?id=two", gateway.http)).body("another").send();
    let further = further.expect("it answers");
    assert_eq!(further.status(), 409);
    assert!(further.text().expect("a text").contains("takes no further documents"));
    assert_eq!(count(&gateway.http, "unfinished"), 1);
}
