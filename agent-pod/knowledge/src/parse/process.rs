//! The parent's side of the parser process: starts it, feeds it, bounds what comes back, and says how it died.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::protocol::{self, Reply, Request};
use super::{Extracted, Limits, MediaType, ParseError};

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
/// Enough of standard error to tell the ways to die apart.
const MAX_COMPLAINT_BYTES: u64 = 8 << 10;
/// How Rust's runtime says that an allocation failed before it aborts. A failed allocation and an overflowed stack end
/// in the same signal, so this line is the only thing that tells them apart.
const ALLOCATION_FAILED: &str = "memory allocation of";
/// Nothing of the parent's environment is passed on. Allocators must not reserve address space in advance, for that
/// would eat up the limit; one page stream of a PDF may not fill the memory either.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MIMALLOC_ARENA_RESERVE", "32768"),
    ("PDF_OXIDE_MAX_DECOMPRESS_MB", "256"),
    ("RAYON_NUM_THREADS", "1"),
    ("RUST_BACKTRACE", "0"),
];

/// The program that calls [`child_main`](super::child_main) and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCommand {
    pub program: PathBuf,
    pub args: Vec<String>,
}

impl ChildCommand {
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, args: &[&str]) -> Self {
        Self { program: program.into(), args: args.iter().map(|argument| (*argument).to_owned()).collect() }
    }
}

pub(super) async fn run(
    bytes: &[u8],
    media_type: MediaType,
    limits: &Limits,
    command: &ChildCommand,
) -> Result<Extracted, ParseError> {
    let mut child = start(command)?;
    let cpu_seconds = (limits.cpu.as_secs() + u64::from(limits.cpu.subsec_nanos() > 0)).max(1);
    let request =
        Request { media_type, max_text_bytes: limits.max_text_bytes, memory_bytes: limits.memory_bytes, cpu_seconds };
    let conversation = converse(&mut child, &request, bytes);
    let Ok(outcome) = tokio::time::timeout(limits.wall, conversation).await else {
        // Also frees the process table's entry; a failure means that it is gone already.
        child.kill().await.ok();
        return Err(ParseError::OutOfTime { seconds: limits.wall.as_secs() });
    };
    let Conversation { answer, complaint, status } = outcome?;
    match answer? {
        Some((Reply::Parsed { warnings }, text)) => Ok(Extracted { text, warnings }),
        Some((Reply::Failed(error), _)) => Err(error),
        None => Err(cause_of_death(status, &complaint, limits, cpu_seconds)),
    }
}

fn start(command: &ChildCommand) -> Result<Child, ParseError> {
    Command::new(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(ENVIRONMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| ParseError::Start { detail: format!("'{}': {error}", command.program.display()) })
}

struct Conversation {
    answer: Result<Option<(Reply, String)>, ParseError>,
    complaint: String,
    status: ExitStatus,
}

async fn converse(child: &mut Child, request: &Request, bytes: &[u8]) -> Result<Conversation, ParseError> {
    let failed = |error: std::io::Error| ParseError::Start { detail: error.to_string() };
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let preamble = protocol::preamble(request, bytes.len() as u64).map_err(failed)?;
    let send = async move {
        // A child that died early closes the pipe; its status tells more than the failed write.
        if stdin.write_all(&preamble).await.is_ok() {
            stdin.write_all(bytes).await.ok();
        }
    };
    let complain = async move {
        let mut complaint = Vec::new();
        stderr.take(MAX_COMPLAINT_BYTES).read_to_end(&mut complaint).await.ok();
        String::from_utf8_lossy(&complaint).into_owned()
    };
    let ((), answer, complaint) = tokio::join!(send, receive(stdout, request.max_text_bytes), complain);
    let status = child.wait().await.map_err(failed)?;
    Ok(Conversation { answer, complaint, status })
}

/// Reads the answer; none at all means that the child died before it could give one.
async fn receive(
    mut stdout: impl AsyncRead + Unpin,
    max_text_bytes: u64,
) -> Result<Option<(Reply, String)>, ParseError> {
    let mut length = [0; 4];
    if stdout.read_exact(&mut length).await.is_err() {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length);
    if length > protocol::MAX_HEADER_BYTES {
        return Ok(None);
    }
    let mut preamble = length.to_le_bytes().to_vec();
    preamble.resize(4 + length as usize + 8, 0);
    if stdout.read_exact(&mut preamble[4..]).await.is_err() {
        return Ok(None);
    }
    let Ok((reply, body_length)) = protocol::read_preamble::<Reply>(&mut preamble.as_slice()) else {
        return Ok(None);
    };
    if body_length > max_text_bytes {
        return Err(ParseError::TextTooLarge { limit: max_text_bytes });
    }
    let mut text = Vec::new();
    stdout.take(body_length).read_to_end(&mut text).await.ok();
    Ok(String::from_utf8(text).ok().filter(|text| text.len() as u64 == body_length).map(|text| (reply, text)))
}

fn cause_of_death(status: ExitStatus, complaint: &str, limits: &Limits, cpu_seconds: u64) -> ParseError {
    match status.signal() {
        Some(SIGXCPU) => ParseError::OutOfTime { seconds: cpu_seconds },
        // Nobody but the kernel, short of memory, kills a parser that way; our own kill is answered before this.
        Some(SIGKILL) => ParseError::OutOfMemory { limit: limits.memory_bytes },
        _ if complaint.contains(ALLOCATION_FAILED) => ParseError::OutOfMemory { limit: limits.memory_bytes },
        signal => ParseError::Crashed { signal },
    }
}
