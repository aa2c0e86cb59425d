//! The Lease object, as far as an election reads and writes it. What others keep in it (labels, owners) is left alone.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};

use super::Identity;

/// What one version of the Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who leads; nobody after a release.
    pub holder: Option<String>,
    /// Tenures so far, the fencing token.
    pub epoch: u32,
    /// What the holder asks others to wait.
    pub duration: Duration,
    /// The API server's name of this version.
    pub version: String,
}

impl Record {
    /// What the object says. What is missing or nonsense counts as nothing.
    pub fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            epoch: spec.lease_transitions.and_then(|epoch| u32::try_from(epoch).ok()).unwrap_or(0),
            duration: Duration::from_secs(
                spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
            ),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// The Lease with a new tenure. The times are for people who look at it: no election reads them.
pub(super) fn acquired(mut lease: Lease, by: &Identity, epoch: u32, duration: Duration, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(by.as_str().to_owned());
    spec.lease_transitions = Some(i32::try_from(epoch).unwrap_or(i32::MAX));
    spec.lease_duration_seconds = Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
    spec.acquire_time = Some(MicroTime(now));
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The Lease, held on.
pub(super) fn renewed(mut lease: Lease, now: Timestamp) -> Lease {
    lease.spec.get_or_insert_with(LeaseSpec::default).renew_time = Some(MicroTime(now));
    lease
}

/// The Lease with no holder. Its epoch stays: the next tenure's must be greater.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(now));
    lease
}
