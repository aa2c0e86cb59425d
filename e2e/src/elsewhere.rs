//! What is outside the cluster, stood for by servers at addresses that the node is given, and what they were asked. This needs
//! to run in the cluster's network, as root.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddrV4, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::command::run;

/// Longest time that a client may take to ask.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// A server that answers every request with two letters.
pub struct Elsewhere {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Elsewhere {
    /// Listens at an address until the process ends. Stories of one process share what listens at one address.
    pub async fn at(address: SocketAddrV4) -> Result<Self> {
        let network = format!("{}/32", address.ip());
        run(&["ip", "address", "replace", &network, "dev", "lo"], "").await?.or_fail("give the node an address")?;
        let listener = TcpListener::bind(address).with_context(|| format!("listen at {address}"))?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        // A thread, because a story's runtime ends with the story.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Some(line) = answer(client) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            }
        });
        Ok(Self { asked })
    }

    /// The first lines of all requests so far; whoever only connects has asked nothing.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers a request, and says what its first line is.
fn answer(mut client: TcpStream) -> Option<String> {
    client.set_read_timeout(Some(ASKED_WITHIN)).ok()?;
    let mut request = [0; 1024];
    let read = client.read(&mut request).ok().filter(|read| *read > 0)?;
    // Whoever does not want to hear the answer has asked nevertheless.
    let _ = client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    Some(String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned())
}
