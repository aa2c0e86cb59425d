//! Follows a document: events as they come, the record where events were lost, and the end for certain.

use std::{sync::Arc, time::Duration};

use flow::DocumentRecord;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{api::Api, refusal::Refusal, tokens::Caller};
use crate::runtime::{driver::Driver, progress};

/// How often the record is read although no event says that it changed: events may be lost.
const LOOK: Duration = Duration::from_secs(5);
/// Events that wait for a slow client; the oldest of the rest are lost.
const WAITING: usize = 64;
/// How long a client may take nothing of what is told, before its place is another's.
const STALLED: Duration = Duration::from_secs(60);

/// What a watcher is told.
#[derive(Clone, Debug)]
pub(super) enum Watched {
    /// Where the document stands.
    Progress(Value),
    /// A piece of text that a stage writes: stage, sequence, text.
    Token(Value),
    /// The end, as `docket run` prints it. Nothing follows.
    End(Value),
    /// The watch ends before the document does; it can be begun again.
    Lost(Refusal),
}

type Events = mpsc::Receiver<(String, bytes::Bytes)>;

/// What is needed to follow one document.
struct Watch {
    api: Arc<Api>,
    driver: Arc<Driver>,
    document: String,
    subject: String,
    tokens_prefix: String,
    changes: Events,
    tokens: Events,
    changed_at: u64,
}

/// Follows a document until it ends, the client goes or the gateway stops.
pub(super) async fn watch(
    api: &Arc<Api>,
    caller: &Caller,
    pipeline: &str,
    document: &str,
) -> Result<mpsc::Receiver<Watched>, Refusal> {
    let place = Arc::clone(&api.watchers)
        .try_acquire_owned()
        .map_err(|_| Refusal::Busy { message: "as many clients watch as may".to_owned(), retry_after: LOOK })?;
    let (subject, tokens_prefix) = (progress::subject(pipeline, document), progress::tokens_prefix(pipeline, document));
    api.plan(caller, pipeline)?;
    // Before the record is read, so that nothing happens between.
    let changes = api.ports.events.watch(&subject).await?;
    let tokens = api.ports.events.watch(&tokens_prefix).await?;
    let (driver, record) = api.record(caller, pipeline, document).await?;
    let (api, document) = (Arc::clone(api), document.to_owned());
    let watch = Watch { api, driver, document, subject, tokens_prefix, changes, tokens, changed_at: 0 };
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = sender.closed() => {}
            () = watch.follow(&sender, record) => {}
        }
    });
    Ok(receiver)
}

/// Waits until a document ends, at most so long; its record then.
pub(super) async fn wait(
    api: &Arc<Api>,
    caller: &Caller,
    (pipeline, document): (&str, &str),
    at_most: Duration,
) -> Result<Value, Refusal> {
    let (driver, record) = api.record(caller, pipeline, document).await?;
    if record.end.is_none() && !at_most.is_zero() {
        let mut watched = watch(api, caller, pipeline, document).await?;
        let ended = async {
            while let Some(watched) = watched.recv().await {
                if let Watched::End(result) = watched {
                    return Some(result);
                }
            }
            None
        };
        if let Ok(Some(result)) = tokio::time::timeout(at_most, ended).await {
            return Ok(result);
        }
    }
    let record = if record.end.is_some() { record } else { driver.get(document).await? };
    api.result(&driver, &record).await
}

impl Watch {
    async fn follow(mut self, client: &mpsc::Sender<Watched>, record: DocumentRecord) {
        let stop = self.api.stop.clone();
        if self.tell(client, &record).await {
            return;
        }
        // Not begun anew with each event: those of other documents, and pieces of text, must not put it off.
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let watched = tokio::select! {
                () = stop.cordoned() => {
                    give(client, Watched::Lost(Refusal::Unavailable("the gateway is stopping".to_owned()))).await;
                    return;
                }
                Some((subject, body)) = self.changes.recv() => {
                    // The prefix of a watch may begin other documents' subjects too.
                    if subject != self.subject {
                        continue;
                    }
                    let Ok(body) = serde_json::from_slice::<Value>(&body) else { continue };
                    let changed_at = body["changed"].as_u64().unwrap_or(0);
                    if body["outcome"] == "unfinished" {
                        if changed_at < self.changed_at {
                            continue;
                        }
                        self.changed_at = changed_at;
                        Some(Watched::Progress(body))
                    } else {
                        None
                    }
                }
                Some((subject, body)) = self.tokens.recv() => match self.token(&subject, &body) {
                    Some(token) => Some(token),
                    None => continue,
                },
                _ = look.tick() => None,
            };
            match watched {
                Some(watched) => {
                    if !give(client, watched).await {
                        return;
                    }
                }
                None => match self.driver.get(&self.document).await {
                    Ok(record) => {
                        if self.tell(client, &record).await {
                            return;
                        }
                    }
                    Err(error) => {
                        give(client, Watched::Lost(error.into())).await;
                        return;
                    }
                },
            }
        }
    }

    /// Tells what the record says if it is news; whether nothing follows.
    async fn tell(&mut self, client: &mpsc::Sender<Watched>, record: &DocumentRecord) -> bool {
        if record.end.is_some() {
            // What was written before the end was sent before it.
            while let Ok((subject, body)) = self.tokens.try_recv() {
                if let Some(token) = self.token(&subject, &body)
                    && !give(client, token).await
                {
                    return true;
                }
            }
            let end = match self.api.result(&self.driver, record).await {
                Ok(result) => Watched::End(result),
                Err(refusal) => Watched::Lost(refusal),
            };
            give(client, end).await;
            return true;
        }
        if record.changed_at > self.changed_at || self.changed_at == 0 {
            self.changed_at = record.changed_at;
            return !give(client, Watched::Progress(progress::body(record))).await;
        }
        false
    }

    fn token(&self, subject: &str, body: &[u8]) -> Option<Watched> {
        let stage = subject.strip_prefix(&self.tokens_prefix)?;
        let body: Value = serde_json::from_slice(body).ok()?;
        Some(Watched::Token(json!({"stage": stage, "sequence": body["sequence"], "text": body["text"]})))
    }
}

/// Tells the client; whether it still listens.
async fn give(client: &mpsc::Sender<Watched>, watched: Watched) -> bool {
    client.send_timeout(watched, STALLED).await.is_ok()
}
