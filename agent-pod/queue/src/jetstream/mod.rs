//! All five ports over NATS JetStream, for many processes on many machines.

mod settings;

pub use settings::{Credentials, Settings};

use crate::{Error, Ports, Result};

/// A connection to the broker.
pub struct JetStream {
    /// The ports.
    pub ports: Ports,
}

/// Connects, and makes or checks the streams that all processes share. Pools' streams are made on first use.
///
/// Fails with [`Error::Store`] where no server answers, the settings make no sense, or what exists is weaker than they ask.
pub async fn open(settings: Settings) -> Result<JetStream> {
    let _ = settings;
    Err(Error::Store { action: "open the broker's ports", source: "they are not finished".into() })
}
