//! Trouble on the way between two parts: a proxy that resets, swallows or slows connections.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::ReadHalf, tcp::WriteHalf},
    task::JoinHandle,
};

/// What is read at once.
const CHUNK: usize = 16 << 10;
/// How often a connection that stands still looks whether it may go on.
pub const LOOK: Duration = Duration::from_millis(20);

/// What happens to connections, also to those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// They are reset.
    Reset,
    /// They stay open and nothing passes in either direction: the peer has vanished without a word.
    Swallow,
    /// One byte a second passes, in either direction.
    Trickle,
}

/// A proxy on a port of its own.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Begins to pass connections on to `target` (`host:port`).
    pub async fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the proxy")?;
        let address = listener.local_addr().context("listen for the proxy")?;
        let mode = Arc::new(Mutex::new(Mode::Pass));
        let (target, shared) = (target.to_owned(), Arc::clone(&mode));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(&target).await {
                    tokio::spawn(pass(client, server, Arc::clone(&shared)));
                }
            }
        });
        Ok(Self { address, mode, accepting })
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Mode::Reset);
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, mode: Arc<Mutex<Mode>>) {
    // Closing then means a reset, in the one case in which anything is left to be told.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
    // Borrowed halves: owned ones would say goodbye in an orderly way before that.
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::select! {
        // Until both sides have said everything, or one is gone.
        _ = async { tokio::try_join!(pump(from_client, to_server, &mode), pump(from_server, to_client, &mode)) } => {}
        () = reset(&mode) => {}
    }
}

async fn reset(mode: &Mutex<Mode>) {
    while now(mode) != Mode::Reset {
        tokio::time::sleep(LOOK).await;
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mode: &Mutex<Mode>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        while now(mode) == Mode::Swallow {
            tokio::time::sleep(LOOK).await;
        }
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let mut sent = 0;
        while sent < read {
            let part = match now(mode) {
                Mode::Swallow => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Mode::Trickle => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    1
                }
                Mode::Pass | Mode::Reset => read - sent,
            };
            to.write_all(&chunk[sent..sent + part]).await?;
            sent += part;
        }
    }
}

fn now(mode: &Mutex<Mode>) -> Mode {
    *mode.lock().unwrap_or_else(PoisonError::into_inner)
}
