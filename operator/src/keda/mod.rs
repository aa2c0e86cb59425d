//! The external scaler for KEDA: the agents that the autoscaler wants, offered to whoever owns `replicas`.
//!
//! Any process of the operator answers, whoever leads: what the leader decided stands in the pool's status, and is of now for
//! as long as somebody leads. Nothing is written. KEDA takes an error for "keep what there is", so what is not known is an
//! error and never a number.

mod answers;
pub mod decided;
pub mod pools;

use std::{io, net::SocketAddr};

use kube::Client;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use answers::Answers;
use decided::Decided;
use pools::Pools;

/// The types of the protocol.
pub mod protocol {
    #![allow(missing_docs, unreachable_pub, reason = "generated from proto/external_scaler.proto")]
    #![allow(clippy::clone_on_ref_ptr, reason = "generated")]
    tonic::include_proto!("externalscaler");
}

/// What could not be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not this machine's. Whoever deploys can fix it.
    #[error("failed to listen on {address} (--external-scaler, DOCKET_EXTERNAL_SCALER)")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The listener broke.
    #[error("failed to serve KEDA")]
    Serve(#[source] tonic::transport::Error),
}

/// Opens the address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// Serves until `stop`. `calls` and `watches`: clients of the API server; `namespaces`: those that are watched, all where
/// none is named; `decided`: whether what stands in pools' statuses is of now.
pub async fn serve(
    listener: TcpListener,
    (calls, watches): (Client, Client),
    namespaces: Vec<String>,
    decided: watch::Receiver<Decided>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let answers = Answers { pools: Pools { calls, watches, namespaces, decided }, stop: stop.clone() };
    Server::builder()
        .add_service(protocol::external_scaler_server::ExternalScalerServer::new(answers))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop.cancelled_owned())
        .await
        .map_err(Error::Serve)
}
