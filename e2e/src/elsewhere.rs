//! What is outside the cluster, stood for by servers at addresses that the node is given, and what they were asked. This needs
//! to run in the cluster's network, as root.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::command::run;

/// Longest time that a client may take to ask: the machine may stand still.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

/// A server that answers every request with two letters, or sends it on.
pub struct Elsewhere {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Elsewhere {
    /// Listens at an address until the process ends. Stories of one process share what listens at one address.
    pub async fn at(address: SocketAddrV4) -> Result<Self> {
        Self::answering(address, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_owned()).await
    }

    /// As [`Self::at`]; it redirects every request.
    pub async fn redirecting(address: SocketAddrV4, to: &str) -> Result<Self> {
        let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\n");
        Self::answering(address, format!("{head}content-length: 0\r\nconnection: close\r\n\r\n")).await
    }

    async fn answering(address: SocketAddrV4, answer: String) -> Result<Self> {
        give_node(*address.ip()).await?;
        let listener = TcpListener::bind(address).with_context(|| format!("listen at {address}"))?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (heard, answer) = (Arc::clone(&asked), Arc::<str>::from(answer));
        // A thread, because a story's runtime ends with the story, and one for each client: some connect and ask nothing.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                std::thread::spawn(move || serve(client, &answer, &heard));
            }
        });
        Ok(Self { asked })
    }

    /// The first lines of all requests so far; whoever only connects has asked nothing.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Gives the node an address, at which pods reach what listens there.
pub(crate) async fn give_node(address: Ipv4Addr) -> Result<()> {
    let network = format!("{address}/32");
    run(&["ip", "address", "replace", &network, "dev", "lo"], "").await?.or_fail("give the node an address").map(drop)
}

/// Notes the first line of a request, and answers it.
fn serve(mut client: TcpStream, answer: &str, heard: &Mutex<Vec<String>>) {
    let mut request = [0; 1024];
    let read = client.set_read_timeout(Some(ASKED_WITHIN)).and_then(|()| client.read(&mut request));
    let Some(read) = read.ok().filter(|read| *read > 0) else { return };
    let line = String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned();
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    // Whoever does not want to hear the answer has asked nevertheless.
    let _ = client.write_all(answer.as_bytes());
}
