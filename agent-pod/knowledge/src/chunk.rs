//! Cuts a text into chunks of at most so many tokens, at the places where a reader would cut it.
//!
//! Chunks begin and end with paragraphs. Short paragraphs (a heading, a copyright line) travel with the paragraph that
//! follows, and a chunk closes after each paragraph of some length. So a chunk depends on its own neighbourhood alone:
//! documents that share paragraphs share chunks, and each distinct chunk is embedded once. Only a paragraph that is too
//! long by itself is cut, after a sentence if one ends in the second half of the room, else after a line, else after a
//! word; only then do pieces overlap, for an overlap between paragraphs would make equal paragraphs unequal.

use std::ops::Range;

use crate::sentences;

/// The byte ranges of the tokens that a model sees in a text, in order.
pub trait TokenOffsets {
    fn token_offsets(&self, text: &str) -> Vec<(usize, usize)>;
}

/// Words between white space, for texts whose model does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words;

impl TokenOffsets for Words {
    fn token_offsets(&self, text: &str) -> Vec<(usize, usize)> {
        let start_of = |word: &str| word.as_ptr().addr() - text.as_ptr().addr();
        text.split_whitespace().map(|word| (start_of(word), start_of(word) + word.len())).collect()
    }
}

/// A piece of a text. `text[start..end]` has no white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub index: u32,
    pub start: usize,
    pub end: usize,
    pub tokens: usize,
}

/// A paragraph of at least this share of a chunk closes the chunk.
const CLOSING_SHARE: usize = 4;
/// A rest of at most this share of a chunk is worth no chunk of its own.
const SMALL_SHARE: usize = 8;
/// Models fold runs without spaces into a single token; such a run must not make a chunk of any size.
const MAX_BYTES_PER_TOKEN: usize = 32;

/// Cuts `text`, whose tokens lie at `offsets`, into chunks of at most `tokens` tokens. Pieces of a long paragraph share
/// up to `overlap` tokens. All text but white space is in some chunk.
#[must_use]
pub fn chunk(text: &str, offsets: &[(usize, usize)], tokens: usize, overlap: usize) -> Vec<Chunk> {
    let room = Room::new(text, offsets, tokens, overlap);
    let mut ranges = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for paragraph in sentences::paragraphs(text) {
        let joined = open.as_ref().map_or(paragraph.start, |open| open.start)..paragraph.end;
        if room.fits(&joined) {
            let closes = room.tokens(&paragraph) * CLOSING_SHARE >= room.limit;
            open = (!closes).then(|| joined.clone());
            if closes {
                ranges.push(joined);
            }
            continue;
        }
        let long = !room.fits(&paragraph);
        match open.take() {
            Some(heading) if long && room.is_small(&heading) => {
                room.split(joined, &mut ranges);
                continue;
            }
            Some(short_ones) => ranges.push(short_ones),
            None => {}
        }
        if long {
            room.split(paragraph, &mut ranges);
        } else if room.tokens(&paragraph) * CLOSING_SHARE >= room.limit {
            ranges.push(paragraph);
        } else {
            open = Some(paragraph);
        }
    }
    if let Some(rest) = open {
        match ranges.last_mut() {
            Some(last) if room.is_small(&rest) && room.fits(&(last.start..rest.end)) => last.end = rest.end,
            _ => ranges.push(rest),
        }
    }
    let numbered = (0_u32..).zip(ranges);
    numbered
        .map(|(index, range)| Chunk { index, start: range.start, end: range.end, tokens: room.tokens(&range) })
        .collect()
}

/// White space, or the byte order mark that decoding leaves in place.
pub(crate) fn is_blank(character: char) -> bool {
    character.is_whitespace() || character == '\u{feff}'
}

/// Narrows a range so that it neither begins nor ends with blanks; it may become empty.
pub(crate) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let slice = &text[range.clone()];
    let end = range.start + slice.trim_end_matches(is_blank).len();
    let start = end - text[range.start..end].trim_start_matches(is_blank).len();
    start..end
}

/// What fits into one chunk.
struct Room<'a> {
    text: &'a str,
    token_starts: Vec<usize>,
    limit: usize,
    overlap: usize,
    max_bytes: usize,
}

impl<'a> Room<'a> {
    fn new(text: &'a str, offsets: &[(usize, usize)], tokens: usize, overlap: usize) -> Self {
        // Special tokens have empty ranges.
        let mut token_starts: Vec<usize> =
            offsets.iter().filter(|(start, end)| start < end && *start < text.len()).map(|(start, _)| *start).collect();
        token_starts.sort_unstable();
        let limit = tokens.max(1);
        // A cut lies in the second half of a piece, so a smaller overlap always leaves something new in the next one.
        let overlap = overlap.min((limit / 2).saturating_sub(1));
        Self { text, token_starts, limit, overlap, max_bytes: limit.saturating_mul(MAX_BYTES_PER_TOKEN) }
    }

    fn first_token_from(&self, position: usize) -> usize {
        self.token_starts.partition_point(|start| *start < position)
    }

    fn tokens(&self, range: &Range<usize>) -> usize {
        self.first_token_from(range.end) - self.first_token_from(range.start)
    }

    fn fits(&self, range: &Range<usize>) -> bool {
        range.len() <= self.max_bytes && self.tokens(range) <= self.limit
    }

    fn is_small(&self, range: &Range<usize>) -> bool {
        self.tokens(range) * SMALL_SHARE <= self.limit && range.len() * SMALL_SHARE <= self.max_bytes
    }

    /// Cuts a range that is too long into pieces.
    fn split(&self, range: Range<usize>, ranges: &mut Vec<Range<usize>>) {
        let sentences = sentences::in_paragraphs(self.text, range.clone());
        let mut start = range.start;
        loop {
            let end = self.cut(start, range.end, &sentences);
            let piece = trim(self.text, start..end);
            if !piece.is_empty() {
                ranges.push(piece);
            }
            if trim(self.text, end..range.end).is_empty() {
                return;
            }
            let next = trim(self.text, end..range.end).start;
            start = self
                .overlapping_start(start, end, &sentences)
                .filter(|early| self.cut(*early, range.end, &sentences) > next)
                .unwrap_or(next);
        }
    }

    /// The best place to end a piece that begins at `start`.
    fn cut(&self, start: usize, end: usize, sentences: &[Range<usize>]) -> usize {
        if self.fits(&(start..end)) {
            return end;
        }
        let first = self.first_token_from(start);
        let by_tokens = self.token_starts.get(first + self.limit).copied().unwrap_or(end);
        let by_bytes = start.saturating_add(self.max_bytes);
        let latest = self.text.floor_char_boundary(by_tokens.min(by_bytes).min(end));
        if latest <= start {
            return self.text.ceil_char_boundary(start + 1);
        }
        let half = self.token_starts.get(first + self.limit / 2).copied().unwrap_or(start);
        let earliest = self.text.floor_char_boundary(half.clamp(start, start + (latest - start) / 2));
        let sentence = sentences[..sentences.partition_point(|sentence| sentence.end <= latest)]
            .last()
            .map(|sentence| sentence.end)
            .filter(|end| *end > earliest);
        let window = &self.text[earliest..latest];
        let after = |found: Option<usize>| found.map(|found| earliest + found).filter(|position| *position > start);
        sentence
            .or_else(|| after(window.rfind('\n')))
            .or_else(|| after(window.rfind(char::is_whitespace)))
            .unwrap_or(latest)
    }

    /// Where the next piece may begin before `end`: at a sentence, else at a word, within the overlap.
    fn overlapping_start(&self, start: usize, end: usize, sentences: &[Range<usize>]) -> Option<usize> {
        if self.overlap == 0 {
            return None;
        }
        let tokens_before_end = self.first_token_from(end);
        let earliest = *self.token_starts.get(tokens_before_end.checked_sub(self.overlap)?)?;
        let earliest = self.text.ceil_char_boundary(earliest.max(start + 1));
        if earliest >= end {
            return None;
        }
        let sentence = sentences
            .get(sentences.partition_point(|sentence| sentence.start < earliest))
            .map(|sentence| sentence.start)
            .filter(|position| *position < end);
        sentence.or_else(|| {
            let at_word = self.text[..earliest].ends_with(is_blank);
            let from = if at_word { earliest } else { earliest + self.text[earliest..end].find(is_blank)? };
            let word = trim(self.text, from..end);
            (!word.is_empty()).then_some(word.start)
        })
    }
}
