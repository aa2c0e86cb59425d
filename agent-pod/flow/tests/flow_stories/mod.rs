//! Stories by subject.

mod budgets;
mod fallbacks;
mod joins;
mod replays;
mod rounds;
mod tasks;
