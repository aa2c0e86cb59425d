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
const PAGE: usize = 500;

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
            health: format!("http://{health}"),
        })
    }

    /// Whether the gateway takes documents now.
    pub async fn ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.health)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Submits a document once. A refusal for lack of room (429) or because nobody listens is told apart from an answer
    /// that never came.
    pub async fn submit(&self, id: &str, text: &str) -> Submitted {
        let sent = self.http.post(format!("{}?id={id}", self.documents)).body(text.to_owned()).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => Submitted::Accepted,
            // A failure inside may have come after the document was written down.
            Ok(answer) if answer.status().is_server_error() => Submitted::Unknown,
            Ok(_) => Submitted::Refused,
            Err(error) if error.is_connect() => Submitted::Refused,
            Err(_) => Submitted::Unknown,
        }
    }

    /// What the gateway says of a document; none where it knows none.
    pub async fn get(&self, id: &str) -> Result<Option<Seen>> {
        let answer = self.http.get(format!("{}/{id}", self.documents)).send().await.context("ask for a document")?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let document: Value = answer.json().await.context("read a document")?;
                let outcome = document["outcome"].as_str().filter(|word| *word != "unfinished").map(str::to_owned);
                Ok(Some(Seen { outcome, output: document["output"].clone() }))
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
