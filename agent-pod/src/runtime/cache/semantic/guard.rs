//! What must be equal in two prompts however near they are: vectors hardly see a number, a name or a "not", and nothing at all
//! of letters that the embedder has never met.
//!
//! Pure. It errs on the side of being different: that costs a computation, the other side a wrong answer.

use super::super::kept::tag;

/// Words that turn a meaning: "no" in a few languages, more and less, before and after, may and must.
const TURNING: &str = "\
    not no never none nobody nothing neither nor cannot without unless except nicht kein keine keinen keinem \
    keiner keines nie niemals ohne weder pas ne jamais sans aucun aucune ni nunca sin ningun ningún ninguna all \
    every only both either more less fewer most least greater smaller larger higher lower above below over \
    under before after since until minimum maximum increase increases increased decrease decreases decreased \
    rise rises fall falls gain loss profit buy buys sell sells buyer seller landlord tenant lender borrower \
    lessor lessee include includes including exclude excludes excluding true false yes must may shall first \
    last earlier later begin begins end ends start starts allowed forbidden valid invalid old new";

/// Written large at the beginning of a sentence, and no name.
const OPENING: &str = "\
    what which who whom whose when where why how is are was were do does did can could will would should has \
    have had the a an this that these those there it its in on at for from to by with of as and or but so if i \
    we you they he she my our your their please tell give show list name explain describe summarise summarize \
    write find say define compare state answer";

/// Punctuation, which may differ. All other signs say as much as a number: `$`, `<`, `→`.
const PUNCTUATION: &str = ".,;:!?'\"()[]{}_`´‘’“”„«»‹›…–—·•";
/// Longest word that an embedder is sure to read: BERT takes longer ones for one unknown word.
const LONGEST_WORD: usize = 100;
/// Hold the parts of a number or name together: `1,000.50`, `AB-12`, `don't`.
const JOINING: &str = ".,:/-_'’@#&+";

/// Digest of the numbers, names and turning words of a text, in their order: "Anna owes Ben" is not "Ben owes Anna".
pub fn guard(text: &str) -> [u8; 16] {
    let mut told = String::new();
    for word in words(text).filter(|word| counts(word)) {
        told.push_str(&word.to_lowercase());
        told.push('\n');
    }
    tag(&told)
}

/// The numbers of a text, in their order.
pub fn numbers(text: &str) -> Vec<&str> {
    words(text).filter(|word| word.chars().any(char::is_numeric)).collect()
}

fn counts(word: &str) -> bool {
    let lower = word.to_lowercase();
    let is_number = word.chars().any(char::is_numeric) || word.chars().all(is_sign);
    let turns = is_in(TURNING, &lower) || lower.ends_with("n't") || lower.ends_with("n’t");
    let opens = is_in(OPENING, lower.split(['\'', '’']).next().unwrap_or(&lower));
    let is_name = word.chars().any(char::is_uppercase) && !opens;
    let is_unknown = word.len() > LONGEST_WORD || word.chars().any(|c| c.is_alphabetic() && !is_latin(c));
    is_number || turns || is_name || is_unknown
}

fn is_sign(character: char) -> bool {
    !character.is_alphanumeric() && !character.is_whitespace() && !PUNCTUATION.contains(character)
}

fn is_latin(letter: char) -> bool {
    matches!(letter, '\u{0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

fn is_in(words: &str, word: &str) -> bool {
    words.split(' ').any(|other| other == word)
}

/// Words and signs. A minus is a part of the number behind it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            if first.is_alphanumeric() || is_minus(rest) {
                let (word, behind) = rest.split_at(end_of_word(rest));
                rest = behind;
                return Some(word);
            }
            if is_sign(first) {
                let (sign, behind) = rest.split_at(first.len_utf8());
                rest = behind;
                return Some(sign);
            }
            rest = &rest[first.len_utf8()..];
        }
    })
}

fn is_minus(rest: &str) -> bool {
    let mut characters = rest.chars();
    matches!(characters.next(), Some('-' | '−')) && characters.next().is_some_and(char::is_numeric)
}

fn end_of_word(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((place, character)) = characters.next() {
        let goes_on = characters.peek().is_some_and(|(_, next)| next.is_alphanumeric());
        if !character.is_alphanumeric() && !(JOINING.contains(character) && goes_on) {
            return place;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, equal: bool) {
        assert_eq!(guard(one) == guard(other), equal, "{one} / {other}");
    }

    #[test]
    fn numbers_must_be_equal() {
        check("The rent is 500 a month.", "A month costs 500 of rent.", true);
        check("The rent is 500 a month.", "The rent is 600 a month.", false);
        check("It ends in 2024-01-31.", "It ends in 2024-01-13.", false);
        check("a loss of -5", "a loss of 5", false);
        check("1,000 pieces", "1.000 pieces", false);
        check("pay $5", "pay €5", false);
        check("from 5 to 7", "from 7 to 5", false);
        check("up to 5 %", "up to 5", false);
        check("where a < b", "where a > b", false);
        check("6 / 3", "6 - 3", false);
        check("(is it due?)", "is it due", true);
    }

    #[test]
    fn a_not_makes_another_question() {
        check("Is it possible to cancel?", "is it possible to cancel", true);
        check("It may be cancelled.", "It may not be cancelled.", false);
        check("It can be cancelled.", "It can't be cancelled.", false);
        check("with a notice", "without a notice", false);
        check("Die Kündigung ist möglich", "Die Kündigung ist nicht möglich", false);
        check("the price will increase", "the price will decrease", false);
    }

    #[test]
    fn names_and_their_order_must_be_equal() {
        check("What is the capital of France?", "what is the capital of Spain?", false);
        check("What is the capital of France?", "Tell me the capital of France", true);
        check("What is the capital of France?", "What's the capital of France?", true);
        check("Anna owes Ben money", "Ben owes Anna money", false);
        check("see clause AB-12", "see clause AB-21", false);
        check("Berlin rents", "Munich rents", false);
    }

    #[test]
    fn what_an_embedder_cannot_read_must_be_equal() {
        check("ราคาเท่าไร", "ราคาเท่าใด", false);
        check("цена дома", "цена машины", false);
        check("цена  дома!", "цена дома", true);
        check("a good day 🙂", "a good day 🙁", false);
        check(&"ab".repeat(60), &"ba".repeat(60), false);
        check("größer als das", "das ist größer", true);
    }

    #[test]
    fn words_hold_together_and_sentences_do_not() {
        let found: Vec<&str> = words("Pay $1,000.50 (or -3 %) by 31/12, don't wait... x—y").collect();
        assert_eq!(found, ["Pay", "$", "1,000.50", "or", "-3", "%", "by", "31/12", "don't", "wait", "x", "y"]);
        assert_eq!(numbers("2 of 10 in 1999."), ["2", "10", "1999"]);
        assert!(words("… – !").next().is_none());
    }
}
