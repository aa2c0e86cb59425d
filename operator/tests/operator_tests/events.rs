//! Events about objects: what they say, and that they are not repeated.

use std::{io, sync::Arc};

use crate::api_server::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use operator::{client::Clients, events::Events, metrics::Metrics};
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
#[error("failed to apply Deployment team/readers")]
struct Apply(#[source] io::Error);

fn failure(why: &str) -> Apply {
    Apply(io::Error::other(why.to_owned()))
}

fn object(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object.metadata.namespace = Some("team".to_owned());
    object.metadata.uid = Some(format!("uid-of-{name}"));
    object
}

async fn events(server: &ApiServer) -> (Events, Arc<Metrics>) {
    let client = Clients::new(&server.config()).expect("clients").calls;
    let metrics = Arc::new(Metrics::default());
    (Events::new(client, "operator-a_1", &metrics), metrics)
}

fn notes(server: &ApiServer) -> Vec<String> {
    let contents = server.contents();
    contents.events.iter().map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_failure_is_told_once_an_object_and_reason_with_everything_that_caused_it() {
    let server = ApiServer::start().await;
    let (events, metrics) = events(&server).await;
    for _ in 0..5 {
        events.failed(&object("readers"), "ApplyChild", &failure("quota exceeded")).await;
    }
    // A text that changes with every pass would be an Event a pass.
    events.failed(&object("readers"), "ApplyChild", &failure("quota exceeded, now by 2")).await;
    assert_eq!(notes(&server), ["failed to apply Deployment team/readers: quota exceeded"]);

    events.failed(&object("readers"), "Dereference", &failure("quota exceeded")).await;
    events.failed(&object("writers"), "ApplyChild", &failure("quota exceeded")).await;
    assert_eq!(notes(&server).len(), 3, "another reason and another object are other news");

    let event = server.contents().events[0].clone();
    let expected = [
        ("/type", "Warning"),
        ("/reason", "ApplyChild"),
        ("/regarding/uid", "uid-of-readers"),
        ("/metadata/namespace", "team"),
        ("/reportingController", "docket-operator"),
        ("/reportingInstance", "operator-a_1"),
    ];
    for (field, value) in expected {
        assert_eq!(event.pointer(field).and_then(Value::as_str), Some(value), "{field} in {event}");
    }
    let text = metrics.text().expect("text");
    for line in [
        "docket_operator_events_total{outcome=\"published\"} 3",
        "docket_operator_events_total{outcome=\"repeated\"} 5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[tokio::test]
async fn a_long_text_is_cut_where_a_character_ends() {
    let server = ApiServer::start().await;
    let (events, _) = events(&server).await;
    events.failed(&object("readers"), "ApplyChild", &failure(&"ä".repeat(2_000))).await;
    let notes = notes(&server);
    assert!(notes[0].ends_with("ä…") && notes[0].len() <= 1_024, "{} bytes", notes[0].len());
}

#[tokio::test]
async fn news_that_cannot_be_published_harm_nobody() {
    let server = ApiServer::start().await;
    let (events, metrics) = events(&server).await;
    let mut cluster_wide = object("readers");
    cluster_wide.metadata.namespace = Some("no/namespace".to_owned());
    events.failed(&cluster_wide, "ApplyChild", &failure("quota exceeded")).await;
    assert!(metrics.text().expect("text").contains("docket_operator_events_total{outcome=\"failed\"} 1"));
}
