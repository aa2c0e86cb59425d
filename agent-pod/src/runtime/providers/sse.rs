//! Server-sent events out of pieces of any size.

/// Longest line; a piece of text is a few bytes.
const LONGEST_LINE: usize = 1 << 20;

/// The events of one stream.
#[derive(Default)]
pub struct Events {
    line: Vec<u8>,
    event: String,
}

/// A line is longer than any event of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Events {
    /// Takes bytes as they come; the data of the events that are whole now.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut whole = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            whole.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches('\r')));
            if self.event.len() > LONGEST_LINE {
                return Err(TooLong);
            }
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > LONGEST_LINE { Err(TooLong) } else { Ok(whole) }
    }

    /// What is left where the stream ended without the empty line after its last event.
    pub fn rest(mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        self.line(String::from_utf8_lossy(&line).trim_end_matches('\r')).or_else(|| self.line(""))
    }

    /// One line; an empty one ends an event. Comments, names and numbers of events say nothing of an answer.
    fn line(&mut self, line: &str) -> Option<String> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.is_empty()).then_some(event);
        }
        if let Some(data) = line.strip_prefix("data:") {
            if !self.event.is_empty() {
                self.event.push('\n');
            }
            self.event.push_str(data.strip_prefix(' ').unwrap_or(data));
        }
        None
    }
}
