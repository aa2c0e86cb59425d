//! What must be there before an operator can work: its kinds, and the credentials for NATS. Waited for, and named meanwhile.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client};
use tokio::time::sleep;

use crate::{
    chain,
    config::{Config, Credentials},
    definitions,
    health::Health,
    metrics_token, nats_keys,
};

/// Docket's kinds, in `/readyz`.
pub const DEFINITIONS: &str = "definitions";
/// The Secrets for NATS, payloads and metrics, in `/readyz`.
pub const CREDENTIALS: &str = "credentials";
/// The Lease, in `/readyz`.
pub const LEASE: &str = "lease";

/// Key of a Secret with a `.creds` file for all.
pub const CREDS: &str = "nats.creds";

/// Between two looks. A person who installs what is missing does not wait long, an API server hardly notices.
const LOOK: Duration = Duration::from_secs(2);

/// Waits for everything, and completes the settings with what was found.
pub async fn wait(client: &Client, mut config: Config, health: &Health) -> Config {
    while let Err(missing) = look_for_definitions(client).await {
        health.missing(DEFINITIONS, missing);
        sleep(LOOK).await;
    }
    health.found(DEFINITIONS);
    if let Some(name) = config.nats_credentials_secret.clone() {
        let secrets = Api::namespaced(client.clone(), &config.namespace);
        config.nats_credentials = Some(loop {
            match credentials(&secrets, &name).await {
                Ok(credentials) => break credentials,
                Err(missing) => health.missing(CREDENTIALS, missing),
            }
            sleep(LOOK).await;
        });
    }
    if let Some(name) = config.nats_keys_secret.clone() {
        let keys = loop {
            match nats_keys::of(client, &config.namespace, &name).await {
                Ok(keys) => break keys,
                Err(missing) => health.missing(CREDENTIALS, missing),
            }
            sleep(LOOK).await;
        };
        config.nats_credentials = Some(Credentials::Keys(Box::new(keys)));
    }
    if let Some(name) = config.payloads_secret.clone() {
        let secrets = Api::namespaced(client.clone(), &config.namespace);
        config.payloads_keys = Some(loop {
            match read(&secrets, &name, "--payloads-secret", "").await {
                Ok(keys) => break keys,
                Err(missing) => health.missing(CREDENTIALS, missing),
            }
            sleep(LOOK).await;
        });
    }
    if let Some(name) = &config.metrics_secret {
        while let Err(missing) = metrics_token::make(client, &config.namespace, name).await {
            health.missing(CREDENTIALS, missing);
            sleep(LOOK).await;
        }
    }
    health.found(CREDENTIALS);
    let (namespace, lease) = (&config.namespace, &config.lease_name);
    health.missing(LEASE, format!("Lease {namespace}/{lease} was not read yet; if that lasts, the log says why"));
    config
}

async fn look_for_definitions(client: &Client) -> Result<(), String> {
    match definitions::missing(client).await {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => Err(format!(
            "CustomResourceDefinitions {} are not installed: install the chart docket-crds, or kubectl apply -f config/crd",
            missing.join(", ")
        )),
        Err(error) => Err(format!("failed to ask the API server for its kinds: {}", chain(&error))),
    }
}

async fn credentials(secrets: &Api<Secret>, name: &str) -> Result<Credentials, String> {
    let named = format!("Secret {name} (--nats-credentials-secret)");
    let how = " with the keys user and password, or nats.creds";
    let data = read(secrets, name, "--nats-credentials-secret", how).await?;
    if data.contains_key(CREDS) {
        return Ok(Credentials::Creds(text(&data, &named, CREDS)?));
    }
    Ok(Credentials::User { user: text(&data, &named, "user")?, password: text(&data, &named, "password")? })
}

async fn read(
    secrets: &Api<Secret>,
    name: &str,
    flag: &str,
    how: &str,
) -> Result<BTreeMap<String, ByteString>, String> {
    let found = secrets.get_opt(name).await;
    let found = found.map_err(|error| format!("failed to read Secret {name} ({flag}): {}", chain(&error)))?;
    let secret = found.ok_or_else(|| format!("Secret {name} ({flag}) is not there: create it{how}"))?;
    Ok(secret.data.unwrap_or_default())
}

pub(crate) fn text(data: &BTreeMap<String, ByteString>, secret: &str, key: &str) -> Result<String, String> {
    let bytes = data.get(key).filter(|value| !value.0.is_empty());
    let bytes = bytes.ok_or_else(|| format!("{secret} has no value for the key {key}: add it"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("{secret} has a value for the key {key} that is no text"))
}
