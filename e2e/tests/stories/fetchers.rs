//! Addresses that the author of a pool writes lead its agents to nothing that its author may not reach, where no policy of the
//! network holds either.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};
use e2e::{Elsewhere, Kind, condition, condition_saying, with_namespace};
use serde_json::{Value, json};

use crate::alone::network::metadata_service;

/// A server in the internet that sends whoever asks on to the metadata service.
const REDIRECTS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 8), 80);
/// What nobody else asks the metadata service for.
const SECRET: &str = "latest/meta-data/fetchers";

#[tokio::test]
#[ignore = "needs cluster"]
async fn agents_call_neither_metadata_services_nor_the_clusters_own_servers() -> Result<()> {
    let metadata = metadata_service().await?;
    let redirects = Elsewhere::redirecting(REDIRECTS, &format!("http://169.254.169.254/{SECRET}/redirected")).await?;
    with_namespace(async |cluster| {
        let link_local = "a link-local address";
        let cases = [
            ("metadata", fetched(&format!("http://169.254.169.254/{SECRET}")), link_local),
            ("number", fetched(&format!("http://2852039166/{SECRET}")), link_local),
            ("mapped", fetched(&format!("http://[::ffff:169.254.169.254]/{SECRET}")), link_local),
            ("redirected", fetched("http://203.0.113.8/model"), link_local),
            ("asked", provider(&format!("http://169.254.169.254/{SECRET}")), link_local),
            ("itself", provider("http://127.0.0.1:9090/v1"), "a loopback address"),
            ("api", provider("https://kubernetes.default.svc/v1"), "the API server's address"),
            ("monitor", provider("http://docket-nats.docket-system.svc:8222/v1"), "own servers"),
        ];
        for (name, model, _) in &cases {
            cluster.apply(&pool(name, model)).await?;
        }
        for (name, _, said) in &cases {
            cluster.wait(Kind::AgentPool, name, condition_saying("ModelsLoaded", "False", said)).await?;
        }
        ensure!(!redirects.asked().is_empty(), "nobody has asked the server that redirects");
        let asked: Vec<String> = metadata.asked().into_iter().filter(|line| line.contains(SECRET)).collect();
        ensure!(asked.is_empty(), "the metadata service was asked: {asked:?}");
        // What may be called is called by the same agents.
        let mended = json!({"spec": {"models": [provider("http://203.0.113.9/v1")]}});
        cluster.patch(Kind::AgentPool, "api", mended).await?;
        cluster.wait(Kind::AgentPool, "api", condition("Ready", "True")).await.map(drop)
    })
    .await
}

fn fetched(url: &str) -> Value {
    json!({"name": "m", "task": "Embed", "source": {"http": {"url": url, "sha256": "0".repeat(64)}}})
}

fn provider(url: &str) -> Value {
    json!({"name": "m", "task": "Generate", "source": {"openai": {"baseUrl": url, "model": "m"}}})
}

fn pool(name: &str, model: &Value) -> Value {
    json!({
        "apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "models": [model],
            "networkPolicy": {"enabled": false},
            "template": {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
        },
    })
}
