//! From files to texts to chunks: formats, hostile input, cutting, JSON lines.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod chunking;
mod fixtures;
mod formats;
mod hostile;
mod json_lines;
mod sentences;

use knowledge::parse::{ChildCommand, Limits, ParseError, Parsed, parse};

fn child() -> ChildCommand {
    ChildCommand::new(env!("CARGO_BIN_EXE_knowledge-parse-child"), &[])
}

fn read(bytes: &[u8], name: &str) -> Result<Parsed, ParseError> {
    read_within(bytes, name, &Limits::default(), &child())
}

fn read_within(bytes: &[u8], name: &str, limits: &Limits, child: &ChildCommand) -> Result<Parsed, ParseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(parse(bytes, name, limits, child))
}
