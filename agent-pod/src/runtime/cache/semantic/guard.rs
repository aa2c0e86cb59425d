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
pub fn words(text: &str) -> impl Iterator<Item = &str> {
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
        if !(character.is_alphanumeric() || JOINING.contains(character) && goes_on) {
            return place;
        }
    }
    text.len()
}
