//! The Secret with the keys of the broker: read, or made once where there is none. It is never written again: whoever has
//! other keys can reach no document of before.
//!
//! Any process of the operator may make it, also one that does not lead: the API server lets one of them do it, and a leader
//! needs it to begin.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use queue::jetstream::Keys;

use crate::{
    chain,
    names::{FIELD_MANAGER, random},
    prepare::text,
};

/// Key of the operator's seed, the secret of all.
pub const OPERATOR: &str = "operator.nk";
/// Key of what the servers' configuration includes.
pub const SERVERS: &str = "auth.conf";
/// Where the chart's servers keep accounts: on the volume that their streams are on.
const ACCOUNTS: &str = "/data/accounts";
/// The user that servers are to each other.
const ROUTES: &str = "docket-routes";

/// The keys, or why there are none yet.
pub async fn of(client: &Client, namespace: &str, name: &str) -> Result<Keys, String> {
    let named = format!("Secret {name} (--nats-keys-secret)");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |action: &str, error: &kube::Error| format!("failed to {action} {named}: {}", chain(error));
    let found = secrets.get_opt(name).await.map_err(|error| failed("read", &error))?;
    let data = match found {
        Some(secret) => secret.data.unwrap_or_default(),
        None => {
            let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            match secrets.create(&params, &secret(namespace, name, &Keys::generate())).await {
                // Another process was quicker: what it made counts.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    return Err(format!("{named} was made by another process just now and is read next"));
                }
                made => made.map_err(|error| failed("make", &error))?.data.unwrap_or_default(),
            }
        }
    };
    let seed = text(&data, &named, OPERATOR)?;
    Keys::from_seed(&seed)
        .map_err(|error| format!("{named} has a value for the key {OPERATOR} that is unfit: {}", chain(&error)))
}

/// The Secret of new keys.
pub fn secret(namespace: &str, name: &str, keys: &Keys) -> Secret {
    let labels = [
        ("app.kubernetes.io/name", "docket"),
        ("app.kubernetes.io/component", "nats"),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ];
    let data = [
        (OPERATOR, keys.seed()),
        (SERVERS, keys.server_configuration(ACCOUNTS)),
        ("user", ROUTES.to_owned()),
        ("password", random()),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        data: Some(
            data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        ),
        ..Secret::default()
    }
}
