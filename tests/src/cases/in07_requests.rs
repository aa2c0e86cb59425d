//! IN-07: requests that no client of good faith sends, to both of the gateway's addresses.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::{Document, PIPELINE},
    load::Load,
};

/// Most bytes of a document in this case.
const LARGEST: usize = 1 << 20;
/// Connections that send next to nothing, for as long as the case lasts.
const SLOW: usize = 50;
/// Frames of a flood.
const FLOOD: usize = 20_000;
/// Longest wait for what the gateway says.
const PATIENCE: Duration = Duration::from_secs(5);
/// Memory that the gateway may take beyond what it had before.
const MORE_MEMORY: u64 = 64 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// Kinds of frames of HTTP/2.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(super) const CASE: Case = Case {
    id: "IN-07",
    fault: "too large documents and headers, unknown methods, wrong UTF-8, deep protobuf, garbage, slow senders, HTTP/2 floods",
    scaled: "compact; the gateway's own tests hold the details",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let gateway = format!("limits: {{documentBytes: {LARGEST}}}");
    let mut cluster = Cluster::start(Layout { gateway, ..world.layout() }).await?;
    let before = (0..20).map(|number| Document::new("document", number));
    Load::start(cluster.client(), before, 8, Duration::ZERO).settle(&cluster, DRAIN).await?;
    let memory = cluster.gateway.memory();
    let (http, grpc) = (cluster.http.clone(), cluster.grpc.clone());
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(&http).await.context("connect to the gateway")?;
        stream.write_all(b"POST / HTTP/1.1\r\nhost:").await.context("send half a head")?;
        slow.push(stream);
    }
    let mut findings = Findings::default();
    for (what, request, expected) in http_requests() {
        let said = exchange(&http, &[&request]).await?;
        let line = said.lines().next().unwrap_or("closed").to_owned();
        findings.check(what, &line, expected.iter().any(|status| line.contains(status)));
    }
    for (what, call, expected) in grpc_calls() {
        let status = grpc_status(&grpc, &call).await?;
        let text = status.map_or("none".to_owned(), |status| status.to_string());
        findings.check(what, format!("grpc-status {text}"), status.is_some_and(|status| expected.contains(&status)));
    }
    for (what, flood) in floods() {
        let peak_before = cluster.gateway.memory();
        exchange(&grpc, &[PREFACE, &frame(SETTINGS, 0, 0, &[]), &flood]).await?;
        cluster.gateway.assert_running()?;
        let ready = cluster.client().ready().await;
        let more = cluster.gateway.memory().saturating_sub(peak_before);
        findings.check(what, format!("others are served: {ready}, {} KiB more", more >> 10), ready);
    }
    for address in [&http, &grpc] {
        exchange(address, &[&[0xa5; 4096]]).await?;
    }
    let documents = (0..100 * world.scale).map(|number| Document::new("document", number));
    let verdict = Load::start(cluster.client(), documents, 8, Duration::ZERO).settle(&cluster, DRAIN).await?;
    findings.verdict(&verdict);
    let more = cluster.gateway.memory().saturating_sub(memory);
    findings.check("more memory of the gateway", format!("{} KiB", more >> 10), more <= MORE_MEMORY);
    cluster.assert_running()?;
    drop(slow);
    Ok(findings)
}

/// Requests of HTTP/1 and what may come of them.
fn http_requests() -> [(&'static str, Vec<u8>, &'static [&'static str]); 6] {
    let post = |head: &str, body: &[u8]| {
        let head = format!("POST /v1/pipelines/{PIPELINE}/documents?id=odd HTTP/1.1\r\nhost: gateway\r\n{head}\r\n");
        [head.as_bytes(), body].concat()
    };
    let chunk =
        [format!("{:x}\r\n", LARGEST + 1).into_bytes(), vec![b'x'; LARGEST + 1], b"\r\n0\r\n\r\n".to_vec()].concat();
    [
        ("a document that announces too much", post(&format!("content-length: {}\r\n", LARGEST + 1), b""), &["413"]),
        ("a document that becomes too much", post("transfer-encoding: chunked\r\n", &chunk), &["413"]),
        ("a header of 1 MB", post(&format!("x-large: {}\r\n", "x".repeat(1 << 20)), b""), &["431", "closed"]),
        ("a length that is no number", post("content-length: many\r\n", b""), &["400"]),
        (
            "a path of wrong UTF-8",
            b"GET /v1/pipelines/%ff/documents HTTP/1.1\r\nhost: gateway\r\n\r\n".to_vec(),
            &["400", "404"],
        ),
        ("a method that does not exist", b"BREW / HTTP/1.1\r\nhost: gateway\r\n\r\n".to_vec(), &["405"]),
    ]
}

/// Calls of gRPC (method, message) and the status that may come of them.
fn grpc_calls() -> [(&'static str, (&'static str, Vec<u8>), &'static [u32]); 4] {
    [
        ("an unknown method", ("Nothing", Vec::new()), &[12]),
        ("a name of wrong UTF-8", ("Cancel", vec![0x0a, 2, 0xff, 0xfe]), &[3, 13]),
        ("protobuf of depth 10,000", ("Cancel", [vec![0x1b; 10_000], vec![0x1c; 10_000]].concat()), &[3, 13]),
        ("a message that ends too early", ("Cancel", vec![0x0a, 100, b'x']), &[3, 13]),
    ]
}

/// Floods of HTTP/2 frames, after the preface.
fn floods() -> [(&'static str, Vec<u8>); 3] {
    let opening = |stream: u32, flags: u8| frame(HEADERS, flags, stream, &head("Cancel"));
    let rapid_reset: Vec<u8> = (0..FLOOD as u32)
        .flat_map(|number| {
            [opening(1 + 2 * number, END_HEADERS), frame(RESET, 0, 1 + 2 * number, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let continuation =
        [opening(1, 0), (0..FLOOD).flat_map(|_| frame(CONTINUATION, 0, 1, &[0x00, 1, b'x', 1, b'y'])).collect()]
            .concat();
    let empty_data = [opening(1, END_HEADERS), (0..FLOOD).flat_map(|_| frame(DATA, 0, 1, &[])).collect()].concat();
    [("rapid resets", rapid_reset), ("endless headers", continuation), ("empty data", empty_data)]
}

/// Sends everything and reads until the other side is silent or closes.
async fn exchange(address: &str, parts: &[&[u8]]) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.context("connect to the gateway")?;
    let (mut from, mut to) = stream.split();
    let send = async {
        for part in parts {
            // The gateway may have closed the connection, and should.
            if to.write_all(part).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let read = async {
        let mut chunk = [0; 4096];
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(PATIENCE, from.read(&mut chunk)).await {
            said.extend_from_slice(&chunk[..read]);
            if said.starts_with(b"HTTP/1.1 ") && said.windows(4).any(|four| four == b"\r\n\r\n") {
                break;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = send => {}
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The status of a call, where one comes in the head of the answer: the way of calls that fail.
async fn grpc_status(address: &str, (method, message): &(&str, Vec<u8>)) -> Result<Option<u32>> {
    let http = reqwest::Client::builder().http2_prior_knowledge().timeout(PATIENCE).build().context("make a client")?;
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    let sent = http
        .post(format!("http://{address}/docket.gateway.v1.Gateway/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .send()
        .await;
    let status = sent.ok().and_then(|answer| answer.headers().get("grpc-status")?.to_str().ok()?.parse().ok());
    Ok(status)
}

/// The headers of a call, compressed (RFC 7541) without tables.
fn head(method: &str) -> Vec<u8> {
    let path = format!("/docket.gateway.v1.Gateway/{method}");
    let mut head = vec![0x83, 0x86, 0x04, path.len() as u8];
    head.extend(path.as_bytes());
    head.extend([0x01, 7]);
    head.extend(b"gateway");
    head.extend([0x0f, 0x10, 16]);
    head.extend(b"application/grpc");
    head
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags & (END_STREAM | END_HEADERS)];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
