//! A payload that comes in pieces: short ones are gathered, others encoded into a file until their digest is known.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    sync::Arc,
};

use bytes::Bytes;
use futures::StreamExt;

use super::{
    blocking,
    encoding::{Encoded, Encoder},
};
use crate::{ByteStream, Error, Result};

/// Bytes that are encoded at once, and up to which a payload needs no file.
const PIECE: usize = 1 << 20;
const ACTION: &str = "write down a payload that comes";

/// A payload that has come whole.
pub(crate) enum Received<F> {
    /// In memory, because it is short.
    Gathered(Bytes),
    /// Encoded in a file.
    Filed(Encoded<F>),
}

/// How far it is.
enum Progress<F: Write, O> {
    /// All that has come is in memory; this opens the file.
    Gathering(O),
    Writing(Encoder<F>),
}

/// Takes all bytes; a file is opened once it is needed. Dropped on the way, it drops the file.
pub(crate) async fn receive<F: Write + Send + 'static>(
    mut bytes: ByteStream<'_>,
    open: impl FnOnce() -> io::Result<F> + Send + 'static,
) -> Result<Received<F>> {
    // The one buffer for all of it: new ones for each piece would leave holes that other sizes do not fill.
    let mut piece = Vec::new();
    let mut progress = Progress::Gathering(open);
    while let Some(next) = bytes.next().await {
        let mut next = next.map_err(Error::Source)?;
        while piece.len() + next.len() > PIECE {
            piece.extend_from_slice(&next.split_to(PIECE - piece.len()));
            let (encoder, emptied) = write(progress, piece).await?;
            (progress, piece) = (Progress::Writing(encoder), emptied);
        }
        piece.extend_from_slice(&next);
    }
    if let Progress::Gathering(_) = progress {
        return Ok(Received::Gathered(piece.into()));
    }
    let (encoder, _) = write(progress, piece).await?;
    blocking(ACTION, move || encoder.finish()).await?.map(Received::Filed).map_err(failed)
}

async fn write<F: Write + Send + 'static>(
    progress: Progress<F, impl FnOnce() -> io::Result<F> + Send + 'static>,
    mut piece: Vec<u8>,
) -> Result<(Encoder<F>, Vec<u8>)> {
    let work = move || {
        let mut encoder = match progress {
            Progress::Writing(encoder) => encoder,
            Progress::Gathering(open) => Encoder::new(open()?)?,
        };
        encoder.write(&piece)?;
        piece.clear();
        Ok((encoder, piece))
    };
    blocking(ACTION, work).await?.map_err(failed)
}

/// Bytes of a file that was written.
pub(crate) async fn read_part(file: &Arc<File>, start: u64, length: usize) -> io::Result<Bytes> {
    let file = Arc::clone(file);
    let read = move || {
        let mut part = vec![0; length];
        file.read_exact_at(&mut part, start).map(|()| Bytes::from(part))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

fn failed(source: io::Error) -> Error {
    Error::Store { action: ACTION, source: Box::new(source) }
}
