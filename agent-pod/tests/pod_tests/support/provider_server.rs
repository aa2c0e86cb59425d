//! Somebody else's server with OpenAI's interface, on a free port of this machine: it answers as the test tells it to, in
//! bytes, so that it can also do what no library would let it. It ends with the test.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    /// Null where there is none.
    pub(crate) body: Value,
}

/// What goes back, piece by piece; then the connection is closed.
pub(crate) type Reply = Vec<Piece>;

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Wait(Duration),
}

/// A running server.
pub(crate) struct ProviderServer {
    scheme: &'static str,
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
}

impl ProviderServer {
    /// Starts one that answers the n-th request, from 0, with what `reply` says.
    pub(crate) fn start(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(reply, None)
    }

    /// The same behind TLS, with the certificate and the key of these files.
    pub(crate) fn start_tls(
        reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static,
        (certificate, key): (&Path, &Path),
    ) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).expect("a file").map(|one| one.expect("a certificate"));
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("they belong together");
        Self::listen(reply, Some(Arc::new(tls)))
    }

    fn listen(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static, tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, ends) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (all, over, reply) = (Arc::clone(&asked), Arc::clone(&ends), Arc::new(reply));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (all, reply, tls) = (Arc::clone(&all), Arc::clone(&reply), tls.clone());
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).expect("a connection");
                        let mut stream = StreamOwned::new(connection, stream);
                        answer(&mut stream, &all, &*reply);
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                        let _ = stream.sock.shutdown(Shutdown::Both);
                    }
                    None => {
                        answer(&stream, &all, &*reply);
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                });
            }
        });
        Self { scheme, port, asked, ends }
    }

    /// One that always writes this text.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::start(move |_, _| says(text))
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/v1", self.scheme, self.host())
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What came so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic while it is held").clone()
    }
}

impl Drop for ProviderServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn answer(mut stream: impl Read + Write, all: &Mutex<Vec<Asked>>, reply: &dyn Fn(usize, &Asked) -> Reply) {
    let Some(asked) = read(&mut stream) else { return };
    let n = {
        let mut all = all.lock().expect("no panic while it is held");
        all.push(asked.clone());
        all.len() - 1
    };
    for piece in reply(n, &asked) {
        match piece {
            // The client may have gone.
            Piece::Bytes(bytes) if stream.write_all(&bytes).is_err() => return,
            Piece::Bytes(_) => {}
            Piece::Wait(wait) => thread::sleep(wait),
        }
    }
}

fn read(stream: &mut impl Read) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).ok()? };
    Some(Asked { path, authorization, body })
}

/// A text, streamed word by word; ten tokens read, two written for each word.
pub(crate) fn says(text: &str) -> Reply {
    streams(text, "stop", true)
}

pub(crate) fn streams(text: &str, finish: &str, whole: bool) -> Reply {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let mut reply = vec![head(200, "text/event-stream", "")];
    for word in &words {
        reply.push(event(&json!({"choices": [{"index": 0, "delta": {"content": word}}]})));
    }
    if whole {
        reply.push(event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})));
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 2 * words.len()});
        reply.push(event(&json!({"choices": [], "usage": usage})));
        reply.push(Piece::Bytes(b"data: [DONE]\n\n".to_vec()));
    }
    reply
}

/// A status with a body of JSON.
pub(crate) fn status(status: u16, headers: &str, body: &Value) -> Reply {
    vec![head(status, "application/json", headers), Piece::Bytes(body.to_string().into_bytes())]
}

pub(crate) fn head(status: u16, kind: &str, headers: &str) -> Piece {
    let head = format!("HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\nconnection: close\r\n{headers}\r\n");
    Piece::Bytes(head.into_bytes())
}

pub(crate) fn event(value: &Value) -> Piece {
    Piece::Bytes(format!("data: {value}\n\n").into_bytes())
}

/// A vector of `dimensions` for each text, which points elsewhere for another text; the last one first.
pub(crate) fn vectors(asked: &Asked, dimensions: usize) -> Reply {
    let texts = asked.body["input"].as_array().expect("texts");
    let vector = |text: &Value| -> Vec<f64> {
        let text = text.as_str().expect("a text");
        (0..dimensions).map(|n| 1.0 + text.bytes().skip(n).step_by(dimensions).map(f64::from).sum::<f64>()).collect()
    };
    let data: Vec<Value> =
        (0..texts.len()).rev().map(|index| json!({"index": index, "embedding": vector(&texts[index])})).collect();
    status(200, "", &json!({"data": data, "usage": {"prompt_tokens": 7 * texts.len()}}))
}
