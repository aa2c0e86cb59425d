//! Text of a PDF, page by page.

use pdf_oxide::document::PdfDocument;
use pdf_oxide::error::Error;

use super::{Extracted, ParseError};

/// The end mark lies in the last kilobyte of a complete file.
const END_MARK: &[u8] = b"%%EOF";
const END_WINDOW: usize = 1024;
/// A damaged page count may promise millions of pages; after this many failures in a row there are none.
const MAX_FAILED_PAGES: usize = 50;

pub(super) fn extract(bytes: Vec<u8>, max_text_bytes: u64) -> Result<Extracted, ParseError> {
    let complete = bytes[bytes.len().saturating_sub(END_WINDOW)..].windows(END_MARK.len()).any(|end| end == END_MARK);
    let document = PdfDocument::from_bytes(bytes).map_err(|error| explain(error, complete))?;
    if document.is_encrypted() && !document.is_authenticated() {
        return Err(ParseError::Encrypted);
    }
    let pages = document.page_count().map_err(|error| explain(error, complete))?;
    let mut extracted = Extracted::default();
    if !complete {
        extracted.warnings.push("file has no end mark; text at its end may be missing".to_owned());
    }
    let mut failed_in_a_row = 0;
    let mut last_failure = None;
    for page in 0..pages {
        match document.extract_text(page) {
            Ok(text) => {
                failed_in_a_row = 0;
                append_page(&mut extracted.text, &text);
            }
            Err(Error::EncryptedPdf) => return Err(ParseError::Encrypted),
            Err(error) => {
                failed_in_a_row += 1;
                extracted.warnings.push(format!("page {} could not be read: {error}", page + 1));
                last_failure = Some(error);
            }
        }
        if extracted.text.len() as u64 > max_text_bytes {
            return Err(ParseError::TextTooLarge { limit: max_text_bytes });
        }
        if failed_in_a_row >= MAX_FAILED_PAGES {
            break;
        }
    }
    match last_failure {
        Some(error) if extracted.text.is_empty() => Err(explain(error, complete)),
        _ if pages == 0 && !complete => Err(ParseError::Truncated { detail: "it has no readable page".to_owned() }),
        _ => Ok(extracted),
    }
}

fn append_page(text: &mut String, page: &str) {
    let page = page.trim();
    if page.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(page);
}

fn explain(error: Error, complete: bool) -> ParseError {
    match error {
        Error::EncryptedPdf => ParseError::Encrypted,
        error if !complete => ParseError::Truncated { detail: error.to_string() },
        error => ParseError::malformed("PDF", error),
    }
}
