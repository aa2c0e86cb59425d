//! The parser process: limits itself, reads one request from standard input, answers on standard output, ends.
//!
//! It starts no async runtime and opens no file; the parent believes nothing but the bounded answer.

use std::io::{self, Read};
use std::process::ExitCode;

use rlimit::Resource;

use super::protocol::{self, Reply, Request};
use super::{Extracted, MediaType, ParseError, docx, html, pdf};

/// Room for honest nesting; the parsers recurse, and an endless recursion ends here.
const STACK_BYTES: usize = 64 << 20;
/// Standard input, output, error, and a few for the runtime. No parser needs a file.
const MAX_OPEN_FILES: u64 = 16;
/// A reply carries no more than this many warnings, so that its header stays small.
const MAX_WARNINGS: usize = 100;
const MAX_DETAIL_BYTES: usize = 500;

/// The whole program of a parser process; call it before anything else is started.
pub fn child_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let (request, length) = protocol::read_preamble::<Request>(&mut input)?;
    limit_resources(&request)?;
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (reply, text) = match extract_on_a_large_stack(bytes, &request)? {
        Ok(extracted) => {
            let mut warnings = extracted.warnings;
            warnings.truncate(MAX_WARNINGS);
            warnings.iter_mut().for_each(shorten);
            (Reply::Parsed { warnings }, extracted.text)
        }
        Err(mut error) => {
            if let ParseError::Malformed { detail, .. } | ParseError::Truncated { detail } = &mut error {
                shorten(detail);
            }
            (Reply::Failed(error), String::new())
        }
    };
    protocol::write_frame(&mut io::stdout().lock(), &reply, text.as_bytes())
}

fn limit_resources(request: &Request) -> io::Result<()> {
    let memory = occupied_bytes().saturating_add(STACK_BYTES as u64).saturating_add(request.memory_bytes);
    lower(Resource::AS, memory, memory)?;
    // The soft limit ends the process by SIGXCPU, which the parent can tell from a crash.
    lower(Resource::CPU, request.cpu_seconds, request.cpu_seconds.saturating_add(1))?;
    lower(Resource::FSIZE, 0, 0)?;
    lower(Resource::CORE, 0, 0)?;
    lower(Resource::NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES)
}

/// Sets a limit, or leaves the stricter one that the process was started with.
fn lower(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let (_, allowed) = resource.get()?;
    let hard = hard.min(allowed);
    resource.set(soft.min(hard), hard)
}

/// Address space in use at the start: the program itself and what its allocator has reserved.
fn occupied_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_ascii_whitespace().next()?.parse::<u64>().ok());
    pages.map_or(0, |pages| pages.saturating_mul(PAGE_BYTES))
}

fn extract_on_a_large_stack(bytes: Vec<u8>, request: &Request) -> io::Result<Result<Extracted, ParseError>> {
    let (media_type, max_text_bytes) = (request.media_type, request.max_text_bytes);
    let work = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || extract(bytes, media_type, max_text_bytes))?;
    Ok(work.join().unwrap_or(Err(ParseError::Crashed { signal: None })))
}

fn extract(bytes: Vec<u8>, media_type: MediaType, max_text_bytes: u64) -> Result<Extracted, ParseError> {
    match media_type {
        MediaType::Html => html::extract(&bytes),
        MediaType::Pdf => pdf::extract(bytes, max_text_bytes),
        MediaType::Docx => docx::extract(&bytes, max_text_bytes),
        MediaType::Text | MediaType::Markdown | MediaType::JsonLines => {
            Err(ParseError::Unsupported { format: "plain text in a parser process".to_owned() })
        }
    }
}

fn shorten(detail: &mut String) {
    if detail.len() > MAX_DETAIL_BYTES {
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
        detail.push('…');
    }
}
