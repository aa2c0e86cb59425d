//! Finds a short way to end an answer that follows a schema, from anywhere in it.
//!
//! The way is found by walking the grammar on a copy, closing whatever is open as early as it may be closed. It is
//! not proven to be the shortest, only to end; where a schema's patterns lead the walk astray, none is found.

use llguidance::Matcher;
use toktrie::{SimpleVob, TokenId};

use crate::generation::vocabulary::Vocabulary;

/// What closes, then what starts the least, then what separates.
const PREFERRED: [&str; 12] = ["}", "]", "\"", "0", "null", "true", "false", " ", ":", ",", "{", "["];
/// Inside a text, where brackets are text too.
const PREFERRED_IN_TEXT: [&str; 1] = ["\""];
/// Only texts can go on with this.
const TEXT_ALONE: &str = "Z";

/// At most `limit` tokens after which the answer is complete.
pub(super) fn ending(matcher: &Matcher, vocabulary: &Vocabulary, limit: usize) -> Option<Vec<TokenId>> {
    let mut matcher = matcher.clone();
    let mut tokens = Vec::new();
    loop {
        if tokens.len() > limit || matcher.is_error() {
            return None;
        }
        if matcher.is_stopped() || matcher.is_accepting().ok()? {
            return Some(tokens);
        }
        let forced = matcher.consume_ff_tokens();
        if !forced.is_empty() {
            tokens.extend(forced);
            continue;
        }
        let allowed = matcher.compute_mask().ok()?;
        let token = closing(&allowed, vocabulary)?;
        matcher.consume_token(token).ok()?;
        tokens.push(token);
    }
}

fn closing(allowed: &SimpleVob, vocabulary: &Vocabulary) -> Option<TokenId> {
    let mut in_text = false;
    allowed.iter_set_entries(|token| in_text |= vocabulary.bytes_of(token as TokenId) == TEXT_ALONE.as_bytes());
    let preferred: &[&str] = if in_text { &PREFERRED_IN_TEXT } else { &PREFERRED };
    let mut best: Option<(usize, usize, TokenId)> = None;
    allowed.iter_set_entries(|token| {
        let token = token as TokenId;
        let bytes = vocabulary.bytes_of(token);
        if bytes.is_empty() {
            return;
        }
        let rank = preferred.iter().position(|text| text.as_bytes() == bytes).unwrap_or(preferred.len());
        let candidate = (rank, bytes.len(), token);
        if best.is_none_or(|best| candidate < best) {
            best = Some(candidate);
        }
    });
    best.map(|(_, _, token)| token)
}
