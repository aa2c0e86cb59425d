//! Stories that break or change what all of them share, the operator or the broker, that are about how soon something happens, or
//! about what NetworkPolicies keep out: they are told one at a time, on a cluster of their own that enforces policies.

mod chains;
mod gaps;
pub mod network;
mod outages;
mod tokens;
