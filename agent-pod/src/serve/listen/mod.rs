//! Listening with bounds: connections, handshakes, streams on each, headers, and time for all of them.

mod connection;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Version, header},
    middleware::{self, Next},
    response::Response,
};
use futures::{Stream, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tonic::{service::Routes, transport::Server};

use self::connection::Connection;
pub(super) use self::tls::{Protocols, Tls};
use crate::{Error, Result, runtime::stop::Stop};

/// How often a silent HTTP/2 connection is asked whether it is there, and how long it may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));
/// Streams that a client may reset before they were taken: more is an attack (rapid reset).
const PENDING_RESETS: usize = 32;
/// Age at which a connection is asked to end after its requests: a client that only keeps one open, or that has an old
/// certificate, holds it no longer.
const OLDEST: Duration = Duration::from_secs(30 * 60);
/// The same of a process that is leaving: long enough to be told so. Those of HTTP/1 end with their answer.
const BRIEF: Duration = Duration::from_secs(1);
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

/// Serves HTTP/1 and HTTP/2 until `stop` is cordoned, then finishes the requests that are being answered. From when it leaves on
/// connections end with what is asked on them, so that who comes again comes to another process.
///
/// The server waits 30 s for the headers of an HTTP/1 request and no longer, so slow senders hold no connection.
pub(super) async fn serve(
    listener: TcpListener,
    routes: impl Into<Routes>,
    (bounds, tls): (&Bounds, Option<Acceptor>),
    stop: Stop,
) -> Result<()> {
    let routes = routes.into().into_axum_router().layer(middleware::from_fn_with_state(stop.clone(), end_connection));
    let routes = Routes::from(routes).prepare();
    let places = Arc::new(Semaphore::new(bounds.connections as usize));
    let incoming = Arc::new(Mutex::new(Incoming { listener, places, tls, handshakes: JoinSet::new() }));
    let staying = server(bounds, OLDEST).serve_with_incoming_shutdown(
        routes.clone(),
        connections(Arc::clone(&incoming)),
        stop.left(),
    );
    // Nothing else holds the listener then: when nobody is accepted any more, connections must be refused, not left waiting.
    let leaving = {
        let stop = stop.clone();
        async move {
            stop.left().await;
            if stop.is_cordoned() {
                drop(incoming);
                return Ok(());
            }
            let connections = connections(incoming);
            server(bounds, BRIEF).serve_with_incoming_shutdown(routes, connections, stop.cordoned()).await
        }
    };
    tokio::try_join!(staying, leaving).map_err(Error::system("serve requests"))?;
    Ok(())
}

/// Has an HTTP/1 connection end with an answer, where the process is leaving.
async fn end_connection(State(stop): State<Stop>, request: Request, next: Next) -> Response {
    let is_first = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if is_first && stop.is_leaving() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn server(bounds: &Bounds, oldest: Duration) -> Server {
    Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(bounds.streams)
        .max_connection_age(oldest)
        .http2_max_header_list_size(bounds.header_bytes)
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
}

/// What makes connections secret, and the protocols that are spoken over them.
pub(super) type Acceptor = (Arc<Tls>, Protocols);

/// What connections come from.
struct Incoming {
    listener: TcpListener,
    places: Arc<Semaphore>,
    tls: Option<Acceptor>,
    /// Connections that are not yet secret.
    handshakes: JoinSet<Option<Connection>>,
}

/// Connections as they come, never more at once than there are places, those in their handshake counted: further ones wait in the
/// machine's own queue. Whoever takes them after another goes on with the handshakes that the other one began.
fn connections(incoming: Arc<Mutex<Incoming>>) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold(incoming, async |incoming| {
        let connection = incoming.lock().await.next().await?;
        Some((Ok(connection), incoming))
    })
}

impl Incoming {
    async fn next(&mut self) -> Option<Connection> {
        loop {
            let (stream, place) = tokio::select! {
                accepted = accept(&self.listener, &self.places) => accepted?,
                // A handshake that failed has said so.
                Some(done) = self.handshakes.join_next(), if !self.handshakes.is_empty() => match done {
                    Ok(Some(connection)) => return Some(connection),
                    _ => continue,
                },
            };
            let Some((tls, protocols)) = self.tls.clone() else {
                return Some(Connection::new(connection::Stream::Plain(stream), place));
            };
            self.handshakes.spawn(async move {
                let stream = tls.accept(stream, protocols).await?;
                Some(Connection::new(connection::Stream::Tls(Box::new(stream)), place))
            });
        }
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small answers must not wait for a full packet; where it cannot be set they only come later.
                let _ = stream.set_nodelay(true);
                return Some((stream, place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was refused");
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
        }
    }
}
