//! Speaks to the gateway as any client would, and keeps apart what was refused and what is unclear.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{StatusCode, Url};
use serde_json::Value;

use crate::{
    checker::{Seen, Submitted},
    documents::PIPELINE,
};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Documents of one page of the list.
const PAGE: usize = 1_000;

/// A client of one gateway.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    documents: String,
    health: String,
}

impl Client {
    /// A client of the gateway at these addresses (`host:port`).
    pub fn new(gateway: &str, health: &str) -> Result<Self> {
        // Whoever installed a provider first is right too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("make the HTTP client")?;
        Ok(Self {
            http,
            documents: format!("http://{gateway}/v1/pipelines/{PIPELINE}/documents"),
            health: health.to_owned(),
        })
    }

    /// Whether the gateway takes documents now.
    pub async fn ready(&self) -> bool {
        self.is_ready(&self.health).await
    }

    /// Whether the process whose health is served there is ready.
    pub async fn is_ready(&self, health: &str) -> bool {
        let answer = self.http.get(format!("http://{health}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The sum of a metric of the process whose health is served there.
    pub async fn metric(&self, health: &str, name: &str) -> Result<f64> {
        let answer = self.http.get(format!("http://{health}/metrics")).send().await.context("ask for metrics")?;
        let text = answer.text().await.context("read metrics")?;
        let of_name = text.lines().filter(|line| line.starts_with(name));
        Ok(of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Submits a document once and gives the answer as it came.
    pub async fn post(&self, id: &str, text: &str) -> reqwest::Result<reqwest::Response> {
        self.http.post(format!("{}?id={id}", self.documents)).body(text.to_owned()).send().await
    }

    /// Submits a document once. A refusal for lack of room (429) or because nobody listens is told apart from an answer
    /// that never came.
    pub async fn submit(&self, id: &str, text: &str) -> Submitted {
        match self.post(id, text).await {
            Ok(answer) if answer.status().is_success() => Submitted::Accepted,
            // A failure inside may have come after the document was written down.
            Ok(answer) if answer.status().is_server_error() => Submitted::Unknown,
            Ok(_) => Submitted::Refused,
            Err(error) if error.is_connect() => Submitted::Refused,
            Err(_) => Submitted::Unknown,
        }
    }

    /// Works a dead letter again.
    pub async fn replay(&self, id: &str) -> Result<()> {
        let answer = self.http.post(format!("{}/{id}/replay", self.documents)).send().await.context("replay")?;
        answer.error_for_status().context("replay").map(drop)
    }

    /// The address of a document.
    pub fn address(&self, id: &str) -> String {
        format!("{}/{id}", self.documents)
    }

    /// What the gateway says of a document; none where it knows none.
    pub async fn get(&self, id: &str) -> Result<Option<Seen>> {
        let answer = self.http.get(format!("{}/{id}", self.documents)).send().await.context("ask for a document")?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let document: Value = answer.json().await.context("read a document")?;
                let stages = document["stages"].as_object().into_iter().flatten();
                Ok(Some(Seen {
                    outcome: document["outcome"].as_str().filter(|word| *word != "unfinished").map(str::to_owned),
                    reason: document["deadLetter"]["reason"].as_str().map(str::to_owned),
                    output: document["output"].clone(),
                    attempts: stages.filter_map(|(_, stage)| stage["attempts"].as_u64()).max().unwrap_or_default(),
                }))
            }
            status => bail!("the gateway answered {status}: {}", answer.text().await.unwrap_or_default()),
        }
    }

    /// The ids of all documents.
    pub async fn list(&self) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut url = Url::parse_with_params(&self.documents, [("limit", PAGE.to_string())])?;
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let answer = self.http.get(url).send().await.context("ask for the list")?;
            let page: Value = answer.error_for_status()?.json().await.context("read the list")?;
            let documents = page["documents"].as_array().context("the list holds no documents")?;
            ids.extend(documents.iter().filter_map(|document| document["document"].as_str().map(str::to_owned)));
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(ids),
            }
        }
    }
}
