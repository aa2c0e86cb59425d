//! IN-13: messages at the broker that Docket has not written.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Case, DRAIN, Findings, World};
use crate::{
    broker,
    cluster::Cluster,
    documents::{CHECKERS, Document, PIPELINE, READERS},
    load::Load,
};

/// Messages of each kind.
const EACH: usize = 20;
const DOCUMENTS: usize = 100;
const AT_ONCE: usize = 8;
/// As much as a server takes by default, less its headers.
const LARGE: usize = 1_000_000;
/// What a server refuses.
const TOO_LARGE: usize = 64 << 20;

pub(super) const CASE: Case = Case {
    id: "IN-13",
    fault: "foreign messages among tasks, timers and records: without headers, garbage, of a newer version, 1 MB, 64 MB",
    scaled: "20 of each kind",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let mut cluster = Cluster::start(world.layout()).await?;
    let memory = cluster.gateway.memory();
    let urls = cluster.broker.urls();
    let client = broker::connect(&urls.join(",")).await?;
    // Pools' streams are made with the first task.
    let first = (0..10).map(|number| Document::new("document", number));
    Load::start(cluster.client(), first, AT_ONCE, Duration::ZERO).settle(&cluster, DRAIN).await?;
    let mut sent = 0;
    for number in 0..EACH * world.scale {
        for (kind, body, headers) in foreign(number) {
            for subject in [
                format!("docket.tasks.{READERS}.normal.{kind}-{number}"),
                format!("docket.timers.{kind}{number}.due"),
                format!("$KV.docket-records-{PIPELINE}.documents.{PIPELINE}.foreign-{kind}-{number}"),
            ] {
                let published = client.publish_with_headers(subject, headers.clone(), body.clone().into()).await;
                published.context("publish a foreign message")?;
                sent += 1;
            }
        }
    }
    client.flush().await.context("publish foreign messages")?;
    let refused = too_large(&urls[0]).await?;
    // A gateway that starts among them reads all records.
    cluster.gateway.kill()?;
    cluster.gateway.restart()?;
    cluster.await_ready().await?;
    let documents = (0..DOCUMENTS * world.scale).map(|number| Document::new("document", number));
    let verdict = Load::start(cluster.client(), documents, AT_ONCE, Duration::ZERO).settle(&cluster, DRAIN).await?;
    let mut findings = Findings::default();
    findings.verdict(&verdict);
    findings.figure("foreign messages", sent);
    findings.check("64 MB refused by the broker", &refused, refused.contains("Maximum Payload"));
    let deadline = Instant::now() + DRAIN;
    let mut left = u64::MAX;
    while left > 0 && Instant::now() < deadline {
        left = cluster.broker.waiting(READERS).await? + cluster.broker.waiting(CHECKERS).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    findings.check("tasks left", left, left == 0);
    let more = cluster.gateway.memory().saturating_sub(memory);
    findings.check("more memory of the gateway", format!("{} KiB", more >> 10), more <= 64 << 20);
    cluster.assert_running()?;
    Ok(findings)
}

fn foreign(number: usize) -> Vec<(&'static str, Vec<u8>, HeaderMap)> {
    let mut ours = HeaderMap::new();
    ours.insert("Docket-Id", format!("foreign-{number}"));
    // Field 1 of every form is its version.
    let newer = vec![0x08, 99, 0x12, 0x03, b'n', b'e', b'w'];
    vec![
        ("bare", b"no header says what this is".to_vec(), HeaderMap::new()),
        ("garbage", vec![0xff; 64], ours.clone()),
        ("newer", newer, ours.clone()),
        ("large", vec![b'x'; if number == 0 { LARGE } else { 1_000 }], ours),
    ]
}

/// What the server says to a message of 64 MB.
async fn too_large(url: &str) -> Result<String> {
    let address = url.trim_start_matches("nats://");
    let mut stream = TcpStream::connect(address).await.context("connect to the broker")?;
    let greeting = format!("CONNECT {{\"verbose\":false}}\r\nPUB docket.tasks.{READERS}.normal.huge {TOO_LARGE}\r\n");
    stream.write_all(greeting.as_bytes()).await.context("announce 64 MB")?;
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await;
    Ok(String::from_utf8_lossy(&said).lines().find(|line| line.starts_with("-ERR")).unwrap_or_default().to_owned())
}
