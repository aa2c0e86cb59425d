//! Answers forced into a JSON schema: compiles schemas once, and follows one answer through its grammar.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use blake3::Hash;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::generation::Error;
use crate::generation::closing::ending;
use crate::generation::vocabulary::Vocabulary;

/// Compiled schemas kept; a pipeline has a handful.
const MOST_SCHEMAS: usize = 32;
/// Answers that share one lexer, whose states they all add to, before it is made anew.
const USES_OF_A_LEXER: usize = 64;
/// One to two kilobytes each; one answer takes some hundreds.
const MOST_LEXER_STATES: usize = 20_000;
/// Larger schemas than any in use, small enough to compile within a second.
const LARGEST_GRAMMAR: usize = 50_000;
const COMPILE_FUEL: u64 = 500_000;
/// The library's trie holds at most this many bytes of tokens.
const LARGEST_TRIE: usize = 1 << 22;
/// The trie's limit for one token is 1024.
const LONGEST_TOKEN: usize = 1000;
/// Longer endings are not looked for: a schema with longer shortest answers is refused.
const LONGEST_ENDING: usize = 4096;

/// Compiles schemas for one model.
pub(super) struct Schemas {
    vocabulary: Arc<Vocabulary>,
    factory: OnceLock<Result<ParserFactory, String>>,
    compiled: Mutex<VecDeque<Compiled>>,
}

struct Compiled {
    digest: Hash,
    pristine: Matcher,
    uses: usize,
    start: Start,
}

/// Where every answer under a schema starts.
#[derive(Clone)]
struct Start {
    /// After the beginning. Shares its lexer, and what that has learned, with the answers in work.
    matcher: Matcher,
    /// The tokens that leave no choice.
    beginning: Vec<TokenId>,
    /// How the answer can end after them.
    ending: Vec<TokenId>,
}

/// One answer's way through its schema.
#[derive(Clone)]
pub(super) struct Constraint {
    matcher: Matcher,
    vocabulary: Arc<Vocabulary>,
    /// The tokens that every answer begins with; they are taken already.
    pub(super) beginning: Vec<TokenId>,
    /// A way to end the answer from where it is.
    ending: Option<Vec<TokenId>>,
    /// Above this many tokens left, no single token can make the ending too long.
    watched_below: usize,
}

impl Schemas {
    pub(super) fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, factory: OnceLock::new(), compiled: Mutex::new(VecDeque::new()) }
    }

    /// The start of an answer under `schema` that fits into `max_tokens`.
    pub(super) fn constraint(&self, schema: &Value, max_tokens: usize) -> Result<Constraint, Error> {
        let digest = blake3::hash(schema.to_string().as_bytes());
        let start = match self.cached(digest) {
            Some(found) => found,
            None => self.compile(digest, schema)?,
        };
        let needed = start.beginning.len() + start.ending.len();
        if needed > max_tokens {
            return Err(Error::SchemaTooLong { needed, max_tokens });
        }
        Ok(Constraint {
            matcher: start.matcher,
            vocabulary: Arc::clone(&self.vocabulary),
            beginning: start.beginning,
            ending: Some(start.ending),
            // Opening one more object or list of the schema costs at most about the whole of it.
            watched_below: 2 * needed + 64,
        })
    }

    fn cached(&self, digest: Hash) -> Option<Start> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let index = compiled.iter().position(|compiled| compiled.digest == digest)?;
        let mut found = compiled.remove(index)?;
        found.uses += 1;
        if found.uses % USES_OF_A_LEXER == 0 || found.start.is_broken() {
            found.start.matcher = found.pristine.deep_clone();
        }
        let start = found.start.clone();
        compiled.push_back(found);
        Some(start)
    }

    fn compile(&self, digest: Hash, schema: &Value) -> Result<Start, Error> {
        let factory = self.factory.get_or_init(|| factory(&self.vocabulary)).as_ref();
        let factory = factory.map_err(|reason| Error::Schema(reason.clone()))?;
        let Value::Object(fields) = schema else {
            return Err(Error::Schema("the schema is not an object".to_owned()));
        };
        let mut fields = fields.clone();
        // Free whitespace would let a model write nothing else until its tokens run out.
        let spacing = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
        fields.insert("x-guidance".to_owned(), spacing);
        let grammar = TopLevelGrammar::from_json_schema(Value::Object(fields));
        let parser = factory.create_parser(grammar).map_err(|error| Error::Schema(first_line(&error.to_string())))?;
        let mut pristine = Matcher::new(Ok(parser));
        let beginning = pristine.consume_ff_tokens();
        if let Some(reason) = pristine.get_error() {
            return Err(Error::Schema(first_line(&reason)));
        }
        let matcher = pristine.deep_clone();
        let ending = ending(&matcher, &self.vocabulary, LONGEST_ENDING)
            .ok_or_else(|| Error::Schema("no answer was found that ends".to_owned()))?;
        let start = Start { matcher, beginning, ending };
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= MOST_SCHEMAS {
            compiled.pop_front();
        }
        compiled.push_back(Compiled { digest, pristine, uses: 0, start: start.clone() });
        Ok(start)
    }
}

impl Start {
    /// Whether the lexer takes nothing any more, as after too many states: it never recovers.
    fn is_broken(&self) -> bool {
        let mut matcher = self.matcher.clone();
        self.ending.first().is_some_and(|&token| matcher.consume_token(token).is_err())
    }
}

/// What taking a token led to.
pub(super) enum Taken {
    /// The token, and those that the schema then leaves no choice about.
    Tokens(Vec<TokenId>),
    /// The token would have led too far: these end the answer instead.
    Ending(Vec<TokenId>),
}

impl Constraint {
    /// The tokens that may come next.
    pub(super) fn allowed(&mut self) -> Result<SimpleVob, Error> {
        self.matcher.compute_mask().map_err(follow)
    }

    /// Takes a token, unless no ending would fit after it into the `left` tokens that remain, it included.
    pub(super) fn take(&mut self, token: TokenId, left: usize) -> Result<Taken, Error> {
        let mut next = self.matcher.clone();
        let mut tokens = vec![token];
        next.consume_token(token).map_err(follow)?;
        if !next.is_stopped() {
            tokens.extend(next.consume_ff_tokens());
        }
        if tokens.len() + self.watched_below <= left {
            self.matcher = next;
            self.ending = None;
            return Ok(Taken::Tokens(tokens));
        }
        let before = match self.ending.take() {
            Some(before) => Some(before),
            None => ending(&self.matcher, &self.vocabulary, left),
        };
        let after = left.checked_sub(tokens.len()).and_then(|left| ending(&next, &self.vocabulary, left));
        match (before, after) {
            (Some(before), None) if before.len() <= left => Ok(Taken::Ending(before)),
            (_, after) => {
                self.matcher = next;
                self.ending = after;
                Ok(Taken::Tokens(tokens))
            }
        }
    }

    /// Whether nothing can follow.
    pub(super) fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Whether the answer matches the schema as it stands.
    pub(super) fn is_accepting(&mut self) -> bool {
        self.is_complete() || self.matcher.is_accepting().unwrap_or(false)
    }
}

fn factory(vocabulary: &Arc<Vocabulary>) -> Result<ParserFactory, String> {
    let environment: TokEnv = Arc::new(Environment::new(vocabulary)?);
    let capabilities = InferenceCapabilities { ff_tokens: !vocabulary.prefixes_space(), ..Default::default() };
    let slices = llguidance::earley::SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&environment, capabilities, &slices).map_err(|error| error.to_string())?;
    factory.quiet();
    let limits = factory.limits_mut();
    limits.max_lexer_states = MOST_LEXER_STATES;
    limits.max_grammar_size = LARGEST_GRAMMAR;
    limits.initial_lexer_fuel = COMPILE_FUEL;
    limits.verbose_errors = false;
    Ok(factory)
}

/// The vocabulary as llguidance wants to see it.
struct Environment {
    vocabulary: Arc<Vocabulary>,
    trie: TokTrie,
}

impl Environment {
    fn new(vocabulary: &Arc<Vocabulary>) -> Result<Self, String> {
        let mut words: Vec<Vec<u8>> = Vec::with_capacity(vocabulary.len());
        words.extend((0..vocabulary.len()).map(|token| vocabulary.bytes_of(token as u32).to_vec()));
        for (name, token) in vocabulary.controls() {
            words[token as usize] = [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat();
        }
        words.iter_mut().filter(|word| word.len() > LONGEST_TOKEN).for_each(Vec::clear);
        if words.iter().map(Vec::len).sum::<usize>() >= LARGEST_TRIE {
            return Err("the model's vocabulary is too large for schemas".to_owned());
        }
        let ends = vocabulary.ends();
        let info = TokRxInfo::new(words.len() as u32, ends[0]);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(ends);
        Ok(Self { vocabulary: Arc::clone(vocabulary), trie })
    }
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let encode = |text: &str| {
            let greedy = |_| self.trie.greedy_tokenize(text.as_bytes());
            self.vocabulary.encode_text(text).unwrap_or_else(greedy)
        };
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }

    fn tokenize_is_canonical(&self) -> bool {
        !self.vocabulary.prefixes_space()
    }
}

fn follow(error: impl std::fmt::Display) -> Error {
    Error::FollowSchema(first_line(&error.to_string()))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::samples::sentence_piece;

    #[test]
    fn an_answer_that_breaks_the_lexer_fails_none_that_comes_later() {
        let vocabulary = Vocabulary::read(&sentence_piece(), 1000).expect("a vocabulary");
        let schemas = Schemas::new(Arc::new(vocabulary));
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
                            "additionalProperties": false});
        let answer = || schemas.constraint(&schema, 64).expect("a short answer fits");
        let mut breaking = answer();
        assert!(breaking.allowed().is_ok());
        breaking.matcher.test_trigger_lexer_error().expect_err("the lexer breaks");
        assert!(breaking.allowed().is_err());
        assert!(answer().allowed().is_ok());
    }
}
