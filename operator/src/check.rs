//! Asks a running operator whether it is ready: what `helm test` runs.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{chain, client::install_cryptography};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Asks until the answer is yes; after `timeout` the last one is the error: what it misses, in its own words.
pub async fn ready(url: &str, timeout: Duration) -> Result<(), String> {
    install_cryptography();
    let client = reqwest::Client::builder().timeout(ANSWER).build().map_err(|error| chain(&error))?;
    let deadline = Instant::now() + timeout;
    loop {
        let no = match client.get(url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => chain(&error),
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(format!("{url} was not ready within {} s: {}", timeout.as_secs(), no.trim()));
        }
        sleep(PAUSE).await;
    }
}
