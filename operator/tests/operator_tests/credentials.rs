//! The Secret with the credentials of a namespace's pools and gateway: it is never one that the API server refuses.

use std::collections::BTreeMap;

use crate::support::{config, pool};
use k8s_openapi::{ByteString, jiff::Timestamp};
use operator::{
    agent_pool::{Error, status},
    config::{Config, Credentials},
    namespace::build::{self, Nats},
};
use queue::jetstream::Keys;
use serde_json::json;

/// The Secret of a namespace with these pools, where each has credentials of its own.
fn secret(pools: &[String]) -> (Nats, BTreeMap<String, ByteString>) {
    let keys = Some(Credentials::Keys(Box::new(Keys::generate())));
    let config = Config { nats_credentials: keys, ..config() };
    let nats = build::nats("documents", &config, pools.iter()).expect("a Secret");
    let data = serde_json::from_value(nats.secret.object()["data"].clone()).expect("base64");
    (nats, data)
}

#[test]
fn a_pool_that_is_refused_for_its_name_has_no_credentials() {
    let refused = ["n".repeat(250), "n".repeat(57), "clerks.normal".to_owned()];
    let pools = [&refused[..], &["readers".to_owned(), "n".repeat(56)]].concat();
    let (nats, data) = secret(&pools);
    let longest = format!("agents-{}.creds", "n".repeat(56));
    assert_eq!(data.keys().collect::<Vec<_>>(), [longest.as_str(), "agents-readers.creds", "gateway.creds"]);
    assert!(nats.left_out.is_empty());
}

#[test]
fn pools_beyond_what_the_secret_has_room_for_are_named_and_those_before_keep_their_credentials() {
    let pools: Vec<String> = (0..600).map(|number| format!("pool-{number:03}")).collect();
    let (nats, data) = secret(&pools);
    let bytes: usize = data.values().map(|value| value.0.len()).sum();
    assert!((900_000..1 << 20).contains(&bytes), "{bytes}");
    let kept = pools.len() - nats.left_out.len();
    assert!(kept >= 400, "docs/install.md says so: {kept}");
    assert_eq!(nats.left_out, pools[kept..]);
    assert_eq!(data.len(), kept + 1, "and the gateway");
    assert!(data.contains_key("agents-pool-000.creds") && data.contains_key("gateway.creds"));
}

#[test]
fn a_pool_without_room_for_its_credentials_says_so() {
    let status = status::after(&pool(json!({})), &Err(Error::NamespaceFull), Timestamp::UNIX_EPOCH);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("always there");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "NamespaceFull"));
    assert!(ready.message.contains("docket-nats") && ready.message.contains("another namespace"), "{}", ready.message);
}
