//! Commands against a gateway that does not do all that it is asked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    PLAIN, Place,
    processes::GatewayProcess,
    provider_server::{Piece, ProviderServer, Reply, head, status},
};

fn pipelines() -> Reply {
    status(200, "", &json!({"pipelines": [{"name": "plain"}]}))
}

fn event(name: &str, data: &Value) -> Reply {
    let event = format!("event: {name}\ndata: {data}\n\n");
    vec![head(200, "text/event-stream", ""), Piece::Bytes(event.into_bytes())]
}

#[test]
fn a_watch_that_breaks_off_says_why_and_begins_again_after_a_pause() {
    let gateway = ProviderServer::start(|n, _| match n {
        0 => pipelines(),
        1 | 2 => event("error", &json!({"reason": "Unavailable", "message": "the gateway is stopping"})),
        _ => event("end", &json!({"outcome": "succeeded", "seconds": 1.5})),
    });
    let (place, url) = (Place::new(), format!("http://{}", gateway.host()));
    let begun = Instant::now();
    let ran = place.docket(&["watch", "--gateway", &url, "a.txt"]).code(0);
    assert!(begun.elapsed() >= Duration::from_secs(2), "two pauses");
    assert_eq!(ran.stderr.matches("Unavailable: the gateway is stopping").count(), 1, "{}", ran.stderr);
    assert_eq!(ran.stdout, "succeeded after 1.5 s\n");
}

#[test]
fn metadata_that_no_address_holds_is_refused_and_the_other_documents_are_sent() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    let gateway = GatewayProcess::start(&place, "resources: [pipeline.yaml]\nstate: state\n");
    let line = |id: &str, note: usize| json!({"id": id, "text": "text", "metadata": {"note": "x".repeat(note)}});
    place.write("in.jsonl", format!("{}\n{}\n", line("large", 70_000), line("small", 10)));
    let submit = ["submit", "--gateway", &gateway.http, "--input", "in.jsonl", "--format", "jsonl"];
    let mut lines = place.docket(&submit).code(1).lines();
    lines.sort_by_key(|line| line["document"].to_string());
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, [&json!("refused"), &json!("succeeded")]);
    let message = lines[0]["error"]["message"].as_str().expect("a message");
    assert!(message.contains("65534 bytes"), "{message}");
}
