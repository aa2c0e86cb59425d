//! The Secret with the keys of the broker: read, or made once where there is none. It is never written again: whoever has
//! other keys can reach no document of before.

use k8s_openapi::api::core::v1::Secret;
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
    Ok((keys, authorities(&data, &named)?))
}

/// The Secret of new keys.
pub fn secret(namespace: &str, name: &str, keys: &Keys) -> Secret {
    let data = [
        (OPERATOR, keys.seed()),
        (SERVERS, keys.server_configuration(ACCOUNTS)),
        ("user", ROUTES.to_owned()),
        ("password", random()),
    ];
    own_secrets::secret(namespace, name, "nats", data)
}
