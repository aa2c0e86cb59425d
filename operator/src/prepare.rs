//! What must be there before an operator can work: its kinds, and the credentials for NATS. Waited for, and named meanwhile.
//! Credentials are read once in the life of a process, which ends when they have changed.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    chain,
    config::{Config, Credentials},
    definitions,
    health::Health,
    metrics_token, names, nats_keys,
};

/// Docket's kinds, in `/readyz`.
pub const DEFINITIONS: &str = "definitions";
/// The Secrets for NATS, payloads and metrics, in `/readyz`.
pub const CREDENTIALS: &str = "credentials";
/// The Lease, in `/readyz`.
pub const LEASE: &str = "lease";

/// What names the Secret for the store of payloads.
const PAYLOADS_FLAG: &str = "--payloads-secret";
/// Key of a Secret with a `.creds` file for all.
pub const CREDS: &str = "nats.creds";
/// Key of a Secret for NATS with the certificates of who vouches for its servers.
pub const CA: &str = "ca.crt";

/// Between two looks. A person who installs what is missing does not wait long, an API server hardly notices.
const LOOK: Duration = Duration::from_secs(2);
/// The same for credentials that were found and may change, which happens seldom.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Waits for everything, and completes the settings with what was found.
pub async fn wait(client: &Client, mut config: Config, health: &Health) -> Config {
    while let Err(missing) = look_for_definitions(client).await {
        health.missing(DEFINITIONS, missing);
        sleep(LOOK).await;
    }
    health.found(DEFINITIONS);
    if let Some(name) = config.nats_credentials_secret.clone() {
        let secrets = Api::namespaced(client.clone(), &config.namespace);
        let found = loop {
            match credentials(&secrets, &name).await {
                Ok(found) => break found,
                Err(missing) => health.missing(CREDENTIALS, missing),
            }
            sleep(LOOK).await;
        };
        config.nats_credentials = Some(found.credentials);
        config.nats_authorities = found.authorities;
        config.nats_credentials_digest = found.digest;
    }
    if let Some(name) = config.nats_keys_secret.clone() {
        let (keys, authorities) = loop {
            match nats_keys::of(client, &config.namespace, &name).await {
                Ok(found) => break found,
                Err(missing) => health.missing(CREDENTIALS, missing),
            }
            sleep(LOOK).await;
        };
        config.nats_credentials = Some(Credentials::Keys(Box::new(keys)));
        config.nats_authorities = authorities;
    }
    if let Some(name) = config.payloads_secret.clone() {
        let secrets = Api::namespaced(client.clone(), &config.namespace);
        let secret = loop {
            match read(&secrets, &name, PAYLOADS_FLAG, "").await {
                Ok(secret) => break secret,
                Err(missing) => health.missing(CREDENTIALS, missing),
            }
            sleep(LOOK).await;
        };
        config.payloads_keys_digest = digest_of(&secret);
        config.payloads_keys = Some(secret.data.unwrap_or_default());
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

/// Waits until a Secret that was read has other credentials, and gives its name. One that is away or unfit has none yet: whoever
/// changes it may not be done. Of the Secret with the keys of NATS counts who vouches for its servers, because other keys are another
/// broker.
pub async fn until_changed(client: &Client, config: &Config, every: Duration) -> String {
    let secrets = Api::namespaced(client.clone(), &config.namespace);
    loop {
        sleep(every).await;
        if let Some(name) = &config.nats_credentials_secret
            && let Ok(found) = credentials(&secrets, name).await
            && found.digest != config.nats_credentials_digest
        {
            return name.clone();
        }
        if let Some(name) = &config.nats_keys_secret
            && let Ok(secret) = read(&secrets, name, "--nats-keys-secret", "").await
            && let Ok(found) = authorities(&secret.data.unwrap_or_default(), name)
            && found != config.nats_authorities
        {
            return name.clone();
        }
        if let Some(name) = &config.payloads_secret
            && let Ok(secret) = read(&secrets, name, PAYLOADS_FLAG, "").await
            && digest_of(&secret) != config.payloads_keys_digest
        {
            return name.clone();
        }
    }
}

/// What differs where a Secret's content does, and may stand in annotations of pods: a password is not found by trying, because only
/// those who may read the Secret know its uid, which is random.
pub fn digest_of(secret: &Secret) -> Option<String> {
    let uid = secret.metadata.uid.as_ref()?;
    Some(names::digest(json!([uid, secret.data]).to_string().as_bytes()))
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

/// What a Secret says of NATS.
struct Found {
    credentials: Credentials,
    authorities: Option<String>,
    /// Which content it is.
    digest: Option<String>,
}

/// The credentials in a Secret.
async fn credentials(secrets: &Api<Secret>, name: &str) -> Result<Found, String> {
    let named = format!("Secret {name} (--nats-credentials-secret)");
    let how = " with the keys user and password, or nats.creds";
    let secret = read(secrets, name, "--nats-credentials-secret", how).await?;
    let digest = digest_of(&secret);
    let data = secret.data.unwrap_or_default();
    let authorities = authorities(&data, &named)?;
    if data.contains_key(CREDS) {
        return Ok(Found { credentials: Credentials::Creds(text(&data, &named, CREDS)?), authorities, digest });
    }
    let (user, password) = (text(&data, &named, "user")?, text(&data, &named, "password")?);
    Ok(Found { credentials: Credentials::User { user, password }, authorities, digest })
}

/// Who vouches for the servers of NATS, where a Secret says so.
pub(crate) fn authorities(data: &BTreeMap<String, ByteString>, secret: &str) -> Result<Option<String>, String> {
    data.contains_key(CA).then(|| text(data, secret, CA)).transpose()
}

async fn read(secrets: &Api<Secret>, name: &str, flag: &str, how: &str) -> Result<Secret, String> {
    let found = secrets.get_opt(name).await;
    let found = found.map_err(|error| format!("failed to read Secret {name} ({flag}): {}", chain(&error)))?;
    found.ok_or_else(|| format!("Secret {name} ({flag}) is not there: create it{how}"))
}

pub(crate) fn text(data: &BTreeMap<String, ByteString>, secret: &str, key: &str) -> Result<String, String> {
    let bytes = data.get(key).filter(|value| !value.0.is_empty());
    let bytes = bytes.ok_or_else(|| format!("{secret} has no value for the key {key}: add it"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("{secret} has a value for the key {key} that is no text"))
}
