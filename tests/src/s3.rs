//! An S3 server, and trouble in front of it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    cluster::free_ports,
    process::{Process, Program},
};

/// The bucket of the payloads.
pub const BUCKET: &str = "payloads";
/// Longest wait for the server to answer.
const READY: Duration = Duration::from_secs(60);
/// Most bytes of the headers of a request.
const HEAD: usize = 64 << 10;

/// What the way to the server does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// One request in so many is answered with 503; 0: none.
    pub refused: u64,
    /// Every request takes so much longer.
    pub delay: Duration,
    /// Conditions (`If-None-Match`) do not reach the server: a store that ignores them.
    pub ignores_conditions: bool,
}

/// A SeaweedFS server with one bucket, behind a proxy.
pub struct S3 {
    _server: Process,
    accepting: JoinHandle<()>,
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    trouble: Mutex<Trouble>,
    requests: AtomicU64,
    refused: AtomicU64,
    conditions_dropped: AtomicU64,
}

impl S3 {
    /// Starts it and makes the bucket.
    pub async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let store = folder.join("s3");
        std::fs::create_dir_all(&store).context("make the S3 server's folder")?;
        let ports = free_ports(8)?;
        let mut arguments = vec!["server".to_owned(), format!("-dir={}", store.display())];
        arguments.extend(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-master.telemetry=false"].map(str::to_owned));
        arguments.extend(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64"].map(str::to_owned));
        let names =
            ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"];
        let names = names.into_iter().chain(["s3.port", "s3.port.grpc"]);
        arguments.extend(names.zip(&ports).map(|(name, port)| format!("-{name}={port}")));
        let mut server = Process::start(Program {
            name: "s3".to_owned(),
            path: program.to_path_buf(),
            arguments,
            environment: Vec::new(),
            memory: None,
            log: folder.join("s3.log"),
        })?;
        let target = format!("127.0.0.1:{}", ports[6]);
        make_bucket(&mut server, &target).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the S3 proxy")?;
        let address = listener.local_addr().context("listen for the S3 proxy")?.to_string();
        let shared = Arc::new(Shared::default());
        let of_proxy = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, shared) = (target.clone(), Arc::clone(&of_proxy));
                // A request that fails here fails for the client, which is what this is for.
                tokio::spawn(async move { serve(client, &target, &shared).await });
            }
        });
        Ok(Self { _server: server, accepting, address, shared })
    }

    /// From now on.
    pub fn set(&self, trouble: Trouble) {
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Requests that came, that were refused, and from which a condition was dropped.
    pub fn counts(&self) -> (u64, u64, u64) {
        let Shared { requests, refused, conditions_dropped, .. } = &*self.shared;
        let [requests, refused, dropped] = [requests, refused, conditions_dropped].map(|n| n.load(Ordering::Relaxed));
        (requests, refused, dropped)
    }

    /// What tells Docket where it is. The server asks for no credentials; the client wants some to sign with.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "any".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "any".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn make_bucket(server: &mut Process, target: &str) -> Result<()> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().context("make the HTTP client")?;
    let deadline = Instant::now() + READY;
    loop {
        let made = http.put(format!("http://{target}/{BUCKET}")).send().await;
        // It answers before it can store: only an object that was stored says that it can.
        let stored = http.put(format!("http://{target}/{BUCKET}/probe")).body("probe").send().await;
        if made.is_ok_and(|made| made.status().is_success()) && stored.is_ok_and(|stored| stored.status().is_success())
        {
            return Ok(());
        }
        server.assert_running()?;
        if Instant::now() >= deadline {
            bail!("the S3 server did not answer within {} s", READY.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One request a connection: read whole, passed on or refused, answered.
async fn serve(mut client: TcpStream, target: &str, shared: &Shared) -> Result<()> {
    let request = read_request(&mut client).await?;
    let number = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let trouble = *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::time::sleep(trouble.delay).await;
    if trouble.refused > 0 && number.is_multiple_of(trouble.refused) {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        let answer = b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        client.write_all(answer).await?;
        return Ok(());
    }
    let mut lines: Vec<&str> = request.head.split("\r\n").filter(|line| !header(line, "connection")).collect();
    if trouble.ignores_conditions {
        let before = lines.len();
        lines.retain(|line| !header(line, "if-none-match"));
        shared.conditions_dropped.fetch_add((before - lines.len()) as u64, Ordering::Relaxed);
    }
    let head = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n"));
    let mut server = TcpStream::connect(target).await?;
    server.write_all(head.as_bytes()).await?;
    server.write_all(&request.body).await?;
    tokio::io::copy(&mut server, &mut client).await?;
    client.shutdown().await?;
    Ok(())
}

struct Request {
    /// Without the empty line that ends it.
    head: String,
    body: Vec<u8>,
}

async fn read_request(client: &mut TcpStream) -> Result<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD || client.read_buf(&mut bytes).await? == 0 {
            bail!("no request came");
        }
    };
    let mut body = bytes.split_off(end + 4);
    bytes.truncate(end);
    let head = String::from_utf8(bytes).context("read a request")?;
    let length = head.split("\r\n").find(|line| header(line, "content-length"));
    let length = length.and_then(|line| line.split(':').nth(1)?.trim().parse().ok()).unwrap_or(0_usize);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            bail!("a request broke off");
        }
    }
    Ok(Request { head, body })
}

fn header(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
}
