//! Who may read `/metrics` of gateways and workers, where a token is named.

use reqwest::{StatusCode, header};

use crate::support::{
    PLAIN, Place,
    processes::{GatewayProcess, Nats, Process, client, worker},
};

const NAMED: &str = "resources: [pipeline.yaml]\nmetricsTokenFile: metrics-token\n";

fn answer(process: &mut Process, path: &str, authorization: &str) -> (StatusCode, String) {
    let address = process.says("health listens on ");
    let asked = client().get(format!("http://{address}{path}")).header(header::AUTHORIZATION, authorization);
    let answer = asked.send().expect("it answers");
    let refused = answer.status() == StatusCode::UNAUTHORIZED;
    assert_eq!(answer.headers().get(header::WWW_AUTHENTICATE).is_some(), refused, "how to ask is said with a refusal");
    (answer.status(), answer.text().expect("text"))
}

/// Of any process: one token after another counts, and no other; probes need none.
fn is_for_the_token_of_the_file(place: &Place, process: &mut Process) {
    for (token, other) in [("first-token", "second-token"), ("second-token", "first-token")] {
        place.write("metrics-token", format!("{token}\n"));
        let (code, text) = answer(process, "/metrics", &format!("Bearer {token}"));
        assert!(code == StatusCode::OK && text.contains("process_resident_memory_bytes"), "{code} {text}");
        for authorization in ["", "Bearer", "Bearer ", token, &format!("Basic {token}"), &format!("Bearer {other}")] {
            let (code, said) = answer(process, "/metrics", authorization);
            assert_eq!(code, StatusCode::UNAUTHORIZED, "{authorization}: {said}");
            assert!(said.contains("Authorization: Bearer TOKEN") && !said.contains(token), "{said}");
        }
        assert_eq!(answer(process, "/livez", "").0, StatusCode::OK);
        assert_eq!(answer(process, "/readyz", "").0, StatusCode::OK);
    }
    place.write("metrics-token", "\n");
    assert_eq!(answer(process, "/metrics", "Bearer ").0, StatusCode::SERVICE_UNAVAILABLE, "nothing is no token");
}

#[test]
fn metrics_of_a_gateway_are_for_whoever_has_the_token() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("metrics-token", "first-token");
    let mut gateway = GatewayProcess::start(&place, &format!("state: state\n{NAMED}"));
    is_for_the_token_of_the_file(&place, &mut gateway.process);
}

#[test]
fn metrics_of_a_worker_are_for_whoever_has_the_token() {
    let Some(nats) = Nats::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("metrics-token", "first-token");
    let config = format!("pool: readers\nnats: {{servers: ['{}']}}\n{NAMED}", nats.url);
    let mut worker = worker(&place, "anna", &config);
    worker.says("worker anna takes tasks");
    is_for_the_token_of_the_file(&place, &mut worker);
}

#[test]
fn a_file_without_a_token_is_told_when_the_process_starts() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("gateway.yaml", format!("health: 127.0.0.1:0\n{NAMED}"));
    let gateway = ["gateway", "--config", "gateway.yaml"];
    let ran = place.docket(&gateway).code(2);
    assert!(ran.stderr.contains("metricsTokenFile") && ran.stderr.contains("metrics-token"), "{}", ran.stderr);
    place.write("empty", " \n");
    let ran = place.docket(&[&gateway[..], &["--metrics-token-file", "empty"]].concat()).code(2);
    assert!(ran.stderr.contains("--metrics-token-file") && ran.stderr.contains("it is empty"), "{}", ran.stderr);
}
