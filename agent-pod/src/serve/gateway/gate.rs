//! What stands before the methods of gRPC: nothing of a request is read before it is known who calls, and what is no
//! document is short and comes in time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tonic::Status;

use super::{api::Api, refusal::Refusal};

/// Begins the paths of our methods; health and reflection are for anyone.
const OURS: &str = "/docket.gateway.v1.Gateway/";
/// The one method whose request may be long; it has bounds of its own.
const SUBMIT: &str = "Submit";
/// Bytes of any other request: names, and what is asked of them.
pub(super) const SHORT: usize = 256 << 10;
/// Time for a short request to come.
const TIME: Duration = Duration::from_secs(10);

/// Lets in who has a token, with the whole request in hand where it is a short one.
pub(super) async fn pass(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let Some(method) = request.uri().path().strip_prefix(OURS) else { return next.run(request).await };
    let is_short = method != SUBMIT;
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match api.caller(authorization).await {
        Ok(caller) => request.extensions_mut().insert(caller),
        Err(refusal) => return Status::from(refusal).into_http(),
    };
    if is_short {
        let (head, body) = request.into_parts();
        let whole = tokio::time::timeout(TIME, whole(body)).await;
        let whole = whole.unwrap_or_else(|_| Err(Refusal::TooSlow("the request did not come in time".to_owned())));
        match whole {
            Ok(whole) => request = Request::from_parts(head, Body::from(whole)),
            Err(refusal) => return Status::from(refusal).into_http(),
        }
    }
    next.run(request).await
}

async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let mut parts = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(Refusal::broken_off)?;
        if whole.len() + part.len() > SHORT {
            return Err(Refusal::TooLarge(format!("a request that is no document has at most {SHORT} bytes")));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}
