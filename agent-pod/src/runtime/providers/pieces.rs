//! Where a text can be cut for a model whose tokenizer is not known here.

/// Letters of a piece: with most tokenizers and languages a token has about as many.
const LETTERS: usize = 4;

/// Byte ranges of the pieces of a text: words, the long ones in parts, and all else that is no space by itself.
pub fn pieces(text: &str) -> Vec<(usize, usize)> {
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    // Letters of the word that goes on, if one does.
    let mut letters = 0;
    for (start, letter) in text.char_indices() {
        let end = start + letter.len_utf8();
        if letter.is_whitespace() {
            letters = 0;
        } else if !letter.is_alphanumeric() {
            letters = 0;
            pieces.push((start, end));
        } else if letters > 0 && letters % LETTERS != 0 {
            letters += 1;
            if let Some(last) = pieces.last_mut() {
                last.1 = end;
            }
        } else {
            letters += 1;
            pieces.push((start, end));
        }
    }
    pieces
}
