//! What the broker's servers say of themselves, asked on their monitoring ports, where they know no users: whatever credentials
//! an installation has, the answer is the same.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kube::api::ListParams;
use serde_json::Value;

use crate::{Cluster, HOME, Kind};

/// Pods of the broker.
const SERVERS: &str = "app.kubernetes.io/name=docket,app.kubernetes.io/component=nats";
/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An election takes no longer: those that are left notice within ten seconds that one is gone.
const ELECTION: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Who leads each stream: the name of a pod.
pub type Leaders = BTreeMap<String, String>;

impl Cluster {
    /// Who leads each stream of the namespace; one that nobody leads just now is left out.
    pub async fn leaders(&self) -> Result<Leaders> {
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

    /// Waits for an election's time until a stream has another leader than this one; who it is.
    pub async fn other_leader(&self, stream: &str, before: &str) -> Result<Option<String>> {
        let begun = Instant::now();
        loop {
            let leaders = self.leaders().await;
            match leaders.as_ref().ok().and_then(|leaders| leaders.get(stream)) {
                Some(leader) if leader != before => return Ok(Some(leader.clone())),
                _ if begun.elapsed() < ELECTION => tokio::time::sleep(PAUSE).await,
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
