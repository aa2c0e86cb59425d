//! Secrets of the operator's own namespace that it makes where there are none, once: what is there counts, whoever made it.
//!
//! Any process of the operator may make them, also one that does not lead: the API server lets one of them do it.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};

use crate::{chain, names::FIELD_MANAGER};

/// The data of a Secret, which is made where there is none; or why it cannot be had yet. `flag` is what names it.
pub async fn read_or_made(
    client: &Client,
    (namespace, name, flag): (&str, &str, &str),
    make: impl FnOnce() -> Secret,
) -> Result<BTreeMap<String, ByteString>, String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed =
        |action: &str, error: &kube::Error| format!("failed to {action} Secret {name} ({flag}): {}", chain(error));
    let found = secrets.get_opt(name).await.map_err(|error| failed("read", &error))?;
    if let Some(secret) = found {
        return Ok(secret.data.unwrap_or_default());
    }
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match secrets.create(&params, &make()).await {
        // Another process was quicker: what it made counts.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Err(format!("Secret {name} ({flag}) was made by another process just now and is read next"))
        }
        made => Ok(made.map_err(|error| failed("make", &error))?.data.unwrap_or_default()),
    }
}

/// A Secret with these texts.
pub fn secret<const N: usize>(namespace: &str, name: &str, component: &str, data: [(&str, String); N]) -> Secret {
    let labels = [
        ("app.kubernetes.io/name", "docket"),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).into()),
        ..Secret::default()
    }
}
