//! Chunks cover the text, keep their bounds, and are equal where paragraphs are equal.

use knowledge::{Chunk, TokenOffsets, Words, chunk};
use proptest::prelude::*;

fn words(text: &str, tokens: usize, overlap: usize) -> Vec<&str> {
    let chunks = chunk(text, &Words.token_offsets(text), tokens, overlap);
    chunks.into_iter().map(|chunk| &text[chunk.start..chunk.end]).collect()
}

fn prose(word: &str, count: usize) -> String {
    vec![word; count].join(" ")
}

#[test]
fn a_heading_travels_with_the_paragraph_that_follows() {
    let (first, second) = (prose("one", 10), prose("two", 10));
    let text = format!("Title\n\n{first}\n\nHeading\n\n{second}\n");
    assert_eq!(words(&text, 20, 0), [format!("Title\n\n{first}"), format!("Heading\n\n{second}")]);
}

#[test]
fn equal_paragraphs_give_equal_chunks_in_different_documents() {
    let body: Vec<String> = ["grant", "notice", "warranty"].iter().map(|word| prose(word, 12)).collect();
    let body = body.join("\n\n");
    let ours = format!("Copyright 1998 One\n\n{body}");
    let theirs =
        format!("A long preamble of another author with more words\n\nCopyright 2020 Two and Three\n\n{body}\n");
    let (ours, theirs) = (words(&ours, 24, 4), words(&theirs, 24, 4));
    assert_eq!(ours[ours.len() - 2..], theirs[theirs.len() - 2..]);
}

#[test]
fn a_long_paragraph_is_cut_after_sentences() {
    let text = "One two three four. Five six seven eight. Nine ten eleven twelve. End of it.";
    assert_eq!(words(text, 10, 0), ["One two three four. Five six seven eight.", "Nine ten eleven twelve. End of it."]);
}

#[test]
fn without_sentences_lines_are_kept_whole() {
    assert_eq!(words("a b c\nd e f\ng h i\nj k l", 7, 0), ["a b c\nd e f", "g h i\nj k l"]);
}

#[test]
fn pieces_of_a_long_paragraph_overlap_by_whole_words() {
    let text = "a b c d e f g h i j k l";
    assert_eq!(words(text, 6, 2), ["a b c d e f", "e f g h i j", "i j k l"]);
}

#[test]
fn a_word_larger_than_a_chunk_is_cut_by_its_tokens() {
    let text = "x".repeat(50);
    let offsets: Vec<(usize, usize)> = (0..50).step_by(5).map(|start| (start, start + 5)).collect();
    let chunks = chunk(&text, &offsets, 4, 0);
    assert_eq!(chunks.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), [4, 4, 2]);
}

#[test]
fn a_run_that_is_one_token_makes_no_boundless_chunk() {
    let text = "x".repeat(10_000);
    let chunks = chunk(&text, &[(0, 10_000)], 16, 0);
    assert!(chunks.iter().all(|chunk| chunk.end - chunk.start <= 16 * 32));
    assert_eq!(chunks.last().map(|chunk| chunk.end), Some(10_000));
}

#[test]
fn blank_texts_have_no_chunks_and_marks_are_left_out() {
    assert!(chunk("", &[], 10, 0).is_empty());
    assert!(chunk(" \n\n \u{feff} ", &[], 10, 0).is_empty());
    assert_eq!(words("\u{feff}word", 10, 0), ["word"]);
}

/// Tokens of one to five characters, which never hold white space: like a model's, but adversarial.
fn tokens(text: &str, sizes: &[usize]) -> Vec<(usize, usize)> {
    let mut sizes = sizes.iter().copied().cycle();
    let mut found = Vec::new();
    for (start, end) in Words.token_offsets(text) {
        let mut characters: Vec<usize> = text[start..end].char_indices().map(|(at, _)| start + at).collect();
        characters.push(end);
        let mut at = 0;
        while at + 1 < characters.len() {
            let next = (at + sizes.next().unwrap_or(1)).min(characters.len() - 1);
            found.push((characters[at], characters[next]));
            at = next;
        }
    }
    found
}

fn check(text: &str, offsets: &[(usize, usize)], limit: usize, chunks: &[Chunk]) {
    let mut covered = 0;
    for (index, chunk) in (0..).zip(chunks) {
        assert_eq!(chunk.index, index);
        let piece = &text[chunk.start..chunk.end];
        assert!(!piece.is_empty() && piece.trim() == piece, "outer white space: {piece:?}");
        let inside = offsets.iter().filter(|(start, _)| (chunk.start..chunk.end).contains(start)).count();
        assert_eq!(chunk.tokens, inside);
        assert!(inside <= limit, "{inside} tokens");
        assert!(text[covered.min(chunk.start)..chunk.start].trim().is_empty(), "a gap before {}", chunk.start);
        assert!(chunk.end > covered, "a chunk adds nothing");
        covered = chunk.end;
    }
    assert!(text[covered..].trim().is_empty(), "the end is missing");
    assert!(chunks.windows(2).all(|pair| pair[0].start < pair[1].start));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn chunks_cover_the_text_in_order_and_within_their_bounds(
        text in "([a-zé漢]{1,12}[ .,]{0,2}( |\n|\n\n|\t|  \n \n- |! |\\. A){0,1}){0,120}",
        sizes in prop::collection::vec(1_usize..6, 1..8),
        limit in 1_usize..40,
        overlap in 0_usize..50,
    ) {
        let offsets = tokens(&text, &sizes);
        check(&text, &offsets, limit, &chunk(&text, &offsets, limit, overlap));
    }

    #[test]
    fn sentences_cover_the_text_in_order(text in "([A-Za-zé漢]{1,8}[ .!?)\"]{0,3}( |\n|\n\n|\n- |。){0,1}){0,80}") {
        let mut covered = 0;
        for (start, end) in knowledge::sentences(&text) {
            prop_assert!(start >= covered && text[covered..start].trim().is_empty());
            prop_assert!(!text[start..end].trim().is_empty());
            covered = end;
        }
        prop_assert!(text[covered..].trim().is_empty());
    }

    #[test]
    fn any_text_is_cut_without_a_panic(text in any::<String>(), limit in 0_usize..20, overlap in 0_usize..20) {
        let chunks = chunk(&text, &Words.token_offsets(&text), limit, overlap);
        prop_assert!(chunks.iter().all(|chunk| text.is_char_boundary(chunk.start) && text.is_char_boundary(chunk.end)));
        let sentences = knowledge::sentences(&text);
        prop_assert!(sentences.iter().all(|(start, end)| text.get(*start..*end).is_some()));
    }
}
