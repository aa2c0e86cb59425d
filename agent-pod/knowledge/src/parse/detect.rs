//! Finds what a file holds. First bytes win over the name, so that a renamed file is read for what it is.

use std::path::Path;

use super::{MediaType, ParseError, decode};

const PDF_MAGIC: &[u8] = b"%PDF-";
/// Readers accept the header of a PDF anywhere in its first kilobyte.
const PDF_MAGIC_WINDOW: usize = 1024;
const ZIP_MAGICS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// Compound files: old Word documents, and new ones under a password.
const OLE_MAGIC: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
const ENCRYPTED_PACKAGE: &str = "EncryptedPackage";

pub(super) fn media_type(bytes: &[u8], name: &str) -> Result<MediaType, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    if let Some(found) = by_magic(bytes)? {
        return Ok(found);
    }
    let (extension, binary) = (extension(name), decode::is_binary(bytes));
    // A text may speak of the header, too.
    let may_be_pdf = binary || extension == "pdf";
    if may_be_pdf && contains(&bytes[..bytes.len().min(PDF_MAGIC_WINDOW)], PDF_MAGIC) {
        return Ok(MediaType::Pdf);
    }
    if binary {
        return Err(ParseError::Binary);
    }
    match extension.as_str() {
        "pdf" => Err(ParseError::malformed("PDF", "it does not begin with '%PDF-'")),
        "docx" | "docm" => Err(ParseError::malformed("DOCX", "it is not a zip archive")),
        _ if begins_like_html(bytes) => Ok(MediaType::Html),
        "html" | "htm" | "xhtml" => Ok(MediaType::Html),
        "md" | "markdown" => Ok(MediaType::Markdown),
        "jsonl" | "ndjson" => Ok(MediaType::JsonLines),
        _ => Ok(MediaType::Text),
    }
}

fn by_magic(bytes: &[u8]) -> Result<Option<MediaType>, ParseError> {
    if bytes.starts_with(PDF_MAGIC) {
        return Ok(Some(MediaType::Pdf));
    }
    if ZIP_MAGICS.iter().any(|magic| bytes.starts_with(magic)) {
        if contains(bytes, b"word/document") {
            return Ok(Some(MediaType::Docx));
        }
        return Err(ParseError::Unsupported { format: "zip archive".to_owned() });
    }
    if bytes.starts_with(OLE_MAGIC) {
        let name: Vec<u8> = ENCRYPTED_PACKAGE.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if contains(bytes, &name) {
            return Err(ParseError::Encrypted);
        }
        return Err(ParseError::Unsupported { format: "Word document from before 2007".to_owned() });
    }
    Ok(None)
}

fn begins_like_html(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|start| bytes.len() >= start.len() && bytes[..start.len()].eq_ignore_ascii_case(start))
}

fn extension(name: &str) -> String {
    Path::new(name).extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
