//! Stories that break or change what all of them share, the operator or the broker, or that are about how soon something
//! happens: they are told one at a time, on a cluster of their own.

mod chains;
mod gaps;
mod outages;
mod tokens;
