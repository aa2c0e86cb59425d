//! The OpenAI-compatible interface: by the official Python client, and by what that client cannot see.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::support::{
    Place, models,
    processes::{GatewayProcess, Nats, Process, client, metrics, wait_for, worker},
};

const TOKEN: &str = "token-of-all-00001";
const TOKENS: &str = "tokens:
- {name: all, token: token-of-all-00001}
- {name: other, token: token-of-other-001, pipelines: [other]}
";

/// Two pools that hold models; nobody's document uses them here.
const PIPELINES: &str = "
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec:
  models:
  - {name: mini, task: Embed, source: {catalog: minilm}}
  - {name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 1024}
---
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: plain}
spec: {}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: main}
spec:
  stages: [{name: head, pool: readers, transform: {template: '{{ document.text | head(20) }}'}}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: other}
spec:
  stages: [{name: head, pool: plain, transform: {template: '{{ document.text | head(20) }}'}}]
";

/// A test's folder with files of a small set-up, and the folder of models; `None`, and said so, where these are missing.
fn place() -> Option<(Place, PathBuf)> {
    let models = models(&["minilm", "smollm2-135m-instruct"])?;
    let place = Place::new();
    place.write("pipelines.yaml", PIPELINES);
    place.write("tokens.yaml", TOKENS);
    Some((place, models))
}

/// A gateway that works its pools itself.
fn gateway_alone(more: &str) -> Option<(Place, GatewayProcess)> {
    let (place, models) = place()?;
    let models = models.display();
    let config = format!("resources: [pipelines.yaml]\nstate: state\nmodels: '{models}'\ntokens: tokens.yaml\n{more}");
    let gateway = GatewayProcess::start(&place, &config);
    Some((place, gateway))
}

/// The Python with the official client; `None`, and said so, where there is none.
fn python() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    let python = cache.join("docket/openai-venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    eprintln!("skipped: there is no {}; get it with make servers", python.display());
    None
}

/// Runs the script against an interface; what it prints.
#[track_caller]
fn ask_by_python(python: &Path, http: &str) -> Value {
    let script = Path::new("tests/pod_tests/openai_client.py");
    let mut command = Command::new(python);
    command.arg(script).args([&format!("{http}/v1"), TOKEN]).env("NO_PROXY", "127.0.0.1");
    let ran = command.output().expect("Python starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

fn post(http: &str, path: &str, body: &Value) -> Response {
    let request = client().post(format!("{http}{path}")).bearer_auth(TOKEN);
    request.header("content-type", "application/json").body(body.to_string()).send().expect("it answers")
}

#[track_caller]
fn answer(response: Response, status: u16) -> Value {
    let (found, text) = (response.status().as_u16(), response.text().expect("a body"));
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn vector(http: &str, text: &str) -> Vec<f64> {
    let made = answer(post(http, "/v1/embeddings", &json!({"model": "mini", "input": text})), 200);
    made["data"][0]["embedding"].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect()
}

/// A request for an answer that takes long, as it begins to come.
fn long_answer(http: &str) -> Response {
    let messages = json!([{"role": "user", "content": "Write a long story about a fox."}]);
    let asked = json!({"model": "small", "messages": messages, "max_tokens": 900, "temperature": 1.2, "stream": true});
    let mut response = post(http, "/v1/chat/completions", &asked);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.read_exact(&mut [0; 6]).expect("it begins");
    response
}

fn counted(metrics: &str, outcome: &str) -> bool {
    let line = format!("docket_inference_requests_total{{outcome=\"{outcome}\",pool=\"readers\",route=\"chat\"}}");
    metrics.lines().any(|found| found.starts_with(&line))
}

#[test]
fn the_official_client_gets_everything_from_a_gateway_alone() {
    let Some(python) = python() else { return };
    let Some((_place, gateway)) = gateway_alone("") else { return };
    let said = ask_by_python(&python, &gateway.http);
    let plain = vector(&gateway.http, "The lease ends in May.");
    let by_client: Vec<f64> = said["vector"].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect();
    assert_eq!(plain.len(), by_client.len());
    assert!(plain.iter().zip(&by_client).all(|(a, b)| (a - b).abs() < 1e-5), "the same vector without the client");
}

#[test]
fn the_official_client_gets_everything_through_a_gateway_from_workers_and_a_dead_worker_is_passed_over() {
    let Some(python) = python() else { return };
    let Some((place, models)) = place() else { return };
    let Some(nats) = Nats::start() else { return };
    let models = models.display();
    let common = format!("resources: [pipelines.yaml]\nmodels: '{models}'\ntokens: tokens.yaml\n");
    let broker = format!("nats: {{servers: ['{}']}}\n", nats.url);
    let gateway = GatewayProcess::start(&place, &format!("{common}{broker}state: state-gateway\n"));
    let away = post(&gateway.http, "/v1/embeddings", &json!({"model": "mini", "input": "a"}));
    assert!(away.headers().contains_key("retry-after"));
    assert_eq!(answer(away, 503)["error"]["type"], "server_error", "nobody lives");
    let start = |name: &str| worker(&place, name, &format!("pool: readers\nhttp: 127.0.0.1:0\n{common}{broker}"));
    let (mut first, mut second) = (start("first"), start("second"));
    wait_for("both workers", || (living(&place, &gateway)? == ["first", "second"]).then_some(()));
    ask_by_python(&python, &gateway.http);
    let direct = format!("http://{}", first.says("http listens on "));
    let through = vector(&gateway.http, "The lease ends in May.");
    let own = vector(&direct, "The lease ends in May.");
    assert!(through.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-5), "a worker answers clients itself");
    a_client_that_leaves_ends_the_work(&gateway.http, [&mut first, &mut second]);

    first.kill();
    for _ in 0..10 {
        vector(&gateway.http, "asked while the dead one still seems to live");
    }
    second.terminate();
    assert_eq!(second.ends().code(), Some(0), "{}", second.said());
    wait_for("the end of both", || living(&place, &gateway)?.is_empty().then_some(()));
    answer(post(&gateway.http, "/v1/embeddings", &json!({"model": "mini", "input": "a"})), 503);
}

/// Names of the workers of the pool that are ready, as `docket stats` tells them; `None` where it cannot tell yet, as while
/// the broker answers too late.
fn living(place: &Place, gateway: &GatewayProcess) -> Option<Vec<String>> {
    let told = place.docket(&["stats", "--gateway", &gateway.http, "--token", TOKEN, "--format", "json"]);
    if told.code != Some(0) {
        return None;
    }
    let stats: Value = serde_json::from_str(&told.stdout).expect("JSON");
    let pools = stats["pools"].as_array().expect("pools");
    let pool = pools.iter().find(|pool| pool["name"] == "readers").expect("the pool");
    let ready = pool["workers"].as_array().expect("workers").iter().filter(|worker| worker["ready"] == true);
    let names = ready.map(|worker| {
        let models: Vec<&Value> =
            worker["models"].as_array().expect("models").iter().map(|model| &model["name"]).collect();
        assert_eq!(models, ["mini", "small"]);
        assert_eq!(worker["models"][0]["digest"].as_str().map(str::len), Some(64));
        assert!(worker["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{worker}");
        assert!(worker["modelLoadSeconds"].as_f64() <= worker["readyAfterSeconds"].as_f64(), "{worker}");
        worker["name"].as_str().expect("a name").to_owned()
    });
    Some(names.collect())
}

/// Requests of clients that the workers of the pool have in work, as they say.
fn interactive(gateway: &GatewayProcess) -> u64 {
    let request = client().get(format!("{}/v1/stats", gateway.http)).bearer_auth(TOKEN);
    let stats = answer(request.send().expect("it answers"), 200);
    let pool = stats["pools"].as_array().expect("pools").iter().find(|pool| pool["name"] == "readers").cloned();
    let workers = pool.expect("the pool")["workers"].as_array().expect("workers").clone();
    workers.iter().filter_map(|worker| worker["interactive"].as_u64()).sum()
}

fn a_client_that_leaves_ends_the_work(http: &str, workers: [&mut Process; 2]) {
    let leaving = long_answer(http);
    drop(leaving);
    let mut workers = workers;
    wait_for("the worker to notice", || {
        workers.iter_mut().any(|worker| counted(&metrics(worker), "left")).then_some(())
    });
}

#[test]
fn a_client_that_leaves_before_its_whole_answer_ends_the_work() {
    let Some((_place, mut gateway)) = gateway_alone("inference: {concurrent: 1}\n") else { return };
    let messages = json!([{"role": "user", "content": "Write a long story about a fox."}]);
    let asked = json!({"model": "small", "messages": messages, "max_tokens": 900, "temperature": 1.2}).to_string();
    let address = gateway.http.trim_start_matches("http://").to_owned();
    let mut leaving = std::net::TcpStream::connect(&address).expect("it listens");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: {}\r\n\r\n",
        asked.len()
    );
    leaving.write_all(format!("{head}{asked}").as_bytes()).expect("sent");
    let short = json!({"model": "small", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    let status = || post(&gateway.http, "/v1/chat/completions", &short).status().as_u16();
    wait_for("the only place to be taken", || (status() == 429).then_some(()));
    drop(leaving);
    wait_for("the place", || (status() == 200).then_some(()));
    let metrics = gateway.metrics();
    assert!(counted(&metrics, "left"), "it did not wait for the answer: {metrics}");
}

#[test]
fn an_answer_that_takes_too_long_is_ended_and_says_so() {
    let Some((_place, gateway)) = gateway_alone("inference: {time: 400ms}\n") else { return };
    let messages = json!([{"role": "user", "content": "Write a long story about a fox."}]);
    let asked = |stream: bool| {
        let body =
            json!({"model": "small", "messages": messages, "max_tokens": 900, "temperature": 1.2, "stream": stream});
        post(&gateway.http, "/v1/chat/completions", &body)
    };
    assert_eq!(answer(asked(false), 504)["error"]["type"], "server_error");
    let streamed = asked(true);
    // Whether the first piece came in time is up to the machine.
    let (status, text) = (streamed.status().as_u16(), streamed.text().expect("whole events"));
    let last = text.lines().rfind(|line| !line.is_empty()).expect("something");
    let error: Value = serde_json::from_str(last.trim_start_matches("data: ")).expect("JSON");
    assert!(status == 504 || status == 200 && text.contains("chat.completion.chunk"), "{status}: {text}");
    assert_eq!(error["error"]["message"], "the answer took longer than is allowed");
}

#[test]
fn a_place_is_held_until_the_answer_has_gone_out_or_its_client_has_left() {
    let Some((_place, mut gateway)) = gateway_alone("inference: {concurrent: 1, bodyBytes: 2000, maxTokens: 900}\n")
    else {
        return;
    };
    let going_out = long_answer(&gateway.http);
    wait_for("the request to be told as work of its pool", || (interactive(&gateway) == 1).then_some(()));
    let short = json!({"model": "small", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    let refused = post(&gateway.http, "/v1/chat/completions", &short);
    assert_eq!(refused.headers()["retry-after"], "1");
    let error = answer(refused, 429)["error"].clone();
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    drop(going_out);
    wait_for("the place", || {
        let response = post(&gateway.http, "/v1/chat/completions", &short);
        (response.status() == 200).then_some(())
    });
    wait_for("no request to be told any more", || (interactive(&gateway) == 0).then_some(()));
    let metrics = gateway.metrics();
    assert!(counted(&metrics, "left") && counted(&metrics, "ok"), "{metrics}");
    let large = json!({"model": "mini", "input": "x".repeat(2_000)});
    answer(post(&gateway.http, "/v1/embeddings", &large), 413);
    let many = json!({"model": "small", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 901});
    assert_eq!(answer(post(&gateway.http, "/v1/chat/completions", &many), 400)["error"]["param"], "max_tokens");
}

#[test]
fn documents_are_ranked_by_their_likeness_to_a_query() {
    let Some((_place, gateway)) = gateway_alone("inference: {inputs: 4}\n") else { return };
    let documents = json!([
        "The cat sleeps on the warm mat.",
        "The tenant pays the rent on the first day of each month.",
        {"text": "Rent is due monthly, in advance."},
    ]);
    let ask = |more: &Value| {
        let mut body = json!({"model": "mini", "query": "When must the rent be paid?", "documents": documents});
        for (name, value) in more.as_object().expect("fields") {
            body[name] = value.clone();
        }
        post(&gateway.http, "/v1/rerank", &body)
    };
    let ranked = answer(ask(&json!({"return_documents": true})), 200);
    let results = ranked["results"].as_array().expect("results");
    let order: Vec<u64> = results.iter().filter_map(|result| result["index"].as_u64()).collect();
    assert_eq!((order.len(), order[2]), (3, 0), "{ranked}");
    let scores: Vec<f64> = results.iter().filter_map(|result| result["relevance_score"].as_f64()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[1] > scores[2] + 0.2, "{scores:?}");
    assert_eq!(results[2]["document"]["text"], "The cat sleeps on the warm mat.");
    assert_eq!(ranked["scoring"], "cosine");
    // The score is what the vectors say.
    let query = vector(&gateway.http, "When must the rent be paid?");
    let cat = vector(&gateway.http, "The cat sleeps on the warm mat.");
    let cosine: f64 = query.iter().zip(&cat).map(|(a, b)| a * b).sum();
    assert!((cosine - scores[2]).abs() < 1e-4, "{cosine} and {scores:?}");
    let best = answer(ask(&json!({"top_n": 1})), 200);
    assert_eq!(best["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(best["results"][0]["index"], order[0]);
    assert_eq!(best["results"][0].get("document"), None);
    for (more, param) in [
        (json!({"query": ""}), "query"),
        (json!({"documents": []}), "documents"),
        (json!({"documents": ["a", "b", "c", "d", "e"]}), "documents"),
        (json!({"top_n": 0}), "top_n"),
        (json!({"model": "small"}), "model"),
        (json!({"documents": ["a", "word ".repeat(1_000)]}), "documents"),
    ] {
        assert_eq!(answer(ask(&more), 400)["error"]["param"], param, "{more}");
    }
}

#[test]
fn a_client_may_use_the_models_of_its_pipelines_alone() {
    let Some((_place, gateway)) = gateway_alone("") else { return };
    let with = |token: &str, path: &str| {
        let request = client().get(format!("{}{path}", gateway.http)).bearer_auth(token);
        request.send().expect("it answers")
    };
    assert_eq!(answer(with("token-of-other-001", "/v1/models"), 200)["data"], json!([]));
    assert_eq!(answer(with(TOKEN, "/v1/models"), 200)["data"].as_array().map(Vec::len), Some(4));
    assert_eq!(answer(with("token-of-all-00002", "/v1/models"), 401)["error"]["code"], "invalid_api_key");
    let body = json!({"model": "mini", "input": "a"}).to_string();
    let request = client().post(format!("{}/v1/embeddings", gateway.http)).bearer_auth("token-of-other-001");
    answer(request.body(body).send().expect("it answers"), 404);
    assert_eq!(answer(with(TOKEN, "/v1/embeddings"), 405)["error"]["type"], "invalid_request_error");
}
