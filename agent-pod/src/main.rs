//! The `docket` command.

use std::process::ExitCode;

/// Many short-lived tensors and texts: glibc's allocator keeps what they leave behind, mimalloc gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    agent_pod::main()
}
