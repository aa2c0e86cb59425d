//! Builds a tokenizer from GGUF metadata: byte-level BPE with merges, or SentencePiece BPE with scores.

use std::collections::{HashMap, HashSet};

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use crate::generation::Error;
use crate::gguf::{self, Header};

use super::Kind;

/// SentencePiece writes spaces as this.
const LOW_LINE: char = '\u{2581}';
/// How Llama 3 cuts text before merging.
const LLAMA_3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How Qwen 2 does; Llama-family files by others use it too.
const QWEN_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Which of the two families a tokenizer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    ByteLevel,
    SentencePiece { prefixes_space: bool },
}

impl Scheme {
    pub(super) fn read(header: &Header) -> Result<Self, Error> {
        match header.text("tokenizer.ggml.model").map_err(Error::Header)? {
            "gpt2" => Ok(Self::ByteLevel),
            "llama" => {
                let prefixes = gguf::optional(header.bool("tokenizer.ggml.add_space_prefix")).map_err(Error::Header)?;
                Ok(Self::SentencePiece { prefixes_space: prefixes.unwrap_or(true) })
            }
            other => Err(Error::Tokenizer(format!("the kind \"{other}\" is not supported, only gpt2 and llama"))),
        }
    }

    pub(super) fn prefixes_space(self) -> bool {
        self == Self::SentencePiece { prefixes_space: true }
    }

    pub(super) fn adds_begin_by_default(self) -> bool {
        self != Self::ByteLevel
    }

    /// Most bytes of a text that become this token.
    pub(super) fn most_bytes(self, token: &str, kind: Kind) -> usize {
        match (self, kind) {
            // A character of the token is a byte of the text.
            (Self::ByteLevel, Kind::Text | Kind::Byte) => token.chars().count(),
            _ => token.len(),
        }
    }

    /// The bytes of texts that are sure to become part of a token: others are left out, or many become one unknown token.
    pub(super) fn kept_bytes(self, tokens: &[String]) -> [bool; 256] {
        let mut kept = [false; 256];
        match self {
            Self::ByteLevel => {
                for token in tokens {
                    let mut characters = token.chars();
                    if let (Some(only), None) = (characters.next(), characters.next())
                        && let Some(byte) = byte_of(only)
                    {
                        kept[usize::from(byte)] = true;
                    }
                }
            }
            Self::SentencePiece { .. } => {
                let known: HashSet<&str> = tokens.iter().map(String::as_str).collect();
                // No UTF-8 holds the others.
                let mut bytes = (0x00..=0xbf).chain(0xc2..=0xf4_u8);
                kept.fill(bytes.all(|byte| known.contains(format!("<{byte:#04X}>").as_str())));
            }
        }
        kept
    }

    /// Appends what a token stands for.
    pub(super) fn append_bytes(self, token: &str, kind: Kind, bytes: &mut Vec<u8>) {
        match (self, kind) {
            (_, Kind::Control) => {}
            (_, Kind::Fixed) => bytes.extend_from_slice(token.replace(LOW_LINE, " ").as_bytes()),
            (Self::ByteLevel, _) => {
                let mapped: Option<Vec<u8>> = token.chars().map(byte_of).collect();
                bytes.extend(mapped.unwrap_or_else(|| token.as_bytes().to_vec()));
            }
            (Self::SentencePiece { .. }, Kind::Byte) => {
                let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                bytes.extend(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()));
            }
            (Self::SentencePiece { .. }, _) => bytes.extend_from_slice(token.replace(LOW_LINE, " ").as_bytes()),
        }
    }
}

/// The tokenizer without control tokens: they are this module's parent's affair.
pub(super) fn build(header: &Header, scheme: Scheme, tokens: &[String], kinds: &[Kind]) -> Result<Tokenizer, Error> {
    let mut tokenizer = match scheme {
        Scheme::ByteLevel => byte_level(header, tokens)?,
        Scheme::SentencePiece { prefixes_space } => sentence_piece(header, tokens, kinds, prefixes_space)?,
    };
    let fixed = tokens.iter().zip(kinds).filter(|(token, kind)| **kind == Kind::Fixed && !token.is_empty());
    let fixed: Vec<_> = fixed.map(|(token, _)| AddedToken::from(token.as_str(), false).normalized(false)).collect();
    tokenizer.add_tokens(fixed).map_err(failed)?;
    Ok(tokenizer)
}

fn byte_level(header: &Header, tokens: &[String]) -> Result<Tokenizer, Error> {
    let pre = gguf::optional(header.text("tokenizer.ggml.pre")).map_err(Error::Header)?.unwrap_or("default");
    let known: HashSet<&str> = tokens.iter().map(String::as_str).collect();
    let mut merges = Vec::new();
    for merge in header.texts("tokenizer.ggml.merges").map_err(Error::Header)? {
        let (left, right) =
            merge.split_once(' ').ok_or_else(|| Error::Tokenizer(format!("\"{merge}\" is no merge")))?;
        // Checked here because the library trusts its input to that point.
        if ![left, right].iter().all(|part| known.contains(part)) || !known.contains([left, right].concat().as_str()) {
            return Err(Error::Tokenizer(format!("the merge \"{merge}\" is not of tokens")));
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    let ignores_merges = matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
    let model = BPE::builder().vocab_and_merges(numbered(tokens), merges).ignore_merges(ignores_merges);
    let mut tokenizer = Tokenizer::new(model.build().map_err(failed)?);
    tokenizer.with_pre_tokenizer(Some(cutter(pre)?));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    Ok(tokenizer)
}

fn cutter(pre: &str) -> Result<PreTokenizerWrapper, Error> {
    let by_pattern = |pattern: &str| -> Result<PreTokenizerWrapper, Error> {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
        Ok(PreTokenizers::new(vec![split.into(), ByteLevel::new(false, false, false).into()]).into())
    };
    match pre {
        "default" | "gpt-2" | "gpt2" => Ok(ByteLevel::new(false, false, true).into()),
        "smollm" | "starcoder" | "refact" | "command-r" => {
            Ok(PreTokenizers::new(vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()]).into())
        }
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => by_pattern(LLAMA_3),
        "qwen2" | "deepseek-r1-qwen" => by_pattern(QWEN_2),
        other => Err(Error::Tokenizer(format!("how \"{other}\" cuts text is not known"))),
    }
}

fn sentence_piece(
    header: &Header,
    tokens: &[String],
    kinds: &[Kind],
    prefixes_space: bool,
) -> Result<Tokenizer, Error> {
    let scores = header.floats("tokenizer.ggml.scores").map_err(Error::Header)?;
    if scores.len() != tokens.len() {
        return Err(Error::Tokenizer(format!("{} scores for {} tokens", scores.len(), tokens.len())));
    }
    let mut model = BPE::builder()
        .vocab_and_merges(numbered(tokens), merges_from_scores(tokens, kinds, scores))
        .byte_fallback(true)
        .fuse_unk(true);
    let unknown = gguf::optional(header.integer("tokenizer.ggml.unknown_token_id")).map_err(Error::Header)?;
    if let Some(token) = unknown.and_then(|id| tokens.get(usize::try_from(id).ok()?)) {
        model = model.unk_token(token.clone());
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(failed)?);
    let spaces = Replace::new(" ", LOW_LINE.to_string()).map_err(failed)?;
    if prefixes_space {
        let parts = vec![Prepend::new(LOW_LINE.to_string()).into(), spaces.into()];
        tokenizer.with_normalizer(Some(Normalizers::new(parts))).map_err(failed)?;
    } else {
        tokenizer.with_normalizer(Some(spaces)).map_err(failed)?;
    }
    let back = Replace::new(LOW_LINE.to_string(), " ").map_err(failed)?;
    let decoders = vec![back.into(), ByteFallback::new().into(), Fuse::new().into()];
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// SentencePiece always merges the pair whose result scores best; as a list of merges that is every way to cut every
/// token in two, best results first.
fn merges_from_scores(tokens: &[String], kinds: &[Kind], scores: &[f32]) -> Vec<(String, String)> {
    let mergeable = |index: usize| kinds[index] == Kind::Text || kinds[index] == Kind::Fixed;
    let numbers: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|(index, _)| mergeable(*index))
        .map(|(i, token)| (token.as_str(), i))
        .collect();
    let mut cuts: Vec<(usize, usize, usize)> = Vec::new();
    for (index, token) in tokens.iter().enumerate().filter(|(index, _)| mergeable(*index)) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&left), Some(&right)) = (numbers.get(left), numbers.get(right)) {
                cuts.push((index, left, right));
            }
        }
    }
    cuts.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then((a.0, a.1, a.2).cmp(&(b.0, b.1, b.2))));
    cuts.into_iter().map(|(_, left, right)| (tokens[left].clone(), tokens[right].clone())).collect()
}

fn numbered(tokens: &[String]) -> Vocab {
    tokens.iter().enumerate().map(|(index, token)| (token.clone(), index as u32)).collect()
}

/// The byte that GPT-2's alphabet writes as this character.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        // The other bytes follow from 256 on, in their order: 0..=32, 127..=160, 173.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 127).ok(),
        0x143 => Some(173),
        _ => None,
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Tokenizer(error.to_string())
}
