//! Passes requests on to live workers: the least loaded that holds the model, the next one if it cannot be reached.
//!
//! A request computes and changes nothing, so it can be sent to another worker for as long as nothing of an answer has
//! gone to the client. Answers are passed on piece by piece; none is held whole.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use flow::PodStatus;
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::{ANSWERED, admission::Admitted, directory::Held, refusal::Refusal};
use crate::{Error, Result, error::chain, serve::status::Live};

/// Longest wait for a connection: workers are near.
const CONNECT: Duration = Duration::from_secs(2);
/// Workers that one request is sent to, one after the other.
const MOST_TRIES: usize = 3;
/// Parts of an answer that wait for a slow client.
const WAITING: usize = 16;
/// When it may be worth asking again where no worker holds the model: a pod may be starting.
const NO_WORKER_RETRY: Duration = Duration::from_secs(5);

/// The workers of a broker.
pub(in crate::serve) struct Workers {
    live: Arc<Live>,
    http: reqwest::Client,
    sent: Arc<Sent>,
    time: Duration,
}

/// Requests of this process at each address: more recent than what workers say of themselves.
#[derive(Default)]
pub struct Sent(Mutex<HashMap<String, u32>>);

/// A request that was sent to an address, until its answer has been passed on.
pub struct Sending {
    sent: Arc<Sent>,
    address: String,
}

impl Workers {
    /// Workers that say of themselves that they live; an answer may take so long.
    pub(in crate::serve) fn new(live: Arc<Live>, time: Duration) -> Result<Self> {
        // No proxy of the environment, no redirection: addresses are of workers, and tokens go nowhere else.
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(time)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        let http = http.map_err(Error::system("make an HTTP client"))?;
        Ok(Self { live, http, sent: Arc::default(), time })
    }

    pub(super) async fn pass_on(
        &self,
        path: &str,
        held: &[&Held],
        (authorization, body): (Option<HeaderValue>, Bytes),
        admitted: &Arc<Admitted>,
    ) -> std::result::Result<Response, Refusal> {
        let living = self.live.workers().await.map_err(|error| {
            tracing::warn!(error = %chain(&error), "the workers' statuses cannot be read");
            no_worker("it is not known which workers live: the broker does not answer")
        })?;
        let addresses = self.sent.in_order(candidates(&living, held));
        let mut refused = None;
        for address in addresses.into_iter().take(MOST_TRIES) {
            let sending = self.sent.begin(address);
            let mut request = self.http.post(format!("http://{}{path}", sending.address)).body(body.clone());
            request = request.header(header::CONTENT_TYPE, "application/json");
            if let Some(authorization) = &authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            match tokio::time::timeout(self.time, request.send()).await {
                Err(_) => return Err(Refusal::TimedOut("the worker's answer took longer than is allowed".to_owned())),
                Ok(Err(error)) if error.is_timeout() && !error.is_connect() => {
                    return Err(Refusal::TimedOut("the worker's answer took longer than is allowed".to_owned()));
                }
                Ok(Err(error)) => {
                    tracing::warn!(address = %sending.address, error = %chain(&error), "a worker cannot be asked");
                }
                Ok(Ok(answer)) if is_full(answer.status()) => refused = Some((answer, sending)),
                Ok(Ok(answer)) => return Ok(passed_on(answer, sending, admitted, self.time)),
            }
        }
        // The word of a worker that is full says when to come again.
        let (answer, sending) = refused.ok_or_else(|| no_worker("no worker that holds the model can be reached"))?;
        Ok(passed_on(answer, sending, admitted, self.time))
    }
}

fn no_worker(message: &str) -> Refusal {
    Refusal::Unavailable { message: message.to_owned(), retry_after: NO_WORKER_RETRY }
}

/// Another worker may have room.
fn is_full(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// The workers that hold one of these models and take requests. Those that rest, which may be about to go, are asked where all
/// rest that could be: a client that waits for an answer is better served by them than refused.
pub fn candidates<'a>(living: &'a [PodStatus], held: &[&Held]) -> Vec<(&'a str, &'a PodStatus)> {
    let holds = |status: &PodStatus| {
        held.iter().any(|held| held.pool == status.pool && status.models.iter().any(|model| model.name == held.name))
    };
    let able = |resting: bool| {
        let able = living.iter().filter(|status| status.ready && holds(status));
        let able = able.filter(move |status| status.resting == resting && (resting || !status.cordoned));
        able.filter_map(|status| Some((status.address.as_deref()?, status))).collect::<Vec<_>>()
    };
    let taking = able(false);
    if taking.is_empty() { able(true) } else { taking }
}

impl Sent {
    /// Addresses, the least loaded first: what a worker has in work for each of its slots.
    pub fn in_order(&self, candidates: Vec<(&str, &PodStatus)>) -> Vec<String> {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |(address, status): &(&str, &PodStatus)| {
            let interactive = status.interactive.max(sent.get(*address).copied().unwrap_or(0));
            f64::from(status.in_work + interactive) / f64::from(status.slots.max(1))
        };
        let mut loads: Vec<(f64, &str)> = candidates.iter().map(|found| (load(found), found.0)).collect();
        loads.sort_by(|a, b| a.0.total_cmp(&b.0));
        loads.into_iter().map(|(_, address)| address.to_owned()).collect()
    }

    /// Counts a request to a worker until the value is dropped.
    pub fn begin(self: &Arc<Self>, address: String) -> Sending {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(address.clone()).or_default() += 1;
        Sending { sent: Arc::clone(self), address }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut sent = self.sent.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sent.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sent.remove(&self.address);
            }
        }
    }
}

/// What is passed on of an answer.
enum Passed {
    Chunk(Bytes),
    End,
}

/// The worker's answer as it comes, for as long as it may take: a client that takes nothing must not hold its place for
/// ever. If it breaks off, so does ours: a client must not take it for whole.
fn passed_on(answer: reqwest::Response, sending: Sending, admitted: &Arc<Admitted>, time: Duration) -> Response {
    let status = answer.status();
    let headers = answer.headers().clone();
    let outcome = if status.is_success() { ANSWERED } else { "Refused" };
    let (sender, receiver) = mpsc::channel(WAITING);
    let admitted = Arc::clone(admitted);
    tokio::spawn(async move {
        let _sending = sending;
        let mut chunks = answer.bytes_stream();
        let passing = async {
            while let Some(chunk) = chunks.next().await {
                let Ok(chunk) = chunk else { return admitted.ended("Failed") };
                if sender.send(Passed::Chunk(chunk)).await.is_err() {
                    return;
                }
            }
            if sender.send(Passed::End).await.is_ok() {
                admitted.ended(outcome);
            }
        };
        tokio::select! {
            () = sender.closed() => {}
            () = passing => {}
            () = tokio::time::sleep(time) => admitted.ended(Refusal::TooSlow.reason()),
        }
    });
    let body = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Passed::Chunk(chunk)) => Some((Ok(chunk), Some(receiver))),
            Some(Passed::End) => None,
            None => Some((Err(io::Error::other("the answer broke off")), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = status;
    for name in [header::CONTENT_TYPE, header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
