//! What the broker's servers say of themselves, asked on their monitoring ports, where they know no users: whatever credentials
//! an installation has, the answer is the same.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kube::api::ListParams;
use serde_json::Value;

use crate::{Cluster, HOME, Kind, PATIENCE};

/// Pods of the broker.
const SERVERS: &str = "app.kubernetes.io/name=docket,app.kubernetes.io/component=nats";
/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Who leads each stream: the name of a pod.
type Leaders = BTreeMap<String, String>;

impl Cluster {
    /// Who leads each stream of the namespace; one that nobody leads just now is left out. A server that has just begun answers
    /// before it has its streams, and knows of none.
    async fn leaders(&self) -> Result<Leaders> {
        let pods = Kind::Pod.within(&self.client, HOME).list(&ListParams::default().labels(SERVERS)).await;
        let mut problem = None;
        for pod in pods.context("list the broker's pods")? {
            let Some(address) = pod.data["status"]["podIP"].as_str() else { continue };
            // Each knows of all streams, as each holds a copy; one may be away.
            match streams(address).await {
                Ok(streams) => return Ok(leaders(&streams, &format!("docket-{}-", self.namespace))),
                Err(error) => problem = Some(error),
            }
        }
        Err(problem.context("the broker has no pods")?.context("ask the broker's servers who leads"))
    }

    /// Waits until somebody leads a stream of the namespace whose name begins so; which one, and who.
    pub async fn leader_of(&self, begins: &str) -> Result<(String, String)> {
        let begun = Instant::now();
        loop {
            let leaders = self.leaders().await;
            let led = leaders.as_ref().ok().and_then(|all| all.iter().find(|(stream, _)| stream.starts_with(begins)));
            match led {
                Some((stream, leader)) => return Ok((stream.clone(), leader.clone())),
                None if begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                None => bail!("nobody leads a stream whose name begins with {begins}: {leaders:?}"),
            }
        }
    }

    /// Waits for some time until a stream has another leader than this one; who it is.
    pub async fn other_leader(&self, stream: &str, before: &str, within: Duration) -> Result<Option<String>> {
        let begun = Instant::now();
        loop {
            let leaders = self.leaders().await;
            match leaders.as_ref().ok().and_then(|leaders| leaders.get(stream)) {
                Some(leader) if leader != before => return Ok(Some(leader.clone())),
                _ if begun.elapsed() < within => tokio::time::sleep(PAUSE).await,
                _ => return leaders.map(|_| None),
            }
        }
    }
}

async fn streams(address: &str) -> Result<Value> {
    let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("make an HTTP client")?;
    let url = format!("http://{address}:8222/jsz?accounts=true&streams=true");
    let answer = http.get(&url).send().await.with_context(|| format!("reach {url}"))?;
    answer.error_for_status().with_context(|| format!("ask {url}"))?.json().await.context("read the server's answer")
}

/// The leaders of streams whose names, or those of their buckets, begin with `prefix`.
fn leaders(answer: &Value, prefix: &str) -> Leaders {
    let accounts = answer["account_details"].as_array().into_iter().flatten();
    let streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
    let named = streams.filter_map(|stream| {
        let name = stream["name"].as_str()?;
        let is_ours = name.strip_prefix("KV_").unwrap_or(name).starts_with(prefix);
        let leader = stream["cluster"]["leader"].as_str().filter(|leader| is_ours && !leader.is_empty())?;
        Some((name.to_owned(), leader.to_owned()))
    });
    named.collect()
}
