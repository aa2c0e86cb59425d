//! The work of stages.

mod cite;
mod generate;
mod keys;
mod semantic;
