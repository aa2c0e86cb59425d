//! The way from one operator process to the API server, on which things go wrong.
//!
//! The operator speaks plain HTTP to it, it speaks TLS to the API server as the cluster's administrator. Whoever writes through
//! it is known by it: each process has one of its own. Where it is asked to, writes other than those of the Lease pass one at a
//! time, so that the i-th of them is the same one however many controllers run.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as Turn, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    Call, Done, Fault, Rule,
    http::{Request, write_chunk, write_end, write_head},
    upstream::Upstream,
};

/// What an API server says to one whose version is too old to be continued.
const EXPIRED: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;

/// Whether events of watches pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watches {
    /// As they come.
    Open,
    /// They wait.
    Held,
    /// Those that waited are lost, and their watches begin anew: what happened meanwhile is not seen.
    Lost,
}

/// A running proxy; it ends with the value.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    upstream: Upstream,
    rules: Mutex<Vec<Rule>>,
    history: Mutex<Vec<Done>>,
    in_turn: bool,
    turn: Turn<()>,
    watches: watch::Sender<Watches>,
    crashed: watch::Sender<bool>,
}

impl Proxy {
    /// Begins to serve on a port of loopback. With `in_turn`, writes pass one at a time.
    pub async fn start(upstream: &Upstream, in_turn: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("open a port for the proxy")?;
        let port = listener.local_addr().context("ask for the proxy's port")?.port();
        let shared = Arc::new(Shared {
            upstream: upstream.clone(),
            rules: Mutex::default(),
            history: Mutex::default(),
            in_turn,
            turn: Turn::default(),
            watches: watch::Sender::new(Watches::Open),
            crashed: watch::Sender::new(false),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a rule; of those that meet a request the first counts.
    pub fn add(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Whether every rule has met a request.
    pub fn met(&self) -> bool {
        lock(&self.shared.rules).iter().all(Rule::has_met)
    }

    /// Everything passes again.
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Decides whether events of watches pass; outlives the proxy.
    pub fn gate(&self) -> watch::Sender<Watches> {
        self.shared.watches.clone()
    }

    /// Returns when a rule has made a crash.
    pub async fn crashed(&self) {
        let mut crashed = self.shared.crashed.subscribe();
        // The sender lives as long as this value.
        let _ = crashed.wait_for(|crashed| *crashed).await;
    }

    /// Nothing passes any more.
    pub fn cut(&self) {
        self.shared.crashed.send_replace(true);
    }

    /// What was asked until now, in the order of the answers.
    pub fn history(&self) -> Vec<Done> {
        lock(&self.shared.history).clone()
    }

    /// Writes that were done.
    pub fn writes(&self) -> Vec<Done> {
        lock(&self.shared.history).iter().filter(|done| done.call.is_write() && done.is_effective()).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(converse(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection: request after request until one of the two ends it.
async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Ok(Some(request)) = Request::read(&mut reader).await {
        let call = Call::of(&request.method, &request.target, &request.body);
        // What fails here is a connection that the peer has ended, and it knows.
        if !shared.pass(request, call, &mut reader, &mut writer).await.unwrap_or(false) {
            return;
        }
    }
}

impl Shared {
    /// Passes one request on, and its answer back; whether the connection goes on.
    async fn pass(
        &self,
        request: Request,
        call: Call,
        reader: &mut BufReader<OwnedReadHalf>,
        writer: &mut OwnedWriteHalf,
    ) -> Result<bool> {
        let at = Instant::now();
        let _turn = if self.in_turn && call.is_write() { Some(self.turn.lock().await) } else { None };
        if *self.crashed.borrow() {
            return Ok(false);
        }
        let fault = self.fault(&call, false);
        match fault {
            Some(Fault::Silence) => {
                gone(reader).await;
                self.note(call, at, None);
                return Ok(false);
            }
            Some(Fault::Refused(status)) => {
                self.note(call, at, None);
                let body = refusal(status);
                write_head(writer, status, &headers(), Some(body.len())).await?;
                tokio::io::AsyncWriteExt::write_all(writer, body.as_bytes()).await.context("write an answer")?;
                return Ok(true);
            }
            Some(Fault::Late(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        if call.verb == "watch" {
            self.note(call.clone(), at, None);
            return self.watch(request, reader, writer).await;
        }
        let answer = self.upstream.ask(&request).await;
        let Ok(answer) = answer else {
            self.note(call, at, None);
            return Ok(false);
        };
        let done = (200..300).contains(&answer.status);
        let fault = if done { self.fault(&call, true) } else { None };
        self.note(call, at, Some(answer.status));
        if matches!(fault, Some(Fault::Crash { .. })) {
            self.crashed.send_replace(true);
        }
        match fault {
            Some(Fault::Crash { answered: false } | Fault::Reset) => return Ok(false),
            Some(Fault::Mistaken(status)) => {
                let body = refusal(status);
                write_head(writer, status, &headers(), Some(body.len())).await?;
                tokio::io::AsyncWriteExt::write_all(writer, body.as_bytes()).await.context("write an answer")?;
                return Ok(true);
            }
            _ => {}
        }
        write_head(writer, answer.status, &answer.headers, Some(answer.body.len())).await?;
        tokio::io::AsyncWriteExt::write_all(writer, &answer.body).await.context("write an answer")?;
        Ok(!matches!(fault, Some(Fault::Crash { .. })))
    }

    async fn watch(
        &self,
        request: Request,
        reader: &mut BufReader<OwnedReadHalf>,
        writer: &mut OwnedWriteHalf,
    ) -> Result<bool> {
        let Ok(mut events) = self.upstream.begin(&request).await else { return Ok(false) };
        let mut state = self.watches.subscribe();
        let mut crashed = self.crashed.subscribe();
        write_head(writer, events.status, &events.headers, None).await?;
        loop {
            let chunk = tokio::select! {
                chunk = events.next() => chunk,
                () = gone(reader) => return Ok(false),
                _ = crashed.wait_for(|crashed| *crashed) => return Ok(false),
            };
            let Ok(Some(chunk)) = chunk else {
                write_end(writer).await?;
                return Ok(true);
            };
            if *state.borrow_and_update() == Watches::Held {
                let after = tokio::select! {
                    after = state.wait_for(|state| *state != Watches::Held) => after.map(|after| *after)?,
                    () = gone(reader) => return Ok(false),
                    _ = crashed.wait_for(|crashed| *crashed) => return Ok(false),
                };
                if after == Watches::Lost {
                    write_chunk(writer, format!("{EXPIRED}\n").as_bytes()).await?;
                    write_end(writer).await?;
                    return Ok(true);
                }
            }
            write_chunk(writer, &chunk).await?;
        }
    }

    fn fault(&self, call: &Call, after: bool) -> Option<Fault> {
        lock(&self.rules).iter_mut().find_map(|rule| rule.meets(call, after))
    }

    fn note(&self, call: Call, at: Instant, status: Option<u16>) {
        lock(&self.history).push(Done { call, at, ended: Instant::now(), status });
    }
}

/// Returns when the peer has ended the connection. A client that waits for an answer sends nothing.
async fn gone(reader: &mut BufReader<OwnedReadHalf>) {
    while reader.fill_buf().await.is_ok_and(|bytes| !bytes.is_empty()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn headers() -> Vec<(String, String)> {
    vec![("content-type".to_owned(), "application/json".to_owned()), ("retry-after".to_owned(), "1".to_owned())]
}

fn refusal(status: u16) -> String {
    let reason = match status {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"made by the proxy","reason":"{reason}","code":{status}}}"#
    )
}
