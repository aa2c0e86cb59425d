//! An answer's text as it grows: bytes of tokens to characters, up to a stop text, in pieces that never take back.

/// One answer. What was streamed is always a beginning of the final text.
pub(super) struct Text {
    /// Bytes that do not make a character yet.
    incomplete: Vec<u8>,
    text: String,
    streamed: usize,
    stops: Vec<String>,
    stopped: bool,
}

impl Text {
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { incomplete: Vec::new(), text: String::new(), streamed: 0, stops, stopped: false }
    }

    /// Adds a token's bytes; true once a stop text was met.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        if !self.stopped {
            let before = self.text.len();
            self.incomplete.extend_from_slice(bytes);
            self.decode();
            self.stop_at_match(before);
        }
        self.stopped
    }

    /// What can be given out now: nothing that a stop text may still begin with.
    pub(super) fn next_piece(&mut self) -> &str {
        let end = if self.stopped { self.text.len() } else { self.text.len() - self.possible_stop() };
        let start = self.streamed.min(end);
        self.streamed = end.max(start);
        &self.text[start..end]
    }

    /// The end: gives out what was held back. An unfinished character becomes the replacement character.
    pub(super) fn finish(&mut self) -> &str {
        if !self.stopped && !self.incomplete.is_empty() {
            self.incomplete.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        let start = self.streamed;
        self.streamed = self.text.len();
        &self.text[start..]
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn decode(&mut self) {
        let bytes = std::mem::take(&mut self.incomplete);
        let mut rest = bytes.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text.push_str(text);
                    return;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            self.text.push_str(&String::from_utf8_lossy(valid));
            match error.error_len() {
                None => {
                    self.incomplete = after.to_vec();
                    return;
                }
                Some(wrong) => {
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[wrong..];
                }
            }
        }
    }

    fn stop_at_match(&mut self, before: usize) {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let mut from = before.saturating_sub(longest);
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        let found = self.stops.iter().filter_map(|stop| self.text[from..].find(stop.as_str())).min();
        if let Some(at) = found {
            self.text.truncate(from + at);
            self.stopped = true;
        }
    }

    /// Bytes at the end that a stop text begins with.
    fn possible_stop(&self) -> usize {
        let text = self.text.as_bytes();
        let overlap = |stop: &String| {
            let stop = stop.as_bytes();
            let most = stop.len().saturating_sub(1).min(text.len());
            (1..=most).rev().find(|&length| text.ends_with(&stop[..length])).unwrap_or(0)
        };
        // A stop text begins with a whole character, so cutting before it cuts between characters.
        self.stops.iter().map(overlap).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(parts: &[&[u8]], stops: &[&str]) -> (Vec<String>, String) {
        let mut text = Text::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut pieces = Vec::new();
        for part in parts {
            let stopped = text.push(part);
            pieces.push(text.next_piece().to_owned());
            if stopped {
                break;
            }
        }
        pieces.push(text.finish().to_owned());
        (pieces, text.into_text())
    }

    #[test]
    fn characters_wait_for_their_last_byte() {
        let (pieces, text) = stream(&[b"a\xc3", b"\xa9b", b"\xf0\x9f", b"\x98\x80"], &[]);
        assert_eq!(pieces, ["a", "éb", "", "😀", ""]);
        assert_eq!(text, "aéb😀");
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        let (_, text) = stream(&[b"a\xff", b"b\xe2\x82"], &[]);
        assert_eq!(text, "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn what_may_begin_a_stop_text_is_held_back() {
        let (pieces, text) = stream(&[b"one EN", b"TRY END", b" more"], &["END"]);
        assert_eq!(pieces, ["one ", "ENTRY ", ""]);
        assert_eq!(text, "one ENTRY ");
    }

    #[test]
    fn the_earliest_stop_text_wins_across_tokens() {
        let (pieces, text) = stream(&["é<".as_bytes(), "é>x".as_bytes()], &["x", "<é>"]);
        assert_eq!(text, "é");
        assert_eq!(pieces.concat(), text);
    }
}
