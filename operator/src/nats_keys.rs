//! The Secret with the keys of the broker: read, or made once where there is none. It is never written again: whoever has
//! other keys can reach no document of before.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::Client;
use queue::jetstream::Keys;

use crate::{
    chain,
    names::random,
    own_secrets,
    prepare::{authorities, text},
};

/// Key of the operator's seed, the secret of all.
pub const OPERATOR: &str = "operator.nk";
/// Key of what the servers' configuration includes.
pub const SERVERS: &str = "auth.conf";
/// Keys of the user that servers are to each other.
const USER: &str = "user";
const PASSWORD: &str = "password";
/// Where the chart's servers keep accounts: on the volume that their streams are on.
const ACCOUNTS: &str = "/data/accounts";
/// The user that servers are to each other.
const ROUTES: &str = "docket-routes";
/// What names the Secret.
const FLAG: &str = "--nats-keys-secret";

/// The keys, and who vouches for the servers where somebody has added that; or why there are none yet.
pub async fn of(client: &Client, namespace: &str, name: &str) -> Result<(Keys, Option<String>), String> {
    let make = || secret(namespace, name, &Keys::generate());
    let data = own_secrets::read_or_made(client, (namespace, name, FLAG), make).await?;
    let named = format!("Secret {name} ({FLAG})");
    let seed = text(&data, &named, OPERATOR)?;
    let keys = Keys::from_seed(&seed)
        .map_err(|error| format!("{named} has a value for the key {OPERATOR} that is unfit: {}", chain(&error)))?;
    // Said and not refused: a single server needs no user, and servers of somebody else read none of them.
    for key in lacking(&data) {
        tracing::warn!(
            secret = name,
            key,
            "the Secret lacks a key without which the chart's NATS servers do not start"
        );
    }
    Ok((keys, authorities(&data, &named)?))
}

/// Keys that the chart's servers read and the Secret does not have.
pub fn lacking(data: &BTreeMap<String, ByteString>) -> Vec<&'static str> {
    let lacks = |key: &&str| data.get(*key).is_none_or(|value| value.0.is_empty());
    [SERVERS, USER, PASSWORD].into_iter().filter(lacks).collect()
}

/// The Secret of new keys.
pub fn secret(namespace: &str, name: &str, keys: &Keys) -> Secret {
    let data = [
        (OPERATOR, keys.seed()),
        (SERVERS, keys.server_configuration(ACCOUNTS)),
        (USER, ROUTES.to_owned()),
        (PASSWORD, random()),
    ];
    own_secrets::secret(namespace, name, "nats", data)
}
