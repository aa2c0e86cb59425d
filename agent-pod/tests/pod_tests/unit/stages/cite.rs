//! What counts as a word when sentences are compared.

use agent_pod::stages::cite::words;

fn check(text: &str, expected: &[&str]) {
    assert_eq!(words(text).into_iter().collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn words_stand_between_spaces_and_marks() {
    check("The tax is due, the TAX!", &["due", "tax", "the"]);
    check("세금은 분기 말에 낸다.", &["낸다", "말에", "분기", "세금은"]);
}

#[test]
fn without_spaces_each_two_characters_are_a_word() {
    check("税金は。", &["税金", "金は"]);
    check("猫がWindowsで寝る", &["windows", "で寝", "寝る", "猫が"]);
    // A letter, its vowel sign and its tone mark, and the same again: signs and marks belong to the word.
    check("\u{e17}\u{e35}\u{e48}", &["\u{e17}\u{e35}", "\u{e35}\u{e48}"]);
    check("猫", &[]);
}
