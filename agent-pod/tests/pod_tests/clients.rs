//! Commands against a gateway that does not do all that it is asked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Place,
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
