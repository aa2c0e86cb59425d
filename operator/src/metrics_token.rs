//! Who may read the operator's `/metrics`: whoever has the token of a file. It is read at each request, so that another token
//! counts as soon as it is there. Where no file is named, anyone may.
//!
//! In a cluster the file is of a Secret that the operator makes itself, so it comes some seconds after the first process of all.

use std::{
    io,
    path::{Path, PathBuf},
};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use kube::Client;

use crate::{
    names::{TOKEN, random},
    own_secrets,
    prepare::text,
};

/// What names the Secret.
const FLAG: &str = "--metrics-secret";
const UNAUTHORIZED: &str =
    "metrics need the header \"Authorization: Bearer TOKEN\", with the token of --metrics-token-file\n";

/// Makes the Secret where there is none; or says why it is not there yet, or is unfit.
pub async fn make(client: &Client, namespace: &str, name: &str) -> Result<(), String> {
    let new = || own_secrets::secret(namespace, name, "operator", [(TOKEN, random())]);
    let data = own_secrets::read_or_made(client, (namespace, name, FLAG), new).await?;
    text(&data, &format!("Secret {name} ({FLAG})"), TOKEN).map(drop)
}

/// Lets in who has the token.
pub async fn pass(State(file): State<Option<PathBuf>>, request: Request, next: Next) -> Response {
    let Some(file) = file else { return next.run(request).await };
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = authorization.and_then(bearer).map(|token| blake3::hash(token.as_bytes()));
    match (given, expected(&file).await) {
        (_, Err(error)) => {
            let why = format!("failed to read the token of --metrics-token-file: {error}\n");
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
        (Some(given), Ok(expected)) if given == expected => next.run(request).await,
        _ => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], UNAUTHORIZED).into_response(),
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The digest of the token: digests are compared in a time that tells nothing of it.
async fn expected(file: &Path) -> io::Result<blake3::Hash> {
    let text = tokio::fs::read(file).await?;
    let token = text.trim_ascii();
    if token.is_empty() { Err(io::Error::other("it is empty")) } else { Ok(blake3::hash(token)) }
}
