//! A gateway without a broker: what clients can do over HTTP and gRPC, and what they are refused.

use std::io::{BufRead as _, BufReader};

use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::support::{
    PLAIN, Place, changed,
    processes::{GatewayProcess, client, sum, wait_for},
};

const TOKENS: &str = "tokens:
- {name: acme, token: token-of-acme-0001, tenant: acme, pipelines: [plain]}
- {name: other, token: token-of-other-001, tenant: other, pipelines: [plain]}
- {name: all, token: token-of-all-00001}
";

fn gateway(place: &Place, pipeline: &str, config: &str) -> GatewayProcess {
    place.write("pipeline.yaml", pipeline);
    GatewayProcess::start(place, &format!("resources: [pipeline.yaml]\nstate: state\n{config}"))
}

fn documents(gateway: &GatewayProcess) -> String {
    format!("{}/v1/pipelines/plain/documents", gateway.http)
}

#[track_caller]
fn answer(response: Response, status: u16) -> Value {
    let (found, text) = (response.status().as_u16(), response.text().expect("a body"));
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn submit(gateway: &GatewayProcess, query: &str, text: &str) -> Response {
    client().post(format!("{}?{query}", documents(gateway))).body(text.to_owned()).send().expect("it answers")
}

fn ended(gateway: &GatewayProcess, document: &str) -> Value {
    let address = format!("{}/{document}?wait=60", documents(gateway));
    answer(client().get(address).send().expect("it answers"), 200)
}

#[test]
fn a_document_is_taken_worked_and_given_as_docket_run_gives_it() {
    let place = Place::new();
    let mut gateway = gateway(&place, PLAIN, "");
    let text = "Alpha is the first of the letters.";
    let accepted = answer(submit(&gateway, "id=sub%2Fa.txt&source=a.txt&priority=high", text), 202);
    assert_eq!(accepted, json!({"document": "sub/a.txt", "pipeline": "plain", "repeated": false}));
    let result = ended(&gateway, "sub%2Fa.txt");
    assert_eq!(result["outcome"], "succeeded");
    assert_eq!(result["output"], json!({"head": "Alpha is the first", "bytes": 34}));
    place.write("a.txt", text);
    let run = ["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "jsonl", "--state", "other"];
    let line = &place.docket(&run).code(0).lines()[0];
    let keys = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys(&result), keys(line));
    assert_eq!(result["plan"], line["plan"]);
    let metrics = gateway.metrics();
    assert_eq!(sum(&metrics, "docket_document_processing_seconds_count"), 1.0, "{metrics}");
    assert_eq!(sum(&metrics, "docket_stage_seconds_count"), 4.0, "{metrics}");
    assert_eq!(sum(&metrics, "docket_submissions_total"), 1.0, "{metrics}");
    gateway.process.terminate();
    assert_eq!(gateway.process.ends().code(), Some(0));
}

#[test]
fn a_pipeline_that_goes_on_by_its_pools_as_they_were_is_served_beside_the_others_and_alone() {
    let place = Place::new();
    let former = changed(PLAIN, &[("name: plain", "name: before"), ("concurrency: 4", "concurrency: 2")]);
    place.write("former.yaml", former);
    let pools = PLAIN.split("---").next().expect("the pool");
    for (id, resources, status) in [("a", PLAIN, 202), ("b", pools, 404)] {
        let gateway = gateway(&place, resources, "former: [[former.yaml]]\n");
        let sent = |pipeline: &str| {
            let address = format!("{}/v1/pipelines/{pipeline}/documents?id={id}", gateway.http);
            client().post(address).body("the text").send().expect("it answers")
        };
        answer(sent("before"), 202);
        answer(sent("plain"), status);
        let address = format!("{}/v1/pipelines/before/documents/{id}?wait=60", gateway.http);
        assert_eq!(answer(client().get(address).send().expect("it answers"), 200)["outcome"], "succeeded");
    }
}

#[test]
fn the_same_key_is_the_same_document_and_another_text_under_an_id_is_refused() {
    let place = Place::new();
    let gateway = gateway(&place, PLAIN, "");
    let with_key = |key: &str, text: &str| {
        let request = client().post(documents(&gateway)).header("Idempotency-Key", key).body(text.to_owned());
        request.send().expect("it answers")
    };
    let first = answer(with_key("key-1", "text"), 202);
    let again = answer(with_key("key-1", "text"), 200);
    assert_eq!((&again["document"], &again["repeated"]), (&first["document"], &json!(true)));
    assert_ne!(answer(with_key("key-2", "text"), 202)["document"], first["document"]);
    assert_eq!(answer(with_key("key-1", "another text"), 409)["error"]["reason"], "Conflict");
    ended(&gateway, first["document"].as_str().expect("an id"));
    assert_eq!(answer(with_key("key-1", "text"), 200)["repeated"], true, "also after its end");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let place = Place::new();
    let gateway = gateway(&place, PLAIN, "limits: {documentBytes: 1000}\n");
    let reason = |response: Response, status: u16| answer(response, status)["error"]["reason"].clone();
    assert_eq!(reason(submit(&gateway, "", &"x".repeat(1_001)), 413), "DocumentTooLarge");
    let unannounced = reqwest::blocking::Body::new(std::io::Cursor::new(vec![b'x'; 2_000]));
    let chunked = client().post(documents(&gateway)).body(unannounced).send().expect("it answers");
    assert_eq!(reason(chunked, 413), "DocumentTooLarge");
    answer(submit(&gateway, "", &"x".repeat(1_000)), 202);
    for query in ["priority=urgent", "metadata=[1]", "deadline=soon", "id=", "id=..", "colour=red", "id=a%0Ab"] {
        assert_eq!(reason(submit(&gateway, query, "text"), 400), "Invalid", "{query}");
    }
    for source in ["x".repeat(4_097), "a%0Ab".to_owned()] {
        let refused = answer(submit(&gateway, &format!("source={source}"), "text"), 400);
        let message = refused["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with("source: "), "{message}");
    }
    answer(submit(&gateway, &format!("source={}", "x".repeat(4_096)), "text"), 202);
    let at = |path: &str| client().get(format!("{}{path}", gateway.http)).send().expect("it answers");
    assert_eq!(reason(at("/v1/pipelines/nothing/documents"), 404), "NotFound");
    assert_eq!(reason(at("/v1/pipelines/plain/documents/nothing"), 404), "NotFound");
    assert_eq!(reason(at("/nothing"), 404), "NotFound");
    assert_eq!(reason(at("/v1/pipelines/plain/documents/nothing/cancel"), 405), "MethodNotAllowed");
}

#[test]
fn a_document_that_one_of_several_parse_stages_takes_is_taken() {
    let place = Place::new();
    let strict = "  - {name: strict, pool: readers, optional: true, parse: {maxBytes: 10}}\n  - {name: parse,";
    let gateway = gateway(&place, &changed(PLAIN, &[("  - {name: parse,", strict)]), "");
    let listed = client().get(format!("{}/v1/pipelines", gateway.http)).send().expect("it answers");
    assert_eq!(answer(listed, 200)["pipelines"][0]["maxBytes"], 64 << 20);
    answer(submit(&gateway, "id=a", "more than ten bytes"), 202);
    assert_eq!(ended(&gateway, "a")["outcome"], "partial");
}

#[test]
fn tokens_say_who_may_see_what() {
    let place = Place::new();
    place.write("tokens.yaml", TOKENS);
    let gateway = gateway(&place, PLAIN, "tokens: tokens.yaml\n");
    let with = |token: &str, path: &str| {
        let request = client().get(format!("{}{path}", gateway.http)).bearer_auth(token);
        request.send().expect("it answers")
    };
    let refused = client().get(documents(&gateway)).send().expect("it answers");
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_eq!(answer(refused, 401)["error"]["reason"], "Unauthenticated");
    answer(with("token-of-acme-0002", "/v1/pipelines"), 401);
    let post = |token: &str, query: &str| {
        let request = client().post(format!("{}?{query}", documents(&gateway))).bearer_auth(token);
        request.body("text").send().expect("it answers")
    };
    answer(post("token-of-acme-0001", "id=d"), 202);
    answer(post("token-of-acme-0001", "id=e&tenant=other"), 403);
    let document = "/v1/pipelines/plain/documents/d";
    answer(with("token-of-acme-0001", document), 200);
    answer(with("token-of-all-00001", document), 200);
    answer(with("token-of-other-001", document), 404);
    answer(post("token-of-other-001", "id=d"), 409);
    let listed = |token: &str| answer(with(token, "/v1/pipelines/plain/documents"), 200)["documents"].clone();
    assert_eq!(listed("token-of-acme-0001").as_array().map(Vec::len), Some(1));
    assert_eq!(listed("token-of-other-001"), json!([]));
    // A token that is taken out of the file counts no more.
    place.write("tokens.yaml", TOKENS.replace("token-of-all-00001", "token-of-all-00002"));
    wait_for("the new tokens", || (with("token-of-all-00002", document).status() == 200).then_some(()));
    answer(with("token-of-all-00001", document), 401);
}

#[test]
fn credits_are_spent_by_documents_in_flight_and_come_back() {
    let place = Place::new();
    let suspended = PLAIN.replace("spec:\n  stages:", "spec:\n  suspend: true\n  stages:");
    let gateway = gateway(&place, &suspended, "limits: {inFlight: 2}\n");
    answer(submit(&gateway, "id=a", "text"), 202);
    answer(submit(&gateway, "id=b", "text"), 202);
    let full = submit(&gateway, "id=c", "text");
    let seconds: u64 = full.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&seconds));
    assert_eq!(answer(full, 429)["error"]["reason"], "Busy");
    answer(submit(&gateway, "id=a", "text"), 200);
    answer(submit(&gateway, "id=c&tenant=another", "text"), 202);
    let cancelled = client().post(format!("{}/a/cancel", documents(&gateway))).send().expect("it answers");
    assert_eq!(answer(cancelled, 200)["outcome"], "cancelled");
    wait_for("the credit", || (submit(&gateway, "id=c2", "text").status() == 202).then_some(()));
}

#[test]
fn documents_are_listed_in_parts_and_dead_letters_are_replayed() {
    let place = Place::new();
    let gateway = gateway(&place, PLAIN, "");
    for number in 0..7 {
        answer(submit(&gateway, &format!("id=d{number}"), if number < 2 { "" } else { "text" }), 202);
    }
    for number in 0..7 {
        ended(&gateway, &format!("d{number}"));
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let part = client().get(format!("{}?limit=3{after}", documents(&gateway))).send().expect("it answers");
        let part = answer(part, 200);
        let items = part["documents"].as_array().expect("documents");
        seen.extend(items.iter().map(|item| item["document"].as_str().expect("an id").to_owned()));
        match part["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["d0", "d1", "d2", "d3", "d4", "d5", "d6"]);
    let succeeded = client().get(format!("{}?outcome=succeeded", documents(&gateway))).send().expect("it answers");
    assert_eq!(answer(succeeded, 200)["documents"].as_array().map(Vec::len), Some(5));
    let letters = client().get(format!("{}/v1/pipelines/plain/dead-letters", gateway.http)).send();
    let letters = answer(letters.expect("it answers"), 200);
    assert_eq!(letters["deadLetters"][0]["document"], "d0");
    assert_eq!(letters["deadLetters"][0]["reason"], "DocumentEmpty");
    assert_eq!(letters["deadLetters"].as_array().map(Vec::len), Some(2));
    let replay = |document: &str| {
        let address = format!("{}/{document}/replay", documents(&gateway));
        client().post(address).send().expect("it answers")
    };
    assert_eq!(answer(replay("d0"), 200)["document"], "d0");
    assert_eq!(ended(&gateway, "d0")["outcome"], "dead-lettered", "an empty document fails again");
    assert_eq!(answer(replay("d6"), 409)["error"]["reason"], "Conflict");
}

#[test]
fn a_watcher_is_told_of_the_end_whenever_it_comes() {
    let place = Place::new();
    let suspended = PLAIN.replace("spec:\n  stages:", "spec:\n  suspend: true\n  stages:");
    let gateway = gateway(&place, &suspended, "");
    answer(submit(&gateway, "id=a", "text"), 202);
    let events = || {
        let watched = client().get(format!("{}/a/events", documents(&gateway))).send().expect("it answers");
        assert_eq!(watched.headers()["content-type"], "text/event-stream");
        BufReader::new(watched).lines().map_while(Result::ok)
    };
    let mut watched = events();
    assert_eq!(watched.next().as_deref(), Some("event: progress"));
    answer(client().post(format!("{}/a/cancel", documents(&gateway))).send().expect("it answers"), 200);
    let rest: Vec<String> = watched.collect();
    let end = rest.iter().position(|line| line == "event: end").expect("an end");
    let result: Value = serde_json::from_str(rest[end + 1].trim_start_matches("data: ")).expect("JSON");
    assert_eq!(result["outcome"], "cancelled");
    assert!(rest[end + 2..].iter().all(String::is_empty), "{rest:?}");
    assert_eq!(events().next().as_deref(), Some("event: end"), "who comes late sees the end alone");
}

#[test]
fn the_description_names_every_route() {
    let place = Place::new();
    let gateway = gateway(&place, PLAIN, "");
    let at = |path: &str| client().get(format!("{}{path}", gateway.http)).send().expect("it answers");
    let description = answer(at("/openapi.json"), 200);
    for (path, methods) in description["paths"].as_object().expect("paths") {
        let path = path.replace("{pipeline}", "plain").replace("{document}", "none");
        for (method, operation) in methods.as_object().expect("methods") {
            let method = method.to_uppercase().parse().expect("a method");
            let response = client().request(method, format!("{}{path}", gateway.http)).send().expect("it answers");
            let status = response.status().as_u16().to_string();
            assert!(operation["responses"].get(&status).is_some(), "{path} gave {status}, which is not described");
            assert_ne!(status, "405");
        }
    }
    let page = at("/");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(answer(at("/v1/pipelines"), 200)["pipelines"][0]["name"], "plain");
}

#[test]
fn documents_in_flight_survive_the_gateway() {
    let place = Place::new();
    let suspended = PLAIN.replace("spec:\n  stages:", "spec:\n  suspend: true\n  stages:");
    let mut first = gateway(&place, &suspended, "limits: {inFlight: 1}\n");
    answer(submit(&first, "id=a", "text"), 202);
    first.process.kill();
    let second = gateway(&place, &suspended, "limits: {inFlight: 1}\n");
    assert_eq!(ended_or_not(&second, "a"), "unfinished");
    answer(submit(&second, "id=b", "text"), 429);
}

fn ended_or_not(gateway: &GatewayProcess, document: &str) -> Value {
    answer(client().get(format!("{}/{document}", documents(gateway))).send().expect("it answers"), 200)["outcome"]
        .clone()
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("gateway.yaml", "resources: [pipeline.yaml]\nlimits: {inFlihgt: 3}\n");
    let ran = place.docket(&["gateway", "--config", "gateway.yaml"]).code(2);
    ran.says("gateway.yaml:2:10: limits.inFlihgt: unknown field; did you mean \"inFlight\"?");
    place.write("gateway.yaml", "resources: [pipeline.yaml]\nhttp: 0.0.0.0:0\n");
    place.docket(&["gateway", "--config", "gateway.yaml"]).code(2).says("tokens");
    place.write("worker.yaml", "pool: writers\nresources: [pipeline.yaml]\nnats: {servers: ['nats://127.0.0.1:1']}\n");
    place.docket(&["worker", "--config", "worker.yaml"]).code(2).says("worker.yaml:1:7: pool: the resource files hold");
    let open = "pool: readers\nresources: [pipeline.yaml]\nhttp: 0.0.0.0:0\nnats: {servers: ['nats://127.0.0.1:1']}\n";
    place.write("worker.yaml", open);
    place.docket(&["worker", "--config", "worker.yaml"]).code(2).says("worker.yaml:3:7: http: can be reached");
}

#[test]
fn what_waits_who_works_and_how_long_it_takes_is_told_to_those_who_may_know() {
    let place = Place::new();
    let tokens = format!("{TOKENS}- {{name: none, token: token-of-none-001, pipelines: [another]}}\n");
    place.write("tokens.yaml", tokens);
    let gateway = gateway(&place, PLAIN, "tokens: tokens.yaml\n");
    let post = |token: &str, query: &str| {
        let request = client().post(format!("{}?{query}", documents(&gateway))).bearer_auth(token);
        request.body("some text").send().expect("it answers")
    };
    let stats = |token: &str| {
        let request = client().get(format!("{}/v1/stats", gateway.http)).bearer_auth(token);
        answer(request.send().expect("it answers"), 200)
    };
    for number in 0..5 {
        answer(post("token-of-acme-0001", &format!("id=d{number}")), 202);
    }
    let all = wait_for("five documents of four stages", || {
        let stats = stats("token-of-all-00001");
        let times = stats["pools"][0]["serviceTimes"].as_array().expect("times").clone();
        let counts: Vec<_> = times.iter().filter_map(|time| time["count"].as_u64()).collect();
        (counts == [5, 5, 5, 5]).then_some(stats)
    });
    let pool = &all["pools"][0];
    assert_eq!((&pool["name"], &pool["slots"]), (&json!("readers"), &json!(4)));
    assert_eq!(pool["waiting"], json!({"critical": 0, "high": 0, "normal": 0, "low": 0}));
    let worker = &pool["workers"][0];
    assert_eq!((&worker["ready"], &worker["cordoned"], &worker["slots"]), (&json!(true), &json!(false), &json!(4)));
    let stages: Vec<_> = pool["serviceTimes"].as_array().expect("times").iter().map(|time| &time["stage"]).collect();
    assert_eq!(stages, ["both", "head", "parse", "size"]);
    assert!(pool["serviceTimes"].as_array().expect("times").iter().all(|time| time["p95"].as_f64() > Some(0.0)));
    assert_eq!(stats("token-of-none-001"), json!({"pools": [], "pipelines": []}), "another pipeline's token");
    assert_eq!(stats("token-of-other-001")["pipelines"], json!([{"name": "plain", "open": 0}]));
    let refused = client().get(format!("{}/v1/stats", gateway.http)).send().expect("it answers");
    answer(refused, 401);
    let table = ["stats", "--gateway", &gateway.http, "--token", "token-of-all-00001"];
    let said = place.docket(&table).code(0).stdout;
    assert!(said.contains("POOL     CRITICAL") && said.contains("parse"), "{said}");
}

#[test]
fn a_document_is_given_an_expected_finish_once_its_stages_were_measured() {
    let place = Place::new();
    let gateway = gateway(&place, PLAIN, "limits: {inFlight: 3}\n");
    let first = answer(submit(&gateway, "id=first", "text"), 202);
    assert_eq!(first.get("expectedFinish"), None, "nothing is measured yet");
    let mut number = 0;
    let finish = wait_for("a measured document", || {
        number += 1;
        let id = format!("d{number}");
        let submitted = submit(&gateway, &format!("id={id}"), "text");
        ended(&gateway, &id);
        answer(submitted, 202)["expectedFinish"].as_str().map(str::to_owned)
    });
    let of_now = client().get(format!("{}/d1", documents(&gateway))).send().expect("it answers");
    let d1 = answer(of_now, 200);
    assert_eq!(d1.get("expectedFinish"), None, "it has ended");
    // Seconds and their parts, of our century and in UTC.
    assert!(finish.starts_with("20") && finish.ends_with('Z') && finish.contains('T'), "{finish}");
}

#[test]
fn kept_results_are_seen_and_removed_by_those_who_may() {
    let place = Place::new();
    place.write("tokens.yaml", TOKENS);
    let gateway = gateway(&place, PLAIN, "tokens: tokens.yaml\n");
    let with = |request: reqwest::blocking::RequestBuilder, token: &str| {
        request.bearer_auth(token).send().expect("it answers")
    };
    let stats =
        |token: &str, status: u16| answer(with(client().get(format!("{}/v1/cache", gateway.http)), token), status);
    let clear = |token: &str, query: &str, status: u16| {
        answer(with(client().post(format!("{}/v1/cache/clear?{query}", gateway.http)), token), status)
    };
    let (all, acme) = ("token-of-all-00001", "token-of-acme-0001");
    for tenant in ["one", "two"] {
        let query = format!("?id={tenant}&tenant={tenant}");
        answer(with(client().post(documents(&gateway) + &query).body("the same text"), all), 202);
        let ended = format!("{}/{tenant}?wait=60", documents(&gateway));
        assert_eq!(answer(with(client().get(ended), all), 200)["outcome"], "succeeded");
    }
    let found = stats(all, 200);
    let process = &found["processes"][0];
    assert_eq!((&process["disk"]["entries"], &process["memory"]["entries"]), (&json!(2), &json!(2)), "{found}");
    assert_eq!(process["statistics"]["computed"], 2, "tenants share nothing");
    assert_eq!(found["redis"], Value::Null);
    assert_eq!(stats(acme, 403)["error"]["reason"], "Forbidden");
    assert_eq!(clear(acme, "", 403)["error"]["reason"], "Forbidden");
    assert_eq!(clear(all, "olderThan=soon", 400)["error"]["reason"], "Invalid");
    assert_eq!(clear(all, "colour=red", 400)["error"]["reason"], "Invalid");
    let removed = |answer: Value| answer["processes"][0]["disk"]["entries"].clone();
    assert_eq!(removed(clear(all, "tenant=three", 200)), 0);
    assert_eq!(removed(clear(all, "olderThan=1h", 200)), 0);
    assert_eq!(removed(clear(all, "tenant=one", 200)), 1);
    let ran = place.docket(&["cache", "stats", "--gateway", &gateway.http, "--token", all]).code(0);
    assert!(ran.stdout.contains("disk of "), "{}", ran.stdout);
    let ran = place.docket(&["cache", "clear", "--gateway", &gateway.http, "--token", all, "--format", "json"]).code(0);
    assert_eq!(removed(serde_json::from_str(&ran.stdout).expect("JSON")), 1);
    assert_eq!(stats(all, 200)["processes"][0]["memory"]["entries"], 0);
}
