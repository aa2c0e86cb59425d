//! Protobuf forms of what is stored and sent: records, tasks, timers, plans, statuses of workers.
//!
//! Each form carries its version. Decoding never panics: bytes that are no such message, and messages of a version that
//! is newer than this program, are errors that say so. The same value always gives the same bytes.

mod convert;
mod plan;
mod status;

use prost::Message;

use crate::{DocumentRecord, Task, Timer};

/// The generated types.
mod proto {
    #![allow(clippy::all, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/docket.v1.rs"));
}

/// Version of the forms that this program writes. It grows when an older reader would misunderstand a newer form; new
/// optional fields do not need it.
const VERSION: u32 = 1;

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They are no such message.
    #[error("failed to read a {what} from bytes")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// A newer program wrote them; upgrading this one helps.
    #[error("a {what} of version {found} is newer than version {VERSION}, which this program reads")]
    Newer {
        /// What was expected.
        what: &'static str,
        /// Its version.
        found: u32,
    },
    /// A field that is never left out is not there, or holds a value that does not exist.
    #[error("a {what} has no valid {field}")]
    Field {
        /// What was expected.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// A plan's specification cannot be read.
    #[error("failed to read the specification of a plan")]
    Specification {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A plan's specification does not pass the checks of this program.
    #[error("a plan does not compile: {problems}")]
    Plan {
        /// What is wrong, one after the other.
        problems: String,
    },
}

/// Reads a message, the version first: what else a newer form holds may look malformed here.
fn read<M: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, DecodeError> {
    let malformed = |source| DecodeError::Malformed { what, source };
    match proto::Version::decode(bytes).map_err(malformed)?.version {
        0 => Err(DecodeError::Field { what, field: "version" }),
        VERSION => M::decode(bytes).map_err(malformed),
        found => Err(DecodeError::Newer { what, found }),
    }
}

impl DocumentRecord {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        proto::DocumentRecord::from(self).encode_to_vec()
    }

    /// From protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read::<proto::DocumentRecord>("record", bytes)?.try_into()
    }
}

impl Task {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        proto::Task::from(self).encode_to_vec()
    }

    /// From protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read::<proto::Task>("task", bytes)?.try_into()
    }
}

impl Timer {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        proto::Timer::from(self).encode_to_vec()
    }

    /// From protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read::<proto::Timer>("timer", bytes)?.try_into()
    }
}
