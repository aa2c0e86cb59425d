//! The parts of the data plane, each on its own: what is too fine to be seen from a command.

mod commands;
mod reach;
mod results;
mod runtime;
mod secrets;
mod serve;
mod stages;
