//! The work of stages.

mod generate;
mod keys;
mod semantic;
