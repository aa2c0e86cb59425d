//! Stories by subject.

mod approvals;
mod budgets;
mod fallbacks;
mod joins;
mod replays;
mod results;
mod rounds;
mod tasks;
