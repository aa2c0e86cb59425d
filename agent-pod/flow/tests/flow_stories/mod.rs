//! Stories by subject.

mod joins;
mod replays;
mod rounds;
mod tasks;
