//! Opens a Word document: a zip archive of which only the parts with text are read, each within a budget of bytes.

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::docx_text::{self, XmlError};
use super::{Extracted, ParseError};

const FORMAT: &str = "DOCX";
/// Where a Word document may keep its notes; the main part is looked up.
const NOTES: [&str; 2] = ["word/footnotes.xml", "word/endnotes.xml"];
/// Real documents have tens of entries; reading the directory of an archive of millions would take all the memory.
const MAX_ENTRIES: u16 = 10_000;
/// Text in XML shrinks to a tenth or a twentieth. Beyond a hundredth it is made to blow up.
const MAX_RATIO: u64 = 100;
/// Below this many bytes a high ratio harms nobody.
const HARMLESS_BYTES: u64 = 16 << 20;
const MAX_INFLATED_BYTES: u64 = 256 << 20;

const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const END_OF_DIRECTORY_BYTES: usize = 22;
const MAX_COMMENT_BYTES: usize = u16::MAX as usize;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

pub(super) fn extract(bytes: &[u8], max_text_bytes: u64) -> Result<Extracted, ParseError> {
    check_entry_count(bytes)?;
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| explain(&error))?;
    let main = main_part(&archive)
        .ok_or_else(|| ParseError::Unsupported { format: "zip archive without a Word document".to_owned() })?;
    let mut extracted = Extracted::default();
    read_part(&mut archive, &main, &mut extracted.text, max_text_bytes)?;
    for notes in NOTES {
        if archive.index_for_name(notes).is_some() {
            read_part(&mut archive, notes, &mut extracted.text, max_text_bytes)?;
        }
    }
    Ok(extracted)
}

/// Looks at the end record before the zip library builds a table of all entries.
fn check_entry_count(bytes: &[u8]) -> Result<(), ParseError> {
    let window = &bytes[bytes.len().saturating_sub(END_OF_DIRECTORY_BYTES + MAX_COMMENT_BYTES)..];
    let end = window
        .windows(END_OF_DIRECTORY.len())
        .rposition(|record| record == END_OF_DIRECTORY)
        .and_then(|start| window.get(start..start + END_OF_DIRECTORY_BYTES))
        .ok_or_else(|| ParseError::Truncated { detail: "the directory of the archive is missing".to_owned() })?;
    let entries = u16::from_le_bytes([end[10], end[11]]);
    if entries > MAX_ENTRIES {
        return Err(ParseError::malformed(FORMAT, format!("the archive has more than {MAX_ENTRIES} entries")));
    }
    Ok(())
}

/// Some writers number the main part, as in `word/document2.xml`.
fn main_part(archive: &Archive<'_>) -> Option<String> {
    const USUAL: &str = "word/document.xml";
    if archive.index_for_name(USUAL).is_some() {
        return Some(USUAL.to_owned());
    }
    archive
        .file_names_raw()
        .filter_map(|name| std::str::from_utf8(name).ok())
        .find(|name| {
            name.strip_prefix("word/document")
                .and_then(|rest| rest.strip_suffix(".xml"))
                .is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
        })
        .map(str::to_owned)
}

fn read_part(archive: &mut Archive<'_>, name: &str, text: &mut String, max_text_bytes: u64) -> Result<(), ParseError> {
    let part = archive.by_name(name).map_err(|error| explain(&error))?;
    let limit = part.compressed_size().saturating_mul(MAX_RATIO).clamp(HARMLESS_BYTES, MAX_INFLATED_BYTES);
    let exceeded = Cell::new(false);
    let budget = Budget { inner: part, left: limit, exceeded: &exceeded };
    docx_text::append(BufReader::new(budget), text, max_text_bytes).map_err(|error| match error {
        _ if exceeded.get() => ParseError::InflatesTooMuch { limit },
        XmlError::TextTooLarge => ParseError::TextTooLarge { limit: max_text_bytes },
        XmlError::Invalid(detail) => ParseError::malformed(FORMAT, format!("{name}: {detail}")),
    })
}

fn explain(error: &ZipError) -> ParseError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => ParseError::Encrypted,
        error => ParseError::malformed(FORMAT, error),
    }
}

/// Lets no more than `left` bytes through, whatever the archive says about its sizes.
struct Budget<'a, R> {
    inner: R,
    left: u64,
    exceeded: &'a Cell<bool>,
}

impl<R: Read> Read for Budget<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded.set(true);
                return Err(io::Error::other("part inflates beyond its limit"));
            }
        }
        Ok(count)
    }
}
