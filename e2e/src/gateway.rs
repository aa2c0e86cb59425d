//! A client of a namespace's gateway, as any program in the cluster would be.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};

/// Longest wait for one answer; waits for a document's end ask for less.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Seconds for which one request waits for a document's end.
const WAIT_SECONDS: &str = "10";
/// Longest time in which documents end or a gateway comes back.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same of an erasure, which waits half a minute for agents that are away.
const ERASED_WITHIN: Duration = Duration::from_secs(120);
/// Pause between two tries to reach a gateway that is away.
const PAUSE: Duration = Duration::from_millis(200);
/// Documents that are submitted, or waited for, at once.
const AT_ONCE: usize = 16;
/// Documents of one page of the list.
const PAGE: &str = "1000";

/// A gateway.
#[derive(Clone)]
pub struct Gateway {
    http: reqwest::Client,
    base: Url,
    token: String,
}

/// How a document ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// succeeded, partial, dead-lettered or cancelled.
    pub outcome: String,
    /// What its last stage made.
    pub output: Value,
    /// The digest of the plan that it was worked by.
    pub plan: String,
}

impl Gateway {
    /// The gateway that serves HTTP at this host and port, and knows us by this bearer token.
    pub fn at(address: &str, token: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("make an HTTP client")?;
        let base = Url::parse(&format!("http://{address}/")).context("read the gateway's address")?;
        Ok(Self { http, base, token: token.to_owned() })
    }

    /// Submits a document and comes back when it is accepted. Asks again where the gateway is full or away: the id makes
    /// that safe.
    pub async fn submit(&self, pipeline: &str, id: &str, text: &str) -> Result<()> {
        let path = ["v1", "pipelines", pipeline, "documents"];
        self.ask(|| self.request(Method::POST, &path, &[("id", id)]).body(text.to_owned())).await.map(drop)
    }

    /// Submits documents, several at once.
    pub async fn submit_all(&self, pipeline: &str, documents: &BTreeMap<String, String>) -> Result<()> {
        stream::iter(documents)
            .map(|(id, text)| self.submit(pipeline, id, text))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await
    }

    /// Waits until a document has ended.
    pub async fn end_of(&self, pipeline: &str, id: &str) -> Result<Ended> {
        let begun = Instant::now();
        loop {
            let path = ["v1", "pipelines", pipeline, "documents", id];
            let document = self.ask(|| self.request(Method::GET, &path, &[("wait", WAIT_SECONDS)])).await?;
            let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
            if !matches!(text("outcome").as_str(), "unfinished" | "") {
                return Ok(Ended { outcome: text("outcome"), output: document["output"].clone(), plan: text("plan") });
            }
            ensure!(begun.elapsed() < PATIENCE, "document \"{id}\" has not ended: {document:#}");
        }
    }

    /// How each of the documents ended.
    pub async fn ends_of(&self, pipeline: &str, ids: impl Iterator<Item = &String>) -> Result<BTreeMap<String, Ended>> {
        stream::iter(ids)
            .map(|id| async move { Ok((id.clone(), self.end_of(pipeline, id).await?)) })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// The ids of all documents of a pipeline, as often as the gateway names them.
    pub async fn list(&self, pipeline: &str) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE)];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let path = ["v1", "pipelines", pipeline, "documents"];
            let page = self.ask(|| self.request(Method::GET, &path, &query)).await?;
            let documents = page["documents"].as_array().context("the list holds no documents")?;
            ids.extend(documents.iter().filter_map(|document| document["document"].as_str().map(str::to_owned)));
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(ids),
            }
        }
    }

    /// Answers for a document that waits for a person.
    pub async fn approve(&self, pipeline: &str, id: &str) -> Result<()> {
        let path = ["v1", "pipelines", pipeline, "documents", id, "approval"];
        self.ask(|| self.request(Method::POST, &path, &[]).json(&json!({"approve": true}))).await.map(drop)
    }

    /// Waits until so many documents of a pipeline wait for a person.
    pub async fn awaiting(&self, pipeline: &str, number: usize) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer =
                self.ask(|| self.request(Method::GET, &["v1", "pipelines", pipeline, "approvals"], &[])).await?;
            let waiting = answer["approvals"].as_array().map_or(0, Vec::len);
            if waiting == number {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "{waiting} documents wait for a person, {number} should");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until an attempt at a stage of a document has failed for this reason.
    pub async fn fails_at(&self, pipeline: &str, id: &str, stage: &str, reason: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let path = ["v1", "pipelines", pipeline, "documents", id];
            let document = self.ask(|| self.request(Method::GET, &path, &[])).await?;
            if document["stages"][stage]["error"]["reason"] == reason {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "document \"{id}\" has not failed for {reason}: {document:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Erases all documents of a tenant; what the gateway says of it. It is asked again only where it has not begun: a second
    /// erasure would count only what the first one has left.
    pub async fn erase_tenant(&self, tenant: &str) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let request = self.request(Method::DELETE, &["v1", "tenants", tenant], &[("erase", "true")]);
            match request.timeout(ERASED_WITHIN).send().await {
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE && begun.elapsed() < PATIENCE => {}
                Err(error) if error.is_connect() && begun.elapsed() < PATIENCE => {}
                answer => {
                    let answer = answer.context("reach the gateway")?;
                    let answer = answer.error_for_status().context("erase a tenant's documents")?;
                    return answer.json().await.context("read the report of an erasure");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the gateway serves a pipeline, or does not any more.
    pub async fn serves(&self, pipeline: &str, wanted: bool) -> Result<()> {
        self.until_pipelines(|pipelines| pipelines.iter().any(|served| served["name"] == pipeline) == wanted).await
    }

    /// Waits until the gateway holds a pipeline's documents back.
    pub async fn suspends(&self, pipeline: &str) -> Result<()> {
        let holds_back = |served: &Value| served["name"] == pipeline && served["suspended"] == true;
        self.until_pipelines(|pipelines| pipelines.iter().any(holds_back)).await
    }

    async fn until_pipelines(&self, wanted: impl Fn(&[Value]) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.ask(|| self.request(Method::GET, &["v1", "pipelines"], &[])).await?;
            let pipelines = answer["pipelines"].as_array().context("the gateway names no pipelines")?;
            if wanted(pipelines) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "the gateway serves {pipelines:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url).bearer_auth(&self.token)
    }

    /// Asks until there is an answer. A gateway that is full, away or starting is asked again; a refusal is an error. A
    /// pipeline that it does not know yet counts as starting.
    async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let problem = match request().send().await {
                Ok(answer) if answer.status().is_success() => match answer.json().await {
                    Ok(value) => return Ok(value),
                    Err(error) => error.to_string(),
                },
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    let passes = status.is_server_error()
                        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::NOT_FOUND);
                    if !passes {
                        bail!("the gateway refused it ({status}): {text}");
                    }
                    format!("{status}: {text}")
                }
                Err(error) => format!("{error:?}"),
            };
            ensure!(begun.elapsed() < PATIENCE, "the gateway does not answer: {problem}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
