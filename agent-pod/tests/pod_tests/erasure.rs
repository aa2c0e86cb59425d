//! Erasing documents and tenants: afterwards no byte of them is in any file, of the store or of a worker; and what `retention`
//! removes by itself.

use std::{fs, path::Path};

use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::support::{
    PLAIN, Place, Ran, changed, models,
    postgres_server::PostgresServer,
    processes::{GatewayProcess, Nats, Process, client, sum, wait_for, worker},
    redis_server::RedisServer,
};

/// Occurs in one document alone, at its beginning, so that it is in every output too.
const SECRET: &str = "zanzibarine";

/// Files below a folder that hold these bytes.
fn holding(folder: &Path, bytes: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        // A store that is in use replaces its files meanwhile.
        } else if let Ok(content) = fs::read(&path)
            && content.windows(bytes.len()).any(|window| window == bytes.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.expect("an entry").path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn with_retention(retention: &str) -> String {
    changed(PLAIN, &[("spec:\n  stages:", &format!("spec:\n  retention: {retention}\n  stages:"))])
}

fn run(place: &Place, more: &[&str]) -> Ran {
    place.docket(&[&["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"], more].concat())
}

#[track_caller]
fn report(ran: &Ran) -> Value {
    let mut reports: Vec<Value> = serde_json::from_str::<Vec<Value>>(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

fn place_named<'a>(report: &'a Value, name: &str) -> &'a Value {
    let places = report["places"].as_array().expect("places");
    places.iter().find(|place| place["place"] == name).unwrap_or_else(|| panic!("no place \"{name}\" in {report:#}"))
}

#[test]
fn a_document_of_a_run_is_in_no_file_of_the_state_folder_after_it_was_erased() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/secret-name.txt", format!("{SECRET} is the first word."));
    // Large enough for a file of its own, which is compressed.
    let noise: String = (0..40_000_u32).map(|n| blake3::hash(&n.to_le_bytes()).to_hex()[..4].to_owned()).collect();
    place.write("in/large.txt", format!("{SECRET} {noise}"));
    place.write("in/other.txt", "nothing of it");
    place.write("in/twin.txt", "nothing of it");
    run(&place, &[]).code(0);
    let state = place.path(".docket");
    assert!(!holding(&state, SECRET).is_empty() && !holding(&state, "secret-name").is_empty());
    assert_eq!(files(&state.join("payloads")), 1);
    let cached = files(&state.join("cache"));
    let ran = place.docket(&["erase", "secret-name.txt", "--format", "json"]).code(0);
    let erased = report(&ran);
    assert_eq!((&erased["complete"], &erased["more"], &erased["documents"]), (&json!(true), &json!(false), &json!(1)));
    assert_eq!(place_named(&erased, "records")["absent"], 1);
    assert_eq!(place_named(&erased, "cache on disk")["removed"], 1);
    // The text, which is its bytes too; what parse says; and what three stages made.
    let payloads = place_named(&erased, "payloads");
    assert_eq!((&payloads["removed"], &payloads["absent"]), (&json!(5), &json!(5)), "{erased:#}");
    assert_eq!(files(&state.join("cache")), cached - 1);
    assert_eq!(holding(&state, "secret-name"), [""; 0]);
    place.docket(&["erase", "large.txt"]).code(0);
    assert_eq!(holding(&state, SECRET), [""; 0]);
    assert_eq!(files(&state.join("payloads")), 0);
    place.docket(&["erase", "large.txt"]).code(0).says("nothing was found");
    // Of two documents with the same bytes one goes, and the other has them.
    place.docket(&["erase", "twin.txt"]).code(0);
    place.docket(&["explain", "document", "twin.txt"]).code(2).says("there is no document");
    for name in ["secret-name.txt", "large.txt", "twin.txt"] {
        fs::remove_file(place.path(&format!("in/{name}"))).expect("removed");
    }
    let lines = run(&place, &["--resume"]).code(0).lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["output"], json!({"head": "nothing of it", "bytes": 13}));
    // All that is left is of one tenant.
    let all = report(&place.docket(&["erase", "--tenant", "local", "--format", "json"]).code(0));
    assert_eq!((&all["documents"], &all["complete"]), (&json!(1), &json!(true)));
    assert_eq!(holding(&state, "nothing of it"), [""; 0]);
}

/// Writes a few words about a question, and answers nearly the same question with them.
const ASKING: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  models:
  - {name: minilm, task: Embed, source: {catalog: minilm}}
  - {name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 1024}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: asking}
spec:
  cache: {semantic: {shadow: 0}}
  stages:
  - name: answer
    pool: writers
    generate: {prompt: "In a sentence. {{ document.text }}", maxTokens: 4}
"#;

#[test]
fn an_answer_to_nearly_equal_prompts_goes_with_the_document_that_it_was_made_from() {
    if models(&["minilm", "smollm2-135m-instruct"]).is_none() {
        return;
    }
    let place = Place::new();
    place.write("pipeline.yaml", ASKING);
    let ask = |name: &str, text: &str| {
        place.write(name, text);
        let result = place.result(name);
        assert_eq!(result["outcome"], "succeeded", "{result}");
        (result["document"].as_str().expect("a name").to_owned(), result["stages"]["answer"]["cacheLevel"].clone())
    };
    let answers = || {
        let ran = place.docket(&["cache", "stats", "--format", "json"]).code(0);
        serde_json::from_str::<Value>(&ran.stdout).expect("JSON")["disk"]["semantic"]["entries"].clone()
    };
    let (first, level) = ask("first.txt", "What is the capital city of France?");
    assert_eq!(level, Value::Null);
    ask("other.txt", "How do I reset my password?");
    assert_eq!(ask("second.txt", "Which city is the capital of France?").1, "semantic");
    assert_eq!(answers(), 2);
    let erased = report(&place.docket(&["erase", &first, "--format", "json"]).code(0));
    assert_eq!(erased["complete"], true, "{erased:#}");
    assert_eq!(place_named(&erased, "cache on disk")["removed"], 2, "the result of its request, and the answer");
    assert_eq!(answers(), 1);
    assert_eq!(ask("third.txt", "WHAT is the capital city of France?").1, Value::Null);
    assert_eq!(ask("fourth.txt", "How can I reset my password?").1, "semantic", "that of another document stays");
}

#[test]
fn what_may_lie_on_a_server_that_is_not_named_or_not_there_is_left_and_said_so() {
    let Some(redis) = RedisServer::start() else { return };
    let place = Place::new();
    place.write(
        "pipeline.yaml",
        changed(PLAIN, &[("spec:\n  stages:", "spec:\n  cache: {levels: [Redis]}\n  stages:")]),
    );
    place.write("in/a.txt", "the text");
    let url = redis.url();
    run(&place, &["--redis", &url, "--redis-timeout", "20s"]).code(0);
    let entries = || {
        let ran = place.docket(&["cache", "stats", "--redis", &url, "--format", "json"]).code(0);
        serde_json::from_str::<Value>(&ran.stdout).expect("JSON")["redis"]["entries"].clone()
    };
    assert_eq!(entries(), 1);
    let ran = place.docket(&["erase", "a.txt", "--format", "json"]).code(1).says("--redis");
    assert_eq!(report(&ran)["complete"], false);
    let nobody = ["erase", "a.txt", "--redis", "redis://127.0.0.1:1"];
    place.docket(&nobody).code(1).says("127.0.0.1:1 cannot be reached");
    assert_eq!(entries(), 1);
    // The record is still there, so that it can be repeated.
    let ran = place.docket(&["erase", "a.txt", "--redis", &url, "--format", "json"]).code(0);
    assert_eq!(place_named(&report(&ran), "cache on Redis")["removed"], 1);
    assert_eq!(entries(), 0);
    assert!(redis.command("DBSIZE").expect("an answer").starts_with(":0"));
}

#[test]
fn chunks_vectors_and_kept_results_of_a_document_go_with_it() {
    if models(&["minilm"]).is_none() {
        return;
    }
    let place = Place::new();
    let pipeline = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec:
  models: [{name: minilm, task: Embed, source: {catalog: minilm}}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: searching}
spec:
  knowledge: [{name: texts, embedder: minilm, chunking: {tokens: 16}}]
  stages:
  - {name: parse, pool: readers, parse: {}}
  - {name: add, pool: readers, after: [parse], embed: {knowledge: texts}}
  - {name: find, pool: readers, after: [add], retrieve: {knowledge: texts, query: "which clause binds both parties?", topK: 1}}
"#;
    place.write("pipeline.yaml", pipeline);
    place.write("in/a.txt", "The zanzibarine clause binds both parties.");
    place.write("ingested.txt", "A quokkaesque clause binds nobody.");
    run(&place, &[]).code(0);
    let ingest = ["ingest", "-f", "pipeline.yaml", "--knowledge", "texts", "--input", "ingested.txt"];
    place.docket(&ingest).code(0);
    let state = place.path(".docket");
    for folder in ["knowledge", "cache"] {
        assert!(!holding(&state.join(folder), SECRET).is_empty(), "{folder}");
    }
    assert!(
        fs::metadata(fs::read_dir(state.join("vectors")).expect("vectors").next().expect("one").expect("one").path())
            .expect("a file")
            .len()
            > 0
    );
    let ran = place.docket(&["erase", "a.txt", "--format", "json"]).code(0);
    let erased = report(&ran);
    let table = format!("knowledge \"texts\" in {}", Path::new(".docket/knowledge").display());
    assert!(place_named(&erased, &table)["removed"].as_u64() > Some(0), "{erased:#}");
    assert_eq!(place_named(&erased, "cache on disk")["removed"], 2);
    assert_eq!(holding(&state, SECRET), [""; 0]);
    assert_eq!(files(&state.join("vectors")), 0);
    let query = ["query", "-f", "pipeline.yaml", "--knowledge", "texts", "clause", "--format", "jsonl"];
    let hits = place.docket(&query).code(0).lines();
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit["document"] == "ingested.txt"), "{hits:?}");
    // What was ingested has no record, and can be erased all the same.
    place.docket(&["erase", "ingested.txt"]).code(0);
    assert_eq!(holding(&state, "quokkaesque"), [""; 0]);
}

fn gateway(place: &Place, pipeline: &str, config: &str) -> GatewayProcess {
    place.write("pipeline.yaml", pipeline);
    GatewayProcess::start(place, &format!("resources: [pipeline.yaml]\n{config}"))
}

#[track_caller]
fn answer(response: Response, status: u16) -> Value {
    let (found, text) = (response.status().as_u16(), response.text().expect("a body"));
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn documents(gateway: &GatewayProcess) -> String {
    format!("{}/v1/pipelines/plain/documents", gateway.http)
}

fn submit(gateway: &GatewayProcess, id: &str, text: &str) -> Response {
    let address = format!("{}?id={id}", documents(gateway));
    client().post(address).body(text.to_owned()).send().expect("it answers")
}

fn ended(gateway: &GatewayProcess, id: &str) -> Value {
    answer(client().get(format!("{}/{id}?wait=60", documents(gateway))).send().expect("it answers"), 200)
}

fn status(gateway: &GatewayProcess, id: &str) -> u16 {
    client().get(format!("{}/{id}", documents(gateway))).send().expect("it answers").status().as_u16()
}

#[test]
fn a_gateway_erases_documents_and_tenants_for_those_who_may() {
    let place = Place::new();
    place.write(
        "tokens.yaml",
        "tokens:\n- {name: acme, token: token-of-acme-0001, tenant: acme}\n- {name: other, token: token-of-other-001, \
         tenant: other, pipelines: [plain]}\n- {name: all, token: token-of-all-00001}\n",
    );
    let gateway = gateway(&place, PLAIN, "state: state\ntokens: tokens.yaml\n");
    let (acme, other, all) = ("token-of-acme-0001", "token-of-other-001", "token-of-all-00001");
    let submit = |token: &str, id: &str, text: &str| {
        let address = format!("{}?id={id}", documents(&gateway));
        answer(client().post(address).bearer_auth(token).body(text.to_owned()).send().expect("it answers"), 202);
        let address = format!("{}/{id}?wait=60", documents(&gateway));
        answer(client().get(address).bearer_auth(token).send().expect("it answers"), 200)
    };
    let delete = |token: &str, path: &str| {
        client().delete(format!("{}/v1/{path}", gateway.http)).bearer_auth(token).send().expect("it answers")
    };
    submit(acme, "one", &format!("{SECRET} of acme"));
    submit(acme, "two", "more of acme");
    submit(other, "three", "of another");
    let reason = |response: Response, status: u16| answer(response, status)["error"]["reason"].clone();
    assert_eq!(
        reason(delete(acme, "pipelines/plain/documents/one"), 400),
        "Invalid",
        "without ?erase it may be a slip"
    );
    assert_eq!(reason(delete(other, "pipelines/plain/documents/one?erase"), 404), "NotFound");
    assert_eq!(reason(delete(acme, "tenants/other?erase"), 403), "Forbidden");
    assert_eq!(reason(delete(other, "tenants/other?erase"), 403), "Forbidden", "knowledge is shared by pipelines");
    let erased = answer(delete(acme, "pipelines/plain/documents/one?erase"), 200);
    assert_eq!((&erased["complete"], &erased["documents"]), (&json!(true), &json!(1)), "{erased:#}");
    assert_eq!(place_named(&erased, "cache in memory")["removed"], 1);
    assert_eq!(holding(&place.path("state"), SECRET), [""; 0]);
    assert_eq!(reason(delete(acme, "pipelines/plain/documents/one?erase"), 404), "NotFound");
    let erased = answer(delete(all, "tenants/acme?erase"), 200);
    assert_eq!((&erased["documents"], &erased["scope"]["tenant"]), (&json!(1), &json!("acme")));
    let get =
        |id: &str| client().get(format!("{}/{id}", documents(&gateway))).bearer_auth(all).send().expect("it answers");
    answer(get("two"), 404);
    assert_eq!(answer(get("three"), 200)["output"]["head"], "of another");
    // The same id is another document now.
    assert_eq!(submit(acme, "one", "something else")["output"]["head"], "something else");
}

#[test]
fn the_rows_of_a_document_and_of_a_tenant_go_from_the_table_and_the_database() {
    // Without a server the table alone.
    let server = PostgresServer::start();
    let postgres = server.as_ref().map(|server| {
        format!(", postgres: {{url: '{}', passwordFile: '{}'}}", server.url(), server.password_file().display())
    });
    let results = format!("{{table: {{uri: kept}}{}}}", postgres.unwrap_or_default());
    let pipeline = changed(PLAIN, &[("spec:\n  stages:", &format!("spec:\n  results: {results}\n  stages:"))]);
    let place = Place::new();
    let gateway = gateway(&place, &pipeline, "state: state\n");
    let submit = |id: &str, tenant: &str, text: &str| {
        let address = format!("{}?id={id}&tenant={tenant}", documents(&gateway));
        answer(client().post(address).body(text.to_owned()).send().expect("it answers"), 202);
        let address = format!("{}/{id}?wait=60", documents(&gateway));
        let ended = answer(client().get(address).send().expect("it answers"), 200);
        assert_eq!(ended["outcome"], "succeeded", "{ended}");
    };
    let rows = |table: &str| {
        let ask = |server: &PostgresServer| server.query(&format!("SELECT document FROM {table} ORDER BY 1"));
        server.as_ref().map(ask)
    };
    let shown = |documents: &str| server.as_ref().map(|_| documents.to_owned());
    submit("one", "acme", SECRET);
    submit("two", "acme", "twofold of acme");
    submit("three", "other", "of another");
    let kept = place.path("kept");
    assert!(!holding(&kept, SECRET).is_empty() && !holding(&kept, "of another").is_empty());
    assert_eq!(rows("docket_results"), shown("one\nthree\ntwo"));
    let erase = |arguments: &[&str]| {
        let gateway = ["--gateway", &gateway.http, "--format", "json"];
        report(&place.docket(&[&["erase"], arguments, &gateway[..]].concat()).code(0))
    };
    // A row in the table; in the database a row and its line in the log.
    let each = if server.is_some() { 3 } else { 1 };
    let erased = erase(&["one"]);
    assert_eq!(place_named(&erased, "results")["removed"], each, "{erased:#}");
    assert_eq!(place_named(&erased, "results")["left"], json!([]), "{erased:#}");
    assert_eq!(holding(&kept, SECRET), [""; 0]);
    assert_eq!(rows("docket_results"), shown("three\ntwo"));
    assert_eq!(rows("docket_audit_log"), shown("three\ntwo"));
    let erased = erase(&["--tenant", "acme"]);
    assert_eq!(place_named(&erased, "results")["removed"], each, "{erased:#}");
    assert_eq!(holding(&kept, "twofold"), [""; 0]);
    assert!(!holding(&kept, "of another").is_empty(), "another tenant's stays");
    assert_eq!(rows("docket_results"), shown("three"));
    assert_eq!(rows("docket_audit_log"), shown("three"));
}

#[test]
fn an_open_document_is_cancelled_and_erased() {
    let place = Place::new();
    let slow =
        "{% for a in range(60) %}{% for b in range(1000) %}{% endfor %}{% endfor %}{{ document.text | head(20) }}";
    let pipeline = changed(PLAIN, &[("{{ document.text | head(20) }}", slow)]);
    let gateway = gateway(&place, &pipeline, "state: state\n");
    for n in 0..12 {
        answer(submit(&gateway, &format!("d{n}"), &format!("{SECRET} {n}")), 202);
    }
    let http = gateway.http.clone();
    let ids: Vec<String> = (0..12).map(|n| format!("d{n}")).collect();
    let erase: Vec<&str> = ["erase", "--gateway", &http].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let ran = place.docket(&erase).code(0);
    assert!(ran.stdout.contains("records"), "{}", ran.stdout);
    for id in &ids {
        assert_eq!(status(&gateway, id), 404);
    }
    assert_eq!(holding(&place.path("state"), SECRET), [""; 0]);
}

/// A broker and a gateway.
struct Cluster {
    place: Place,
    nats: Nats,
    gateway: GatewayProcess,
}

impl Cluster {
    fn start(pipeline: &str, config: &str) -> Option<Self> {
        let nats = Nats::start()?;
        let place = Place::new();
        let gateway = gateway(&place, pipeline, &format!("nats: {{servers: [{:?}]}}\n{config}", nats.url));
        Some(Self { place, nats, gateway })
    }

    fn worker(&self, name: &str, pool: &str) -> Process {
        let config = format!("pool: {pool}\nresources: [pipeline.yaml]\nnats: {{servers: [{:?}]}}\n", self.nats.url);
        let mut worker = worker(&self.place, name, &config);
        worker.says(&format!("worker {name} takes tasks"));
        worker
    }

    fn erase(&self, more: &[&str]) -> Ran {
        self.place.docket(&[&["erase", "--gateway", &self.gateway.http, "--format", "json"], more].concat())
    }
}

#[test]
fn over_a_broker_nothing_is_left_in_its_files_nor_in_those_of_workers() {
    let Some(cluster) = Cluster::start(PLAIN, "") else { return };
    let _workers = [cluster.worker("one", "readers"), cluster.worker("two", "readers")];
    let noise: String = (0..400_000_u32).map(|n| blake3::hash(&n.to_le_bytes()).to_hex()[..4].to_owned()).collect();
    // Small, and in pieces.
    for (id, text) in [("a", format!("{SECRET} is the first word")), ("b", format!("{SECRET} {noise}"))] {
        answer(submit(&cluster.gateway, id, &text), 202);
        assert_eq!(ended(&cluster.gateway, id)["outcome"], "succeeded");
    }
    answer(submit(&cluster.gateway, "other", "nothing of it"), 202);
    ended(&cluster.gateway, "other");
    assert!(!holding(cluster.nats.folder(), SECRET).is_empty());
    let cached = || files(&cluster.place.path("state-one/cache")) + files(&cluster.place.path("state-two/cache"));
    assert_eq!(cached(), 3);
    for id in ["a", "b"] {
        let erased = report(&cluster.erase(&[id]).code(0));
        assert_eq!(erased["complete"], true, "{erased:#}");
        let confirmed = ["one", "two"].map(|worker| {
            let place = place_named(&erased, &format!("worker {worker}: cache on disk")).clone();
            place["removed"].as_u64().expect("a number")
        });
        assert_eq!(confirmed.iter().sum::<u64>(), 1, "one of them had it");
    }
    assert_eq!(cached(), 1);
    assert_eq!(holding(cluster.nats.folder(), SECRET), [""; 0]);
    assert_eq!(status(&cluster.gateway, "a"), 404);
    assert_eq!(ended(&cluster.gateway, "other")["output"]["head"], "nothing of it");
}

#[test]
fn a_gateway_erases_from_the_server_that_workers_share() {
    let Some(redis) = RedisServer::start() else { return };
    let shared = format!("redis: {{url: {:?}, timeout: 20s}}\n", redis.url());
    let pipeline = changed(PLAIN, &[("spec:\n  stages:", "spec:\n  cache: {levels: [Redis]}\n  stages:")]);
    let Some(cluster) = Cluster::start(&pipeline, &shared) else { return };
    let config = format!("pool: readers\nresources: [pipeline.yaml]\nnats: {{servers: [{:?}]}}\n", cluster.nats.url);
    let mut one = worker(&cluster.place, "one", &format!("{config}{shared}"));
    one.says("worker one takes tasks");
    let size = || redis.command("DBSIZE").expect("an answer");
    for id in ["a", "b"] {
        answer(submit(&cluster.gateway, id, &format!("{SECRET} {id}")), 202);
        assert_eq!(ended(&cluster.gateway, id)["outcome"], "succeeded");
    }
    // They are sent beside the work.
    wait_for("results on the server", || size().starts_with(":2").then_some(()));
    let erased = report(&cluster.erase(&["a"]).code(0));
    assert_eq!(place_named(&erased, "worker one: cache on Redis")["removed"], 1, "{erased:#}");
    assert_eq!(place_named(&erased, "cache on Redis")["absent"], 1, "the gateway looks there itself");
    assert!(size().starts_with(":1"), "{}", size());
    // One that does not know the server leaves what it had put there to the gateway.
    drop(one);
    let mut two = worker(&cluster.place, "one", &config);
    two.says("worker one takes tasks");
    let erased = report(&cluster.erase(&["b"]).code(0));
    assert_eq!(place_named(&erased, "cache on Redis")["removed"], 1, "{erased:#}");
    assert!(size().starts_with(":0"), "{}", size());
}

#[test]
fn an_id_whose_document_was_erased_a_moment_ago_is_worked_anew_over_a_broker() {
    let Some(cluster) = Cluster::start(PLAIN, "") else { return };
    let _worker = cluster.worker("only", "readers");
    for text in ["the first text", "another text"] {
        answer(submit(&cluster.gateway, "a", text), 202);
        let ended = ended(&cluster.gateway, "a");
        assert_eq!((&ended["outcome"], &ended["output"]["head"]), (&json!("succeeded"), &json!(text)), "{ended}");
        assert_eq!(report(&cluster.erase(&["a"]).code(0))["complete"], true);
    }
}

#[test]
fn a_worker_that_is_away_is_named_and_erases_before_it_works_again() {
    let Some(cluster) = Cluster::start(PLAIN, "") else { return };
    let mut away = cluster.worker("away", "readers");
    answer(submit(&cluster.gateway, "a", "the text"), 202);
    ended(&cluster.gateway, "a");
    away.terminate();
    assert_eq!(away.ends().code(), Some(0));
    assert_eq!(files(&cluster.place.path("state-away/cache")), 1);
    let ran = cluster.erase(&["a"]).code(1).says("worker away");
    assert_eq!(report(&ran)["complete"], false);
    assert_eq!(files(&cluster.place.path("state-away/cache")), 1);
    let _back = cluster.worker("away", "readers");
    assert_eq!(files(&cluster.place.path("state-away/cache")), 0, "before it takes its first task");
    assert_eq!(report(&cluster.erase(&["a"]).code(0))["complete"], true);
    assert_eq!(status(&cluster.gateway, "a"), 404);
}

#[test]
fn retention_removes_documents_and_then_their_payloads_over_a_broker() {
    let pipeline = with_retention("{records: 1s, payloads: 1s}");
    let Some(mut cluster) = Cluster::start(&pipeline, "retention: {every: 500ms, settle: 2s}\n") else { return };
    let _worker = cluster.worker("only", "readers");
    answer(submit(&cluster.gateway, "a", &format!("{SECRET} is the first word")), 202);
    answer(submit(&cluster.gateway, "dead", ""), 202);
    wait_for("the document to go", || (status(&cluster.gateway, "a") == 404).then_some(()));
    wait_for("its payloads to go", || {
        let metrics = cluster.gateway.metrics();
        let removed = |kind: &str| sum(&metrics, &format!("docket_retention_removed_total{{kind=\"{kind}\"}}"));
        (removed("payloads") >= 5.0 && removed("records") >= 1.0).then_some(())
    });
    wait_for("its bytes to go", || holding(cluster.nats.folder(), SECRET).is_empty().then_some(()));
    // Nothing is said of dead letters: they stay, with what they need to be replayed.
    let letters = client().get(format!("{}/v1/pipelines/plain/dead-letters", cluster.gateway.http)).send();
    assert_eq!(answer(letters.expect("it answers"), 200)["deadLetters"][0]["document"], "dead");
    answer(client().post(format!("{}/dead/replay", documents(&cluster.gateway))).send().expect("it answers"), 200);
    assert_eq!(ended(&cluster.gateway, "dead")["deadLetter"]["reason"], "DocumentEmpty");
}

#[test]
fn without_a_broker_the_same_id_is_a_new_document_after_its_time() {
    let place = Place::new();
    let pipeline = with_retention("{records: 1ms}");
    let gateway = gateway(&place, &pipeline, "state: state\nretention: {every: 200ms, settle: 1s}\n");
    answer(submit(&gateway, "a", "the first text"), 202);
    wait_for("the document to go", || (status(&gateway, "a") == 404).then_some(()));
    answer(submit(&gateway, "a", "another text"), 202);
    wait_for("the new document to go", || (status(&gateway, "a") == 404).then_some(()));
    let wrong = place.write("wrong.yaml", "resources: [pipeline.yaml]\nretention: {every: 2s, settle: 3s}\n");
    let ran = place.docket(&["gateway", "--config", &wrong.display().to_string()]).code(2);
    ran.says("retention.settle: must be at least twice every");
}

#[test]
fn a_run_removes_earlier_ones_only_where_retention_says_so() {
    let place = Place::new();
    let noise: String = (0..40_000_u32).map(|n| blake3::hash(&n.to_le_bytes()).to_hex()[..4].to_owned()).collect();
    place.write("pipeline.yaml", PLAIN);
    place.write("in/a.txt", &noise);
    place.write("in/empty.txt", "");
    run(&place, &[]).code(1);
    place.write("in/a.txt", "short");
    // Without retention nothing goes.
    run(&place, &[]).code(1);
    assert_eq!(files(&place.path(".docket/payloads")), 1);
    place.write("pipeline.yaml", with_retention("{records: 0ms, payloads: 0ms}"));
    // The run that goes on is not an earlier one.
    let ran = run(&place, &["--resume"]).code(1).says("retention: removed 1 documents and 0 dead letters");
    assert_eq!(ran.lines().len(), 2);
    assert_eq!(files(&place.path(".docket/payloads")), 0, "the large text of the first run is named by nobody");
    let ran = run(&place, &["--resume"]).code(1);
    assert!(!ran.stderr.contains("retention:"), "{}", ran.stderr);
    assert_eq!(ran.lines().len(), 2);
}

/// The pipeline with another prompt, a stage less and a stage more.
fn changed_pipeline() -> String {
    changed(
        PLAIN,
        &[
            (
                "  - {name: size, pool: readers, after: [parse], transform: {format: Json, template: '{\"bytes\": {{ stages.parse.textBytes }}}'}}\n",
                "",
            ),
            (
                "after: [head, size], join: {mode: All}, transform: {format: Json, template: '{\"head\": {{ stages.head.text | tojson }}, \"bytes\": {{ stages.size.bytes }}}'}}",
                "after: [head], transform: {template: 'new: {{ stages.head.text }}'}}\n  - {name: last, pool: readers, after: [both], transform: {template: '{{ stages.both.text }}!'}}",
            ),
        ],
    )
}

fn old_and_new(gateway: &GatewayProcess, old_plan: &Value) {
    for id in ["old-1", "old-2"] {
        let result = ended(gateway, id);
        assert_eq!(result["output"], json!({"head": "an old text", "bytes": 11}), "by the plan that it began with");
        assert_eq!(&result["plan"], old_plan);
    }
    let result = ended(gateway, "new");
    assert_eq!(result["output"], json!({"text": "new: a new text!"}));
    assert_ne!(&result["plan"], old_plan);
}

fn submit_old(gateway: &GatewayProcess) -> Value {
    for id in ["old-1", "old-2"] {
        answer(submit(gateway, id, "an old text"), 202);
    }
    let pipelines = client().get(format!("{}/v1/pipelines", gateway.http)).send().expect("it answers");
    answer(pipelines, 200)["pipelines"][0]["plan"].clone()
}

#[test]
fn documents_in_flight_end_by_the_plan_that_they_began_with_over_a_broker() {
    let Some(mut cluster) = Cluster::start(PLAIN, "") else { return };
    let old_plan = submit_old(&cluster.gateway);
    cluster.gateway.process.terminate();
    assert_eq!(cluster.gateway.process.ends().code(), Some(0));
    let config = format!("nats: {{servers: [{:?}]}}\n", cluster.nats.url);
    cluster.gateway = gateway(&cluster.place, &changed_pipeline(), &config);
    answer(submit(&cluster.gateway, "new", "a new text"), 202);
    let _worker = cluster.worker("only", "readers");
    old_and_new(&cluster.gateway, &old_plan);
}

#[test]
fn documents_that_wait_for_a_pool_that_is_gone_are_reported_and_go_on_when_somebody_works_it() {
    let Some(mut cluster) = Cluster::start(PLAIN, "") else { return };
    let old_plan = submit_old(&cluster.gateway);
    cluster.gateway.process.terminate();
    cluster.gateway.process.ends();
    let config = format!("nats: {{servers: [{:?}]}}\n", cluster.nats.url);
    let renamed = changed_pipeline().replace("readers", "scribes");
    cluster.gateway = gateway(&cluster.place, &renamed, &config);
    answer(submit(&cluster.gateway, "new", "a new text"), 202);
    wait_for("a word about the pool", || {
        cluster.gateway.process.said().contains("wait for a pool that no pipeline has any more").then_some(())
    });
    assert_eq!(sum(&cluster.gateway.metrics(), "docket_documents_without_pool"), 2.0);
    let _scribes = cluster.worker("scribes", "scribes");
    assert_eq!(ended(&cluster.gateway, "new")["outcome"], "succeeded");
    assert_eq!(
        answer(client().get(format!("{}/old-1", documents(&cluster.gateway))).send().expect("it answers"), 200)["outcome"],
        "unfinished"
    );
    cluster.place.write("pipeline.yaml", PLAIN);
    let _readers = cluster.worker("readers", "readers");
    old_and_new(&cluster.gateway, &old_plan);
}

#[test]
fn a_gateway_that_works_alone_ends_what_began_with_an_earlier_plan_in_its_pools() {
    let place = Place::new();
    // Enough work, one task at a time, that some of it is left when the gateway is killed.
    let patient = [("spec:\n  stages:", "spec:\n  deadline: 1h\n  stages:"), ("{concurrency: 4}", "{concurrency: 1}")];
    let slow =
        "{% for a in range(60) %}{% for b in range(1000) %}{% endfor %}{% endfor %}{{ document.text | head(20) }}";
    let old = changed(&changed(PLAIN, &patient), &[("{{ document.text | head(20) }}", slow)]);
    let mut first = gateway(&place, &old, "state: state\n");
    for n in 0..60 {
        answer(submit(&first, &format!("filler-{n}"), &format!("filler {n}")), 202);
    }
    let old_plan = submit_old(&first);
    first.process.kill();
    let renamed = changed_pipeline().replace("readers", "scribes");
    let second = gateway(&place, &renamed, "state: state\n");
    let said = second.process.said();
    assert!(said.contains("go on by their earlier plan"), "it was killed in the middle:\n{said}");
    assert!(!said.contains("wait for a pool"), "{said}");
    answer(submit(&second, "new", "a new text"), 202);
    old_and_new(&second, &old_plan);
}
