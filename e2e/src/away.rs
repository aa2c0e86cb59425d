//! The API server may stand still with the machine. Whoever could not ask it asks again; what it answers stands.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{Output, PATIENCE};

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// What kubectl and the API server say where a question has no answer. What was asked for may have been done nevertheless.
const AWAY: [&str; 9] = [
    "TLS handshake timeout",
    "Unable to connect to the server",
    "connection refused",
    "was refused - did you specify the right host or port",
    "connection reset by peer",
    "http2: client connection lost",
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "unable to return a response in the time allotted",
];
/// What Helm says before it has done anything: an installation that was begun is not begun again.
const AWAY_TO_HELM: [&str; 1] = ["Kubernetes cluster unreachable"];
/// What is no error where it was asked for before: a verb of kubectl, and what is said of it.
const DONE_BEFORE: [(&str, &str); 2] = [("create", "(AlreadyExists)"), ("delete", "(NotFound)")];

/// Asks until there is an answer. Whoever asks is told whether it is again: what is there then, or gone, is so since before.
pub async fn answered<T>(ask: impl AsyncFn(bool) -> kube::Result<T>) -> kube::Result<T> {
    let (begun, mut again) = (Instant::now(), false);
    loop {
        match ask(again).await {
            Err(error) if is_away(&error) && begun.elapsed() < PATIENCE => {}
            answer => return answer,
        }
        again = true;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Runs a program until it could ask the API server, where it does.
pub(crate) async fn repeated(command: &[&str], once: impl AsyncFn() -> Result<Output>) -> Result<Output> {
    let (begun, mut again) = (Instant::now(), false);
    loop {
        let mut said = once().await?;
        if !could_not_ask(command, &said) || begun.elapsed() >= PATIENCE {
            said.succeeded |= again && was_done_before(command, &said.errors);
            return Ok(said);
        }
        again = true;
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_away(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => is_of(&AWAY, &status.message),
        // There was no answer, or not all of it.
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}

fn could_not_ask(command: &[&str], said: &Output) -> bool {
    let words: &[&str] = match command.first() {
        Some(&"kubectl") => &AWAY,
        Some(&"helm") => &AWAY_TO_HELM,
        _ => &[],
    };
    !said.succeeded && is_of(words, &said.errors)
}

fn was_done_before(command: &[&str], errors: &str) -> bool {
    let says_only = |reason: &str| !errors.is_empty() && errors.lines().all(|line| line.contains(reason));
    DONE_BEFORE.iter().any(|(verb, reason)| command.contains(verb) && says_only(reason))
}

fn is_of(words: &[&str], text: &str) -> bool {
    words.iter().any(|word| text.contains(word))
}
