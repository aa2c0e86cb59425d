//! A model's tokens: text to numbers and back, with control tokens recognised only where a template wrote them.

mod tokenizer;

use std::collections::HashMap;
use std::sync::Arc;

use tokenizers::Tokenizer;

use crate::generation::Error;
use crate::gguf::{self, Header};

use tokenizer::Scheme;

/// Ends of turns and texts that files name in no metadata of their own.
const KNOWN_ENDS: [&str; 8] =
    ["<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "<|end|>"];

/// The numbers of `tokenizer.ggml.token_type` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Control,
    /// Text that is one token wherever it appears.
    Fixed,
    Byte,
}

/// Tokens of one model, shared by all threads.
pub(in crate::generation) struct Vocabulary {
    /// Knows no control tokens: whatever it reads is text.
    tokenizer: Arc<Tokenizer>,
    /// The bytes of each token; none for control tokens.
    bytes: Vec<u8>,
    ends_of_bytes: Vec<u32>,
    controls: HashMap<String, u32>,
    /// Byte lengths of the controls, longest first.
    control_lengths: Vec<usize>,
    ends: Vec<u32>,
    begin: Option<u32>,
    adds_begin: bool,
    pub(in crate::generation) begin_text: String,
    pub(in crate::generation) end_text: String,
    /// Whether encoding a text may put a space before it, so that texts cannot be encoded in parts.
    prefixes_space: bool,
    /// Most bytes of a text that become one token.
    longest: usize,
    /// The bytes of texts that are sure to become part of a token.
    kept: [bool; 256],
}

impl Vocabulary {
    pub(in crate::generation) fn read(header: &Header, rows: usize) -> Result<Self, Error> {
        let tokens = header.texts("tokenizer.ggml.tokens").map_err(Error::Header)?;
        if tokens.is_empty() || tokens.len() > rows {
            return Err(Error::Tokenizer(format!("{} tokens for a model of {rows}", tokens.len())));
        }
        let kinds = kinds(header, tokens.len())?;
        let scheme = Scheme::read(header)?;
        let tokenizer = tokenizer::build(header, scheme, tokens, &kinds)?;
        let id = |key: &str| -> Result<Option<u32>, Error> {
            let found = gguf::optional(header.integer(key)).map_err(Error::Header)?;
            Ok(found.and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < tokens.len()))
        };
        let mut controls = HashMap::new();
        for (number, (token, kind)) in tokens.iter().zip(&kinds).enumerate() {
            if *kind == Kind::Control && !token.is_empty() {
                controls.insert(token.clone(), number as u32);
            }
        }
        let begin = id("tokenizer.ggml.bos_token_id")?;
        let end = id("tokenizer.ggml.eos_token_id")?;
        let mut ends: Vec<u32> = end.into_iter().chain(id("tokenizer.ggml.eot_token_id")?).collect();
        ends.extend(KNOWN_ENDS.iter().filter_map(|text| controls.get(*text)));
        ends.sort_unstable();
        ends.dedup();
        if ends.is_empty() {
            return Err(Error::Tokenizer("the file names no token that ends a text".to_owned()));
        }
        let mut control_lengths: Vec<usize> = controls.keys().map(String::len).collect();
        control_lengths.sort_unstable_by(|a, b| b.cmp(a));
        control_lengths.dedup();
        let mut bytes = Vec::new();
        let mut ends_of_bytes = Vec::with_capacity(tokens.len());
        for (token, kind) in tokens.iter().zip(&kinds) {
            scheme.append_bytes(token, *kind, &mut bytes);
            ends_of_bytes.push(u32::try_from(bytes.len()).map_err(|_| Error::Tokenizer("too much text".to_owned()))?);
        }
        let lengths = tokens.iter().zip(&kinds).map(|(token, kind)| scheme.most_bytes(token, *kind));
        let longest = lengths.max().unwrap_or(0).max(1);
        let text_of = |id: Option<u32>| id.map_or_else(String::new, |id| tokens[id as usize].clone());
        let adds_begin = gguf::optional(header.bool("tokenizer.ggml.add_bos_token")).map_err(Error::Header)?;
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            bytes,
            ends_of_bytes,
            controls,
            control_lengths,
            ends,
            begin,
            adds_begin: adds_begin.unwrap_or(scheme.adds_begin_by_default()),
            begin_text: text_of(begin),
            end_text: text_of(end),
            prefixes_space: scheme.prefixes_space(),
            longest,
            kept: scheme.kept_bytes(tokens),
        })
    }

    pub(in crate::generation) fn tokenizer(&self) -> Arc<Tokenizer> {
        Arc::clone(&self.tokenizer)
    }

    pub(in crate::generation) fn len(&self) -> usize {
        self.ends_of_bytes.len()
    }

    /// Tokens that end an answer.
    pub(in crate::generation) fn ends(&self) -> &[u32] {
        &self.ends
    }

    pub(in crate::generation) fn is_end(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    pub(in crate::generation) fn prefixes_space(&self) -> bool {
        self.prefixes_space
    }

    pub(in crate::generation) fn controls(&self) -> impl Iterator<Item = (&str, u32)> {
        self.controls.iter().map(|(text, &id)| (text.as_str(), id))
    }

    /// The bytes that a token stands for; none for a control token or an unknown number.
    pub(in crate::generation) fn bytes_of(&self, token: u32) -> &[u8] {
        let index = token as usize;
        let Some(&end) = self.ends_of_bytes.get(index) else { return &[] };
        let start = if index == 0 { 0 } else { self.ends_of_bytes[index - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// The tokens of a text; nothing in it is a control token.
    pub(in crate::generation) fn encode_text(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoded = self.tokenizer.encode_fast(text, false).map_err(|error| Error::Tokenise(error.to_string()))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// So many tokens a prompt has at least, found without the cost of [`Self::encode_prompt`].
    pub(in crate::generation) fn least_tokens(&self, prompt: &str, broken_by: Option<char>) -> usize {
        let kept = prompt.bytes().filter(|&byte| self.kept[usize::from(byte)]).count();
        let removed = broken_by.map_or(0, |breaker| prompt.matches(breaker).count() * breaker.len_utf8());
        kept.saturating_sub(removed).div_ceil(self.longest)
    }

    /// The tokens of a prompt in which control tokens count, with the beginning token where the model wants one.
    /// `broken_by` is removed from what lies between control tokens: it kept their names in messages from being read
    /// as such.
    pub(in crate::generation) fn encode_prompt(
        &self,
        prompt: &str,
        broken_by: Option<char>,
    ) -> Result<Vec<u32>, Error> {
        let mut tokens = Vec::new();
        let mut text_start = 0;
        let mut at = 0;
        while at < prompt.len() {
            let Some((control, length)) = self.control_at(prompt, at) else {
                at += prompt[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            self.append_text(&prompt[text_start..at], broken_by, &mut tokens)?;
            tokens.push(control);
            at += length;
            text_start = at;
        }
        self.append_text(&prompt[text_start..], broken_by, &mut tokens)?;
        match self.begin {
            Some(begin) if self.adds_begin && tokens.first() != Some(&begin) => tokens.insert(0, begin),
            _ => {}
        }
        Ok(tokens)
    }

    /// Breaks the names of control tokens in a message apart with a character that the message does not hold.
    pub(in crate::generation) fn broken_apart(&self, content: &str, breaker: char) -> String {
        let mut broken = String::with_capacity(content.len());
        for (at, character) in content.char_indices() {
            broken.push(character);
            if self.control_at(content, at).is_some() {
                broken.push(breaker);
            }
        }
        broken
    }

    pub(in crate::generation) fn names_control(&self, content: &str) -> bool {
        content.char_indices().any(|(at, _)| self.control_at(content, at).is_some())
    }

    fn append_text(&self, text: &str, broken_by: Option<char>, tokens: &mut Vec<u32>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let whole = broken_by.filter(|&breaker| text.contains(breaker)).map(|breaker| text.replace(breaker, ""));
        tokens.extend(self.encode_text(whole.as_deref().unwrap_or(text))?);
        Ok(())
    }

    fn control_at(&self, text: &str, at: usize) -> Option<(u32, usize)> {
        let rest = &text[at..];
        // All control tokens in use begin so; a longer search would cost every prompt.
        if !rest.starts_with(['<', '[', '|', '\u{ff5c}']) {
            return None;
        }
        self.control_lengths.iter().find_map(|&length| {
            let name = rest.get(..length)?;
            self.controls.get(name).map(|&id| (id, length))
        })
    }
}

fn kinds(header: &Header, count: usize) -> Result<Vec<Kind>, Error> {
    let Some(types) = gguf::optional(header.integers("tokenizer.ggml.token_type")).map_err(Error::Header)? else {
        return Ok(vec![Kind::Text; count]);
    };
    if types.len() != count {
        return Err(Error::Tokenizer(format!("{} token types for {count} tokens", types.len())));
    }
    Ok(types
        .iter()
        .map(|kind| match kind {
            2 | 3 => Kind::Control,
            4 => Kind::Fixed,
            6 => Kind::Byte,
            _ => Kind::Text,
        })
        .collect())
}
