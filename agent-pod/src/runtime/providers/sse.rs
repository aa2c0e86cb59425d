//! Server-sent events out of pieces of any size.

/// Longest line; a piece of text is a few bytes.
const LONGEST_LINE: usize = 1 << 20;

/// The events of one stream.
#[derive(Default)]
pub(super) struct Events {
    line: Vec<u8>,
    event: String,
}

/// A line is longer than any event of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// Takes bytes as they come; the data of the events that are whole now.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<String>, TooLong> {
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
    pub(super) fn rest(mut self) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": hello\r\nevent: x\ndata: {\"a\": \"ä\"}\n\ndata:one\ndata: two\r\n\r\n\n\nid: 7\ndata: [DONE]\n\n";

    #[test]
    fn events_come_out_whole_however_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let mut events = Events::default();
            let found: Vec<String> =
                STREAM.as_bytes().chunks(size).flat_map(|piece| events.push(piece).expect("short lines")).collect();
            assert_eq!(found, ["{\"a\": \"ä\"}", "one\ntwo", "[DONE]"], "{size}");
            assert_eq!(events.rest(), None);
        }
    }

    #[test]
    fn an_event_without_an_end_is_the_rest() {
        let mut events = Events::default();
        assert_eq!(events.push(b"data: a\n\ndata: b"), Ok(vec!["a".to_owned()]));
        assert_eq!(events.rest().as_deref(), Some("b"));
    }

    #[test]
    fn a_line_or_an_event_that_never_ends_is_refused() {
        let piece = [b'a'; 1 << 16];
        let mut events = Events::default();
        assert!((0..17).any(|_| events.push(&piece).is_err()));
        let mut events = Events::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert!((0..17).any(|_| events.push(&line).is_err()));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let mut events = Events::default();
        assert_eq!(events.push(&[b'd', b'a', b't', b'a', b':', 0xff, b'\n', b'\n']), Ok(vec!["\u{fffd}".to_owned()]));
    }
}
