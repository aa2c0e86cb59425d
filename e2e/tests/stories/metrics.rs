//! Whose eyes metrics are for: whoever has the token that the operator has made, of a namespace's for its pods alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, HOME, Kind, present, run, with_namespace};
use kube::api::ListParams;

use crate::documents::letters;

/// Pods of Docket, but not the broker's.
const PROCESSES: &str = "app.kubernetes.io/name=docket,app.kubernetes.io/component in (operator,gateway,agents)";
const SECRET: &str = "docket-metrics";
const OPERATORS_SECRET: &str = "docket-operator-metrics";
/// A kubelet looks at Secrets that its pods mount once in a minute or two; the operator's first pod is there before its Secret.
const MOUNTED: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(20);

#[tokio::test]
#[ignore = "needs cluster"]
async fn metrics_are_read_with_the_token_of_the_namespace_and_probes_with_none() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        cluster.wait(Kind::Secret, SECRET, present()).await?;
        let own = token(&cluster.namespace, SECRET).await?;
        let operators = token(HOME, OPERATORS_SECRET).await?;
        ensure!(own != operators, "the operator's token is that of a namespace");
        let pods = pods(cluster, &cluster.namespace).await?;
        ensure!(pods.len() >= 2, "there should be an agent and a gateway, there are {pods:?}");
        for pod in &pods {
            pod.is_for(&own, &operators).await?;
        }
        let pods = self::pods(cluster, HOME).await?;
        ensure!(!pods.is_empty(), "the operator has no pods");
        for pod in &pods {
            pod.is_for(&operators, &own).await?;
        }
        cluster.delete(Kind::Pipeline, "letters").await?;
        cluster.delete(Kind::AgentPool, "clerks").await?;
        cluster.wait_gone(Kind::Secret, SECRET).await
    })
    .await
}

async fn token(namespace: &str, secret: &str) -> Result<String> {
    let template = "go-template={{.data.token | base64decode}}";
    let read = ["kubectl", "--namespace", namespace, "get", "secret", secret, "--output", template];
    let token = run(&read, "").await?.or_fail("read the token of metrics")?;
    ensure!(token.len() == 64, "the token of {namespace}/{secret} has {} characters", token.len());
    Ok(token)
}

async fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<Pod>> {
    let found = Kind::Pod.within(&cluster.client, namespace).list(&ListParams::default().labels(PROCESSES)).await;
    // One that leaves may have ended before it is asked.
    let stays =
        found.context("list the pods")?.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let with_address = stays.filter_map(|pod| {
        let address = format!("http://{}:9090", pod.data["status"]["podIP"].as_str()?);
        Some(Pod { name: pod.metadata.name.unwrap_or_default(), address })
    });
    Ok(with_address.collect())
}

#[derive(Debug)]
struct Pod {
    name: String,
    address: String,
}

impl Pod {
    /// Its metrics are for whoever has this token, and for nobody with another one.
    async fn is_for(&self, token: &str, other: &str) -> Result<()> {
        let (code, text) = self.answer("/metrics", token).await?;
        ensure!(code == 200, "{} answers {code} to its own token: {text}", self.name);
        ensure!(text.contains("process_cpu_seconds_total"), "{} has no metrics: {text}", self.name);
        for wrong in ["", other, &token[1..]] {
            let (code, text) = self.answer("/metrics", wrong).await?;
            ensure!(code == 401, "{} answers {code} to who has no token of its: {text}", self.name);
            ensure!(text.contains("Authorization: Bearer TOKEN"), "{} does not say what it wants: {text}", self.name);
        }
        for probe in ["/livez", "/readyz"] {
            let (code, text) = self.answer(probe, "").await?;
            ensure!(code == 200, "{}{probe}: {code} {text}", self.name);
        }
        Ok(())
    }

    /// The status and text of a page, for who has this token, or none. Who is away, or cannot tell yet, is asked again.
    async fn answer(&self, page: &str, token: &str) -> Result<(u16, String)> {
        let begun = Instant::now();
        loop {
            match self.ask(page, token).await {
                Ok((503, _)) | Err(_) if begun.elapsed() < MOUNTED => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }

    async fn ask(&self, page: &str, token: &str) -> Result<(u16, String)> {
        let http = reqwest::Client::builder().timeout(ANSWER).build().context("make an HTTP client")?;
        let mut asked = http.get(format!("{}{page}", self.address));
        if !token.is_empty() {
            asked = asked.bearer_auth(token);
        }
        let answer = asked.send().await.with_context(|| format!("reach {}{page}", self.name))?;
        Ok((answer.status().as_u16(), answer.text().await.context("read the page")?))
    }
}
