//! Which of the kept results a person means.

use serde::{Deserialize, Serialize};

use super::kept::{Head, tag};

/// Which results are meant: those to which everything applies that is said; all where nothing is. It holds no names, so that
/// an order to forget a tenant does not remember it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// Made before this time, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<[u8; 16]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<[u8; 16]>,
}

impl Selection {
    /// Of documents of this tenant, made from the document whose bytes have this digest.
    pub fn of(tenant: Option<&str>, payload: Option<&str>) -> Self {
        Self { made_before: None, tenant: tenant.map(tag), payload: payload.map(tag) }
    }

    /// Only what was made before this time, milliseconds since the epoch.
    pub fn made_before(self, made_before: Option<u64>) -> Self {
        Self { made_before, ..self }
    }

    /// Whether everything is meant.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a result is meant of which this is known.
    pub fn means(&self, head: &Head) -> bool {
        self.made_before.is_none_or(|limit| head.made_at < limit)
            && self.tenant.is_none_or(|tenant| tenant == head.owner.tenant)
            && self.payload.is_none_or(|payload| payload == head.owner.payload)
    }

    /// Whether something of another version is meant, of which at most its age is known: whose it is nobody can say, so it
    /// goes with what goes.
    pub fn means_unknown(&self, written_at: Option<u64>) -> bool {
        self.made_before.is_none_or(|limit| written_at.is_none_or(|at| at < limit))
    }
}
