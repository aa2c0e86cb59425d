//! Bytes to text without losing the place: wherever possible a byte offset in the text is one in the file.

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use super::ParseError;

/// More control characters than one in this many bytes is not text.
const BYTES_PER_CONTROL: usize = 50;
/// More undecodable bytes than one in this many is text in an encoding that we do not know, or no text.
const BYTES_PER_INVALID: usize = 3;
/// Where browsers look for the encoding that an HTML file declares.
const CHARSET_WINDOW: usize = 1024;

pub(super) struct Decoded {
    pub(super) text: String,
    pub(super) warnings: Vec<String>,
    pub(super) exact_offsets: bool,
}

/// Decodes UTF-8, or UTF-16 that begins with a byte order mark. A byte order mark of UTF-8 stays in the text, because
/// taking it out would move every offset.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, ParseError> {
    if let Some((encoding, body)) = utf_16(bytes) {
        return Ok(transcode(encoding, body));
    }
    if is_binary(bytes) {
        return Err(ParseError::Binary);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(Decoded { text: text.to_owned(), warnings: Vec::new(), exact_offsets: true });
    }
    replace_invalid(bytes)
}

/// Decodes HTML, which may declare an older encoding in its head.
pub(super) fn decode_html(bytes: &[u8]) -> Result<Decoded, ParseError> {
    if utf_16(bytes).is_none()
        && std::str::from_utf8(bytes).is_err()
        && let Some(encoding) = declared_charset(bytes)
    {
        return Ok(transcode(encoding, bytes));
    }
    decode(bytes)
}

/// Whether the bytes are not text in any encoding that [`decode`] knows.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    if utf_16(bytes).is_some() {
        return false;
    }
    if bytes.contains(&0) {
        return true;
    }
    let controls = bytes.iter().filter(|byte| is_control(**byte)).count();
    controls > bytes.len() / BYTES_PER_CONTROL
}

/// Form feeds and escape sequences occur in honest text files.
fn is_control(byte: u8) -> bool {
    matches!(byte, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

fn utf_16(bytes: &[u8]) -> Option<(&'static Encoding, &[u8])> {
    match bytes {
        // The mark of UTF-32 begins with that of UTF-16.
        [0xff, 0xfe, 0, 0, ..] => None,
        [0xff, 0xfe, body @ ..] => Some((UTF_16LE, body)),
        [0xfe, 0xff, body @ ..] => Some((UTF_16BE, body)),
        _ => None,
    }
}

fn transcode(encoding: &'static Encoding, bytes: &[u8]) -> Decoded {
    let (text, had_errors) = encoding.decode_without_bom_handling(bytes);
    let mut warnings = vec![format!("decoded from {}; offsets refer to the decoded text", encoding.name())];
    if had_errors {
        warnings.push(format!("some bytes are not valid {} and were replaced", encoding.name()));
    }
    Decoded { text: text.into_owned(), warnings, exact_offsets: false }
}

/// Puts one question mark for each byte that is not UTF-8, so that all offsets stay.
fn replace_invalid(bytes: &[u8]) -> Result<Decoded, ParseError> {
    let mut text = String::with_capacity(bytes.len());
    let mut count = 0;
    let mut first = None;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid().len();
        if invalid > 0 {
            first.get_or_insert(text.len());
            count += invalid;
            text.extend(std::iter::repeat_n('?', invalid));
        }
    }
    if count > bytes.len() / BYTES_PER_INVALID {
        return Err(ParseError::Binary);
    }
    let first = first.unwrap_or_default();
    let warning = format!("{count} bytes are not valid UTF-8 and were replaced by '?', the first at offset {first}");
    Ok(Decoded { text, warnings: vec![warning], exact_offsets: true })
}

fn declared_charset(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(CHARSET_WINDOW)].to_ascii_lowercase();
    let mark = b"charset=";
    let start = head.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let label: Vec<u8> = head[start..]
        .iter()
        .copied()
        .skip_while(|byte| matches!(byte, b'"' | b'\''))
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.'))
        .collect();
    Encoding::for_label(&label)
}
