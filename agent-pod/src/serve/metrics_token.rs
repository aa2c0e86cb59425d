//! Who may read `/metrics`: whoever has the token of a file. It is read at each request, so that another token counts as soon as
//! it is there. Where no file is named, anyone may.

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

use super::gateway::tokens::bearer;

const UNAUTHORIZED: &str =
    "metrics need the header \"Authorization: Bearer TOKEN\", with the token that metricsTokenFile names\n";

/// Lets in who has the token.
pub(super) async fn pass(State(file): State<Option<PathBuf>>, request: Request, next: Next) -> Response {
    let Some(file) = file else { return next.run(request).await };
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = authorization.and_then(bearer).map(|token| blake3::hash(token.as_bytes()));
    match (given, expected(&file).await) {
        (_, Err(error)) => {
            let why = format!("failed to read the token that metricsTokenFile names: {error}\n");
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
        (Some(given), Ok(expected)) if given == expected => next.run(request).await,
        _ => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], UNAUTHORIZED).into_response(),
    }
}

/// Whether the file holds a token. Asked when a process starts, so that whoever starts it learns what is wrong.
pub(super) fn check(file: &Path) -> io::Result<()> {
    digest(&std::fs::read(file)?).map(drop)
}

async fn expected(file: &Path) -> io::Result<blake3::Hash> {
    digest(&tokio::fs::read(file).await?)
}

/// Digests are compared in a time that tells nothing of the token.
fn digest(text: &[u8]) -> io::Result<blake3::Hash> {
    let token = text.trim_ascii();
    if token.is_empty() { Err(io::Error::other("it is empty")) } else { Ok(blake3::hash(token)) }
}
