//! Credentials that change: they are noticed, pods are replaced for them, and annotations tell nobody which they are.

use std::{sync::Arc, time::Duration};

use crate::{
    api_server::ApiServer,
    support::{pool, resolved, validated_with},
};
use k8s_openapi::api::core::v1::Secret;
use operator::{
    agent_pool::build,
    client::Clients,
    config::Config,
    health::Health,
    metrics::Metrics,
    prepare::{self, digest_of},
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(5);
/// Many looks.
const MEANWHILE: Duration = Duration::from_millis(200);
/// Longest wait for anything; generous, because nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Secret of the operator's namespace: its metadata but for the name, and its data.
fn secret(metadata: Value, data: Value) -> Value {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
    secret["metadata"]["name"] = json!("mine");
    secret
}

#[tokio::test]
async fn other_credentials_are_noticed_once_they_are_there_and_fit() {
    for (flag, before, after) in [
        ("--nats-credentials-secret", json!({"user": "b3A=", "password": "b25l"}), json!({"nats.creds": "dHdv"})),
        ("--payloads-secret", json!({"AWS_ACCESS_KEY_ID": "b25l"}), json!({"AWS_ACCESS_KEY_ID": "dHdv"})),
    ] {
        let server = ApiServer::start().await;
        server.contents().definitions = true;
        server.contents().secret = Some(secret(json!({"uid": "1"}), before.clone()));
        let client = Clients::new(&server.config()).expect("clients").calls;
        let health = Health::new(&[], &Arc::new(Metrics::default()), &CancellationToken::new());
        let config = Config { namespace: "docket".to_owned(), ..resolved(&[flag, "mine"]).expect("a configuration") };
        let read = timeout(PATIENCE, prepare::wait(&client, config, &health)).await.expect("everything is there");

        let mut changed = Box::pin(prepare::until_changed(&client, &read, EVERY));
        let labelled = secret(json!({"uid": "1", "resourceVersion": "2", "labels": {"team": "a"}}), before);
        for now in [Some(labelled), None] {
            server.contents().secret = now;
            timeout(MEANWHILE, &mut changed).await.expect_err("there are no others");
        }
        server.contents().secret = Some(secret(json!({"uid": "1"}), after));
        assert_eq!(timeout(PATIENCE, changed).await.expect("it is noticed"), "mine");
    }
}

#[test]
fn pods_are_replaced_for_other_credentials_of_all() {
    let annotations = |config: &Config| {
        let deployment = build::all(&validated_with(&pool(json!({})), config)).deployment;
        deployment.object()["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let of = |nats: Option<&str>, payloads: Option<&str>| Config {
        nats_credentials_digest: nats.map(str::to_owned),
        payloads_keys_digest: payloads.map(str::to_owned),
        ..resolved(&[]).expect("a configuration")
    };
    let usual = annotations(&of(None, None));
    assert_eq!(usual.as_object().map(serde_json::Map::len), Some(1), "the digest of files alone: {usual}");
    let (one, two) = (annotations(&of(Some("one"), Some("two"))), annotations(&of(Some("one"), Some("three"))));
    assert_eq!((&one["docket.dev/nats-credentials"], &one["docket.dev/payloads-keys"]), (&json!("one"), &json!("two")));
    assert_eq!(
        (&two["docket.dev/nats-credentials"], &two["docket.dev/payloads-keys"]),
        (&json!("one"), &json!("three"))
    );
    assert_eq!(one["docket.dev/config"], usual["docket.dev/config"]);
}

#[test]
fn a_digest_follows_the_content_and_is_of_no_use_to_who_may_not_read_the_secret() {
    let digest = |metadata: Value, password: &str| {
        let secret: Secret = serde_json::from_value(secret(metadata, json!({"password": password}))).expect("a Secret");
        digest_of(&secret)
    };
    let usual = digest(json!({"uid": "1"}), "b25l");
    assert!(usual.is_some());
    assert_ne!(digest(json!({"uid": "1"}), "dHdv"), usual, "another password");
    assert_eq!(digest(json!({"uid": "1", "resourceVersion": "7", "labels": {"a": "b"}}), "b25l"), usual);
    assert_ne!(digest(json!({"uid": "2"}), "b25l"), usual, "the same password in another Secret");
    assert_eq!(digest(json!({}), "b25l"), None, "without what nobody knows there is none");
}
