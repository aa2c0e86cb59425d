//! Listening with bounds: connections, streams on each, headers, and time for headers to come.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};

use crate::{Error, Result, runtime::stop::Stop};

/// How often a silent HTTP/2 connection is asked whether it is there, and how long it may take to answer: together less
/// than the half minute after which a peer that vanished may hold nothing any more.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));
/// Streams that a client may reset before they were taken: more is an attack (rapid reset).
const PENDING_RESETS: usize = 32;
/// Pause after the machine refused a connection, for want of file descriptors as a rule.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// What connections may hold.
pub(super) struct Bounds {
    pub(super) connections: u32,
    pub(super) streams: u32,
    pub(super) header_bytes: u32,
}

impl Bounds {
    /// Few clients with small requests.
    pub(super) fn of(connections: u32) -> Self {
        Self { connections, streams: 16, header_bytes: 16 << 10 }
    }
}

/// Opens an address; `what` names it in messages.
pub(super) async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).await.map_err(Error::system(format!("listen on {address} for {what}")))?;
    let local = listener.local_addr().unwrap_or(address);
    // The one line that says where, for those who gave port 0 and for the log.
    crate::commands::note(&format!("{what} listens on {local}"));
    Ok(listener)
}

/// Serves HTTP/1 and HTTP/2 until `stop` is cordoned, then finishes the requests that are being answered.
///
/// The server waits 30 s for the headers of an HTTP/1 request and no longer, so slow senders hold no connection.
pub(super) async fn serve(listener: TcpListener, routes: impl Into<Routes>, bounds: &Bounds, stop: Stop) -> Result<()> {
    let served = Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(bounds.streams)
        .http2_max_header_list_size(bounds.header_bytes)
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .serve_with_incoming_shutdown(routes.into().prepare(), connections(listener, bounds.connections), async move {
            stop.cordoned().await
        })
        .await;
    served.map_err(Error::system("serve requests"))
}

/// Connections as they come, never more than `most` at once: further ones wait in the machine's own queue.
fn connections(listener: TcpListener, most: u32) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(most as usize));
    stream::unfold((listener, places), async |(listener, places)| {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let accepted = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was refused");
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
            }
        };
        // Small answers must not wait for a full packet; where it cannot be set they only come later.
        let _ = accepted.set_nodelay(true);
        Some((Ok(Connection { stream: accepted, _place: place }), (listener, places)))
    })
}

/// A connection that keeps its place until it is closed.
struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = <TcpStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
