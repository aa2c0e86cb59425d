//! Text to token ids and token offsets, at a cost that grows with what is used of the text and not with its length
//! squared: long texts are tokenised in pieces that are cut where no token can cross.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tokenizers::Tokenizer;

/// Small enough that a tokenizer's own bookkeeping stays in the cache, large enough that its start does not show.
const PIECE_BYTES: usize = 4096;
/// Where a text has no place to cut within this many bytes it is cut anyway.
const LONGEST_PIECE_BYTES: usize = 4 * PIECE_BYTES;

/// A tokenizer with its truncation and padding off, and the special tokens that frame a sequence.
#[derive(Clone)]
pub(crate) struct TextTokenizer {
    tokenizer: Arc<Tokenizer>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

/// The tokens of one sequence, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenIds {
    pub(crate) ids: Vec<u32>,
    pub(crate) truncated: bool,
}

/// Why text could not be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file is missing or corrupt: pull the model again.
    #[error("failed to load the tokenizer {path:?}")]
    Load { path: PathBuf, source: tokenizers::Error },
    #[error("failed to tokenise the text")]
    Encode(#[source] tokenizers::Error),
    #[error("failed to reset the tokenizer's truncation")]
    Configure(#[source] tokenizers::Error),
}

impl TextTokenizer {
    /// Loads a `tokenizer.json`. Truncation and padding are what the file says no longer: the model's limits decide.
    pub(crate) fn load(path: &Path) -> Result<Self, TokenError> {
        let mut tokenizer =
            Tokenizer::from_file(path).map_err(|source| TokenError::Load { path: path.to_owned(), source })?;
        tokenizer.with_padding(None).with_truncation(None).map_err(TokenError::Configure)?;
        Self::new(Arc::new(tokenizer))
    }

    pub(crate) fn new(tokenizer: Arc<Tokenizer>) -> Result<Self, TokenError> {
        let framed = tokenizer.encode_fast("a", true).map_err(TokenError::Encode)?;
        let (ids, special) = (framed.get_ids(), framed.get_special_tokens_mask());
        let before = special.iter().take_while(|&&flag| flag == 1).count();
        let after = special[before..].iter().rev().take_while(|&&flag| flag == 1).count();
        Ok(Self { tokenizer, prefix: ids[..before].to_vec(), suffix: ids[ids.len() - after..].to_vec() })
    }

    /// One more than the largest id.
    pub(crate) fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |largest| largest as usize + 1)
    }

    /// How many special tokens frame a sequence.
    pub(crate) fn special_tokens(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// The ids of `text`, at most `limit` of them; the rest of a longer text is never looked at.
    pub(crate) fn encode(&self, text: &str, limit: usize) -> Result<TokenIds, TokenError> {
        let room = limit.saturating_sub(self.special_tokens());
        let mut ids = self.prefix.clone();
        let mut truncated = false;
        for piece in Pieces::of(text) {
            let left = room + self.prefix.len() - ids.len();
            let encoded = self.tokenizer.encode_fast(&text[piece], false).map_err(TokenError::Encode)?;
            ids.extend(encoded.get_ids().iter().take(left));
            if encoded.len() > left {
                truncated = true;
                break;
            }
        }
        ids.extend_from_slice(&self.suffix);
        Ok(TokenIds { ids, truncated })
    }

    /// The byte range of every token of `text`, without special tokens, on character boundaries.
    pub(crate) fn offsets(&self, text: &str) -> Result<Vec<(usize, usize)>, TokenError> {
        let pieces: Vec<Range<usize>> = Pieces::of(text).collect();
        let of_piece = |piece: &Range<usize>| {
            let encoded = self.tokenizer.encode(&text[piece.clone()], false).map_err(TokenError::Encode)?;
            let shifted = encoded.get_offsets().iter().map(|&(start, end)| {
                (text.floor_char_boundary(piece.start + start), text.ceil_char_boundary(piece.start + end))
            });
            Ok(shifted.collect::<Vec<_>>())
        };
        let offsets = pieces.par_iter().map(of_piece).collect::<Result<Vec<_>, _>>()?;
        Ok(offsets.concat())
    }
}

/// The ranges that a text is tokenised in.
struct Pieces<'a> {
    text: &'a str,
    start: usize,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, start: 0 }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.text[self.start..];
        if rest.is_empty() {
            return None;
        }
        let length = if rest.len() <= PIECE_BYTES { rest.len() } else { cut(rest) };
        let piece = self.start..self.start + length;
        self.start = piece.end;
        Some(piece)
    }
}

/// Where to end the first piece of `text`. Word-piece tokenizers split on white space, and byte-pair tokenizers join a
/// single space to the word after it, so no token crosses from a word to the space behind it.
fn cut(text: &str) -> usize {
    let bytes = text.as_bytes();
    let limit = bytes.len().min(LONGEST_PIECE_BYTES);
    let is_cut = |&at: &usize| {
        bytes[at] == b' '
            && bytes[at - 1].is_ascii_alphanumeric()
            && bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
    };
    let is_line_end = |&at: &usize| bytes[at] == b'\n' && bytes[at - 1].is_ascii_alphanumeric();
    let backwards = || (1..=PIECE_BYTES.min(bytes.len() - 1)).rev();
    let forwards = || PIECE_BYTES..limit;
    backwards()
        .find(is_cut)
        .or_else(|| backwards().find(is_line_end))
        .or_else(|| forwards().find(is_cut))
        .unwrap_or_else(|| text.floor_char_boundary(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_text_without_gap_and_end_on_characters() {
        for text in
            ["", "short", &"word ".repeat(5000), &"漢字".repeat(9000), &"a\n".repeat(20_000), &"é".repeat(30_000)]
        {
            let mut end = 0;
            for piece in Pieces::of(text) {
                assert_eq!(piece.start, end);
                assert!(!piece.is_empty() && piece.len() <= LONGEST_PIECE_BYTES && text.is_char_boundary(piece.end));
                end = piece.end;
            }
            assert_eq!(end, text.len());
        }
    }
}
