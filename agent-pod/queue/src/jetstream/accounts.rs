//! Makes accounts known to the broker's servers, which pass them on to each other and keep them on their disks.

use bytes::Bytes;
use serde::Deserialize;

use super::{
    Settings,
    broker::Broker,
    failure::{Failure, Refusal},
    keys::{Account, Keys},
    settings::Credentials,
};
use crate::Result;

/// Where servers listen for tokens of accounts.
pub(super) const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";
/// Begins the subjects of their answers.
pub(super) const INBOX: &str = "_INBOX_pusher";

#[derive(Deserialize)]
struct Answer {
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    description: String,
}

/// Makes an account known to the servers of `settings`, whose credentials do not matter. To be repeated without harm.
///
/// Fails with [`crate::Error::Store`] where no server answers, or they do not trust these keys.
pub async fn push(settings: &Settings, keys: &Keys, account: &Account) -> Result<()> {
    let pusher = Settings {
        credentials: Some(Credentials::Creds(keys.pusher().creds)),
        inbox: Some(INBOX.to_owned()),
        ..settings.clone()
    };
    pushed(&pusher, account).await.map_err(|failure| failure.during("make an account known to the broker"))
}

async fn pushed(settings: &Settings, account: &Account) -> std::result::Result<(), Failure> {
    settings.check()?;
    let broker = Broker::connect(settings).await?;
    let answer = broker.request(UPDATE, Bytes::from(account.token.clone())).await?;
    let answer: Answer = serde_json::from_slice(&answer.payload).map_err(Failure::Answer)?;
    match answer.error {
        None => Ok(()),
        Some(refused) => Err(Failure::Refused(Refusal { err_code: refused.code, description: refused.description })),
    }
}
