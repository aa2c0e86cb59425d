//! Stories by subject.

mod approvals;
mod joins;
mod replays;
mod results;
mod rounds;
mod tasks;
