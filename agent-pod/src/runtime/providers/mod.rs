//! Models of others, reached by OpenAI's interface, and the circuits that keep documents from waiting for what is down.
//!
//! ```text
//! stage ──► slot (maxConcurrent) ──► circuit ──► HTTP, streamed ──► text to watchers, usage, whole answer
//! ```
//!
//! A provider is somebody else's server: every wait has an end, every answer a largest size, and nothing that it says is
//! believed before it was checked. The key goes into one header of one host and nowhere else. Knows nothing of documents.

pub mod circuit;
pub mod client;
pub mod error;
mod key;
pub mod messages;
pub mod meters;
pub mod pieces;
pub mod sse;

pub use self::{
    circuit::{Asked, Circuits, Guard},
    client::{Provider, Written},
    error::Error,
    meters::Meters,
    pieces::pieces,
};
