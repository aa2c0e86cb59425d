//! Where a text is cut.

use agent_pod::runtime::providers::pieces::pieces;

fn cut(text: &str) -> Vec<&str> {
    pieces(text).into_iter().map(|(start, end)| &text[start..end]).collect()
}

#[test]
fn words_are_cut_into_pieces_and_nothing_but_spaces_is_left_out() {
    assert_eq!(cut("The agreement, 2027."), ["The", "agre", "emen", "t", ",", "2027", "."]);
    assert_eq!(cut("  Über-größe\n"), ["Über", "-", "größ", "e"]);
    assert!(cut(" \n\t").is_empty());
    let text = "Ein längerer Satz — mit Zeichen: (α, β) und 123456.";
    assert_eq!(cut(text).concat(), text.split_whitespace().collect::<String>());
}
