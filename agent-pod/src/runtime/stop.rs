//! How the parts of a process are asked to stop: first send clients elsewhere, then take nothing new, then hand back what is in hand.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Shared by everything that is to stop together.
#[derive(Clone, Default)]
pub struct Stop {
    leave: CancellationToken,
    cordon: CancellationToken,
    hand_back: CancellationToken,
}

impl Stop {
    /// Clients that come from now on are told to come again, as they will be sent elsewhere; all else goes on.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// For those who work and serve no clients: to leave is to take nothing new.
    pub fn of_work(&self) -> Self {
        Self { cordon: self.leave.clone(), ..self.clone() }
    }

    /// Nothing new is taken from now on; what is in hand is finished.
    pub fn cordon(&self) {
        self.leave.cancel();
        self.cordon.cancel();
    }

    /// What is in hand is handed back unfinished, and nothing new is taken.
    pub fn hand_back(&self) {
        self.leave.cancel();
        self.cordon.cancel();
        self.hand_back.cancel();
    }

    /// Returns when clients are to go elsewhere.
    pub async fn left(&self) {
        self.leave.cancelled().await;
    }

    /// Whether clients are to go elsewhere.
    pub fn is_leaving(&self) -> bool {
        self.leave.is_cancelled()
    }

    /// Returns when nothing new may be taken.
    pub async fn cordoned(&self) {
        self.cordon.cancelled().await;
    }

    /// Returns when what is in hand must be handed back.
    pub async fn handing_back(&self) {
        self.hand_back.cancelled().await;
    }

    /// Whether nothing new may be taken.
    pub fn is_cordoned(&self) -> bool {
        self.cordon.is_cancelled()
    }
}

/// The signals by which a person (Ctrl-C) or a supervisor (SIGTERM) ends a process.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
