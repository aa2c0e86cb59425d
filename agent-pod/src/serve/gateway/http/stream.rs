//! Server-sent events: `progress`, `token` and `end`, or `error` where the watch can be begun again.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt as _};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    super::{
        api::Api,
        refusal::Refusal,
        tokens::Caller,
        watch::{self, Watched},
    },
    Sure,
};

/// How often a comment keeps the connection from looking dead to proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((pipeline, document)): Path<(String, String)>,
) -> Result<Sse<impl Stream<Item = Sure<Event>>>, Refusal> {
    let watched = watch::watch(&api, &caller, &pipeline, &document).await?;
    let events = ReceiverStream::new(watched).map(|watched| Ok(event(&watched)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn event(watched: &Watched) -> Event {
    let (name, data) = match watched {
        Watched::Progress(progress) => ("progress", progress.to_string()),
        Watched::Token(token) => ("token", token.to_string()),
        Watched::End(result) => ("end", result.to_string()),
        Watched::Lost(refusal) => {
            ("error", json!({"reason": refusal.reason(), "message": refusal.message()}).to_string())
        }
    };
    Event::default().event(name).data(data)
}
