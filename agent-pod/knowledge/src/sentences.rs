//! Finds the sentences of a text, for citations and for cutting long paragraphs.
//!
//! Line ends inside a paragraph are not sentence ends, because licences and mails are wrapped; headings, list items and
//! table rows are sentences of their own. Abbreviations are known modestly: a rare wrong cut costs little.

use std::ops::Range;

use crate::chunk::{is_blank, trim};

/// Abbreviations after which a sentence goes on even before a capital letter.
const ABBREVIATIONS: [&str; 34] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "cf", "inc", "ltd", "corp", "co", "dept", "fig", "eq",
    "approx", "resp", "incl", "al", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov",
    "dec", "gen",
];
/// Abbreviations only before a number.
const BEFORE_NUMBERS: [&str; 10] = ["no", "nos", "sec", "art", "par", "para", "ch", "vol", "pp", "p"];
/// A longer run of letters before a dot is no abbreviation; bounds the look back.
const MAX_ABBREVIATION_BYTES: usize = 16;

/// The byte ranges of all sentences, in order, without white space at their ends.
#[must_use]
pub fn sentences(text: &str) -> Vec<(usize, usize)> {
    in_paragraphs(text, 0..text.len()).into_iter().map(|range| (range.start, range.end)).collect()
}

/// The paragraphs of a text: what lies between blank lines, trimmed.
pub(crate) fn paragraphs(text: &str) -> Vec<Range<usize>> {
    paragraphs_within(text, 0..text.len())
}

/// The sentences of the paragraphs within a range.
pub(crate) fn in_paragraphs(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for paragraph in paragraphs_within(text, range) {
        for block in blocks(text, paragraph) {
            split_block(text, block, &mut found);
        }
    }
    found
}

fn paragraphs_within(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for line in lines(text, range) {
        if text[line.clone()].chars().all(is_blank) {
            found.extend(open.take());
        } else {
            open = Some(open.map_or(line.start, |open| open.start)..line.end);
        }
    }
    found.extend(open);
    found.into_iter().map(|paragraph| trim(text, paragraph)).collect()
}

fn lines(text: &str, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut position = range.start;
    text[range].split_inclusive('\n').map(move |line| {
        let start = position;
        position += line.len();
        start..position
    })
}

/// Divides a paragraph where a heading, a list item or a table row begins or ends.
fn blocks(text: &str, paragraph: Range<usize>) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut stands_alone = true;
    for line in lines(text, paragraph) {
        let content = text[line.clone()].trim_start_matches(is_blank);
        let alone = content.starts_with('#') || content.starts_with('|');
        match found.last_mut() {
            Some(block) if !stands_alone && !alone && !is_list_item(content) => block.end = line.end,
            _ => found.push(line),
        }
        stands_alone = alone;
    }
    found
}

/// A bullet, or a number or letter that ends in a dot or a bracket.
fn is_list_item(line: &str) -> bool {
    let mut rest = line.chars();
    if let Some('-' | '*' | '+' | '•' | '·' | '–' | '—') = rest.next() {
        return rest.next().is_some_and(char::is_whitespace);
    }
    let opened = line.starts_with('(');
    let body = line.trim_start_matches('(');
    let label_length = body.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (label, rest) = body.split_at(label_length);
    let mut rest = rest.chars();
    let closed = match rest.next() {
        Some(')') => true,
        Some('.') => !opened,
        _ => false,
    };
    closed && rest.next().is_none_or(char::is_whitespace) && is_list_label(label)
}

fn is_list_label(label: &str) -> bool {
    let number = label.len() <= 3 && label.bytes().all(|byte| byte.is_ascii_digit());
    let letter = label.len() == 1;
    let roman = label.len() <= 5 && label.bytes().all(|byte| b"ivxIVX".contains(&byte));
    !label.is_empty() && (number || letter || roman)
}

fn split_block(text: &str, block: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut start = block.start;
    let mut position = block.start;
    while let Some(offset) = text[position..block.end].find(is_terminator) {
        let terminator = position + offset;
        position = terminator + text[terminator..block.end].chars().next().map_or(1, char::len_utf8);
        position +=
            text[position..block.end].chars().take_while(|c| ends_with_sentence(*c)).map(char::len_utf8).sum::<usize>();
        if ends_sentence(text, start..block.end, terminator, position) {
            push_trimmed(text, start..position, found);
            start = position;
        }
    }
    push_trimmed(text, start..block.end, found);
}

fn push_trimmed(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let range = trim(text, range);
    if !range.is_empty() {
        found.push(range);
    }
}

fn is_terminator(character: char) -> bool {
    matches!(character, '.' | '!' | '?' | '…' | '؟' | '۔' | '।' | '॥') || is_wide_terminator(character)
}

/// Terminators of scripts that put no space between sentences.
fn is_wide_terminator(character: char) -> bool {
    matches!(character, '。' | '！' | '？' | '｡')
}

/// Further terminators, quotes and brackets belong to the sentence that they close.
fn ends_with_sentence(character: char) -> bool {
    is_terminator(character) || matches!(character, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '*' | '_' | '`')
}

/// Whether the sentence in `range` ends with the terminator, after which `after` is the next position.
fn ends_sentence(text: &str, range: Range<usize>, terminator: usize, after: usize) -> bool {
    let rest = &text[after..range.end];
    let Some(next) = rest.chars().next() else { return true };
    if text[terminator..after].contains(is_wide_terminator) {
        return true;
    }
    if !next.is_whitespace() {
        return false;
    }
    let next = rest.trim_start().chars().next();
    if next.is_some_and(char::is_lowercase) {
        return false;
    }
    let before = &text[range.start..terminator];
    !(text[terminator..].starts_with('.') && goes_on(before, next))
}

/// Whether the dot after `before` belongs to an abbreviation, an initial or the number of a list item.
fn goes_on(before: &str, next: Option<char>) -> bool {
    let window = &before[before.floor_char_boundary(before.len().saturating_sub(MAX_ABBREVIATION_BYTES))..];
    let word_start = window
        .rfind(|c: char| !c.is_alphanumeric() && c != '.')
        .map_or(0, |at| at + window[at..].chars().next().map_or(1, char::len_utf8));
    let word = &window[word_start..];
    if word.is_empty() {
        return false;
    }
    if trim_is_whole(before, word) && is_list_label(word) {
        return true;
    }
    let letters = word.chars().filter(|c| *c != '.').all(char::is_alphabetic);
    if letters && (word.contains('.') || word.chars().count() == 1) {
        return true;
    }
    let word = word.to_lowercase();
    ABBREVIATIONS.contains(&word.as_str())
        || (BEFORE_NUMBERS.contains(&word.as_str()) && next.is_some_and(char::is_numeric))
}

/// Whether the word is all that the sentence holds so far.
fn trim_is_whole(before: &str, word: &str) -> bool {
    before.trim_matches(|c| is_blank(c) || c == '(') == word
}
