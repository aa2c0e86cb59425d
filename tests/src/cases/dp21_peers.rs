//! DP-21: clients that vanish, reset, or speak a byte a second, over gRPC and HTTP.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::{Document, PIPELINE},
    load::Load,
    proxy::{Mode, Proxy},
};

/// How long a document may take to come.
const REQUEST_TIME: Duration = Duration::from_secs(3);
/// Longest time until the gateway has found out that a watcher is not there any more.
const FOUND_WITHIN: Duration = Duration::from_secs(30);

pub(super) const CASE: Case = Case {
    id: "DP-21",
    fault: "peers that reset, vanish without a word, or send a byte a second",
    scaled: "room for one watcher, so that one that is stuck shows",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let gateway = format!("limits: {{watchers: 1, requestTime: {}s}}", REQUEST_TIME.as_secs());
    let layout = Layout { gateway, worker_faults: "slow=endless:600000".to_owned(), ..world.layout() };
    let cluster = Cluster::start(layout).await?;
    let endless = Document::new("endless", 0);
    cluster.client().post(&endless.id, &endless.text).await.context("submit a document that does not end")?;
    let mut findings = Findings::default();
    slow_sender(&cluster, &mut findings).await?;
    broken_sender(&cluster, &mut findings).await?;
    for (what, mode, limit) in [
        ("a watcher resets", Mode::Reset, Duration::from_secs(5)),
        ("a watcher vanishes without a word", Mode::Swallow, FOUND_WITHIN),
    ] {
        let proxy = Proxy::start(&cluster.grpc).await?;
        let watcher = Watcher::open(&proxy.address.to_string(), &endless.id).await?;
        let held = !may_watch(&cluster, &endless.id).await?;
        findings.check(&format!("{what}: its place is taken before"), held, held);
        proxy.set(mode);
        let freed = Instant::now();
        while !may_watch(&cluster, &endless.id).await? && freed.elapsed() < limit * 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = freed.elapsed();
        let text = format!("{:.1} s (limit {} s)", took.as_secs_f64(), limit.as_secs());
        findings.check(&format!("{what}: its place is free after"), text, took <= limit);
        drop(watcher);
    }
    let documents = (0..50 * world.scale).map(|number| Document::new("document", number));
    let verdict = Load::start(cluster.client(), documents, 8, Duration::ZERO).settle(&cluster, DRAIN).await?;
    let well = verdict.ended.get("succeeded") == Some(&(50 * world.scale));
    findings.check("documents of others that ended right", verdict.accepted, well);
    Ok(findings)
}

/// A document that comes a byte a second is given up in time.
async fn slow_sender(cluster: &Cluster, findings: &mut Findings) -> Result<()> {
    let mut stream = TcpStream::connect(&cluster.http).await.context("connect to the gateway")?;
    let head = format!(
        "POST /v1/pipelines/{PIPELINE}/documents?id=slow HTTP/1.1\r\nhost: gateway\r\ncontent-length: 1000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.context("send the head of a request")?;
    let begun = Instant::now();
    let mut answer = [0; 12];
    loop {
        tokio::select! {
            read = stream.read_exact(&mut answer) => {
                read.context("read the answer to a slow request")?;
                break;
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                // The gateway may have closed its side by now.
                let _ = stream.write_all(b"x").await;
            }
        }
    }
    let took = begun.elapsed();
    let text = format!("{:.1} s, {}", took.as_secs_f64(), String::from_utf8_lossy(&answer));
    let in_time = took <= REQUEST_TIME + REQUEST_TIME / 10 + Duration::from_secs(1);
    findings.check("a byte a second: answered after", text, in_time && answer == *b"HTTP/1.1 408");
    Ok(())
}

/// A document whose sender resets half-way does not exist.
async fn broken_sender(cluster: &Cluster, findings: &mut Findings) -> Result<()> {
    let proxy = Proxy::start(&cluster.http).await?;
    let mut stream = TcpStream::connect(proxy.address).await.context("connect to the proxy")?;
    let head = format!(
        "POST /v1/pipelines/{PIPELINE}/documents?id=half HTTP/1.1\r\nhost: gateway\r\ncontent-length: 1000\r\n\r\nhalf"
    );
    stream.write_all(head.as_bytes()).await.context("send half a document")?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.set(Mode::Reset);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let there = cluster.client().get("half").await?.is_some();
    findings.check("half a document is there", there, !there);
    Ok(())
}

/// A gRPC call of `Watch` whose answer has begun.
struct Watcher {
    _http: reqwest::Client,
    _answer: reqwest::Response,
}

impl Watcher {
    async fn open(address: &str, document: &str) -> Result<Self> {
        let http = reqwest::Client::builder().http2_prior_knowledge().build().context("make an HTTP/2 client")?;
        let request = http
            .post(format!("http://{address}/docket.gateway.v1.Gateway/Watch"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(frame(document));
        let mut answer = request.send().await.context("watch over gRPC")?;
        let first = tokio::time::timeout(FOUND_WITHIN, answer.chunk()).await.context("wait for the first event")?;
        first.context("read the first event")?.context("the watch ended at once")?;
        Ok(Self { _http: http, _answer: answer })
    }
}

/// `DocumentRequest { pipeline, document }` in a gRPC frame; both names are shorter than 128 bytes.
fn frame(document: &str) -> Vec<u8> {
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, PIPELINE), (0x12, document)] {
        message.extend([tag, text.len() as u8]);
        message.extend(text.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

/// Whether there is room for a watcher; takes it for a moment.
async fn may_watch(cluster: &Cluster, document: &str) -> Result<bool> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().context("make an HTTP client")?;
    let answer = http.get(format!("{}/events", cluster.client().address(document))).send().await.context("watch")?;
    let free = answer.status() == StatusCode::OK;
    drop(answer);
    if free {
        // The place comes back when the gateway has noticed.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(free)
}
