//! A namespace's gateway as it is for who stands before it with any token.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;

use crate::PATIENCE;

/// Longest wait for one answer: a connection to a gateway that goes meanwhile may hang for two minutes.
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// What a token is shown to.
pub struct Door {
    http: reqwest::Client,
    address: String,
}

/// What a token is answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// What is said with it.
    pub text: String,
}

impl Door {
    /// The door of the gateway with this Service.
    pub fn of(service: &DynamicObject) -> Result<Self> {
        let address = service.data["spec"]["clusterIP"].as_str().context("the gateway has no address")?;
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("make an HTTP client")?;
        Ok(Self { http, address: format!("http://{address}:8080/v1/pipelines") })
    }

    /// What is said of a token, once something is: a gateway that is being replaced does not answer, and one that cannot ask the API
    /// server says that it does not know.
    pub async fn says(&self, token: &str) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            match self.ask(token).await {
                Ok(answer) if answer.code < 500 => return Ok(answer),
                answered => ensure!(begun.elapsed() < PATIENCE, "the gateway answers {answered:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until a token is answered so, and no longer than this.
    pub async fn answers(&self, token: &str, wanted: u16, within: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            // A gateway that is being replaced may not answer.
            let answered = self.ask(token).await.ok().map(|answer| answer.code);
            if answered == Some(wanted) {
                return Ok(());
            }
            ensure!(begun.elapsed() < within, "it is answered {answered:?} for {within:?}; {wanted} is expected");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, token: &str) -> Result<Answer> {
        let answer = self.http.get(&self.address).bearer_auth(token).send().await.context("ask the gateway")?;
        Ok(Answer { code: answer.status().as_u16(), text: answer.text().await.context("read its answer")? })
    }
}
