//! The vocabulary, checked for what llama.cpp asserts at load and walks into at the first prompt.

mod bytes;
mod charsmap;
mod special;

use serde::Serialize;
use thiserror::Error;

use crate::array::Strings;
use crate::metadata::{KeyFault, Metadata};
use crate::text::{Grouped, Quoted};
use crate::value::ValueType;

pub use special::{SpecialToken, SpecialTokens};

/// Bytes of one token; the longest in the wild, runs of dashes, have under 800.
const MAX_TOKEN_BYTES: usize = 4096;

/// Letters of a token that PLaMo splits into all its ends, which takes cubic time.
const MAX_PLAMO_LETTERS: usize = 128;

/// Bytes that llama.cpp may write for letters that stand for no byte; it repeats the whole token for each.
const MAX_EXPANSION: u64 = 64 * 1024 * 1024;

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

/// Number of llama.cpp's byte tokens among the types of tokens.
const TYPE_NORMAL: i64 = 1;
const TYPE_BYTE: i64 = 6;

/// How text becomes tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Tokenizer {
    /// The family, by llama.cpp's name: `gpt2` for byte-level BPE, `llama` for SentencePiece, ...
    pub model: String,
    /// The way BPE splits text into words, by llama.cpp's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre: Option<String>,
    /// Number of tokens.
    pub vocabulary: u32,
    /// Bytes of the longest token's text.
    pub longest_token: u32,
    pub special: SpecialTokens,
}

/// The algorithm behind a tokenizer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    SentencePiece,
    BytePair,
    WordPiece,
    Unigram,
    Rwkv,
    Plamo,
}

/// What is wrong with a vocabulary.
#[derive(Debug, Error)]
pub enum TokenizerFault {
    #[error("it has no vocabulary (tokenizer {model}), so text cannot become tokens")]
    None { model: Quoted },
    #[error("its tokenizer is {model}, which llama.cpp does not know")]
    Unknown { model: Quoted },
    #[error("its vocabulary is empty")]
    Empty,
    #[error("it has {} tokens but key {key} has {} entries", Grouped(*tokens), Grouped(*entries))]
    Lengths { key: &'static str, tokens: u64, entries: u64 },
    #[error("token {index} has the type {value}; 0 to 6 can be")]
    TokenType { index: usize, value: i64 },
    #[error("token {index} has the score NaN")]
    Score { index: usize },
    #[error("tokens {first} and {second} are both {text}, on which llama.cpp aborts")]
    Duplicate { first: usize, second: usize, text: Quoted },
    #[error("token {index} is {} bytes long, more than any known", Grouped(*length as u64))]
    TokenTooLong { index: usize, length: usize },
    #[error("token {index}, {text}, is marked as a byte; such a token reads <0x00> to <0xFF>")]
    ByteToken { index: usize, text: Quoted },
    #[error("token {index}, {text}, is marked as a byte, which {model} tokenizers do not have")]
    ByteTokenUnexpected { index: usize, text: Quoted, model: Quoted },
    #[error("no token stands for the byte 0x{byte:02X}: a prompt with it would end llama.cpp")]
    ByteMissing { byte: u8 },
    #[error("its tokens hold so many letters that stand for no byte that llama.cpp would write {} bytes for them", Grouped(*bytes))]
    Expansion { bytes: u64 },
    #[error("key \"tokenizer.ggml.merges\" is missing, which a gpt2 tokenizer needs")]
    NoMerges,
    #[error("token {id} is to be its {role} token but there are only {} tokens", Grouped(*tokens))]
    SpecialOutOfRange { role: &'static str, id: u32, tokens: u64 },
    #[error("a {role} token is to be added to each prompt but there is none, on which llama.cpp aborts")]
    SpecialMissing { role: &'static str },
    #[error("its character map (\"tokenizer.ggml.precompiled_charsmap\") is damaged: {what}")]
    CharacterMap { what: &'static str },
    #[error(transparent)]
    Key(#[from] KeyFault),
}

/// The checked tables of a vocabulary.
struct Vocabulary<'a> {
    model: &'a str,
    family: Family,
    tokens: &'a Strings,
    /// A type per token; empty where the file has none.
    types: Vec<i64>,
}

impl Tokenizer {
    /// Reads and checks the tokenizer out of a model's metadata.
    pub(crate) fn read(metadata: &Metadata) -> Result<Self, TokenizerFault> {
        let model = metadata.text(MODEL)?.ok_or_else(|| KeyFault::Missing { key: MODEL.into() })?;
        let family = family(model)?;
        let pre = metadata.text("tokenizer.ggml.pre")?;
        let tokens = metadata.strings(TOKENS)?.ok_or_else(|| KeyFault::Missing { key: TOKENS.into() })?;
        if tokens.is_empty() {
            return Err(TokenizerFault::Empty);
        }
        let vocabulary = Vocabulary { model, family, tokens, types: types(metadata, tokens.len())? };
        check_scores(metadata, tokens.len())?;
        check_merges(metadata, family, pre)?;
        let longest_token = check_lengths(&vocabulary)?;
        check_unique(tokens)?;
        bytes::check(&vocabulary, pre)?;
        charsmap::check(metadata, family)?;
        Ok(Self {
            model: model.to_owned(),
            pre: pre.map(str::to_owned),
            vocabulary: tokens.len() as u32,
            longest_token: longest_token as u32,
            special: special::read(metadata, &vocabulary, pre)?,
        })
    }
}

fn family(model: &str) -> Result<Family, TokenizerFault> {
    Ok(match model {
        "llama" => Family::SentencePiece,
        "gpt2" | "gemma4" | "hybriddna" | "whitespace" => Family::BytePair,
        "bert" => Family::WordPiece,
        "t5" => Family::Unigram,
        "rwkv" => Family::Rwkv,
        "plamo2" => Family::Plamo,
        "none" | "no_vocab" => return Err(TokenizerFault::None { model: model.into() }),
        _ => return Err(TokenizerFault::Unknown { model: model.into() }),
    })
}

fn types(metadata: &Metadata, tokens: usize) -> Result<Vec<i64>, TokenizerFault> {
    let Some(array) = metadata.array(TYPES)? else { return Ok(Vec::new()) };
    if array.length != tokens as u64 {
        return Err(TokenizerFault::Lengths { key: TYPES, tokens: tokens as u64, entries: array.length });
    }
    let types = match array.element {
        ValueType::I32 => array.integers().unwrap_or_default(),
        _ => return Err(wrong_element(TYPES, array.element, "an array of i32")),
    };
    match types.iter().position(|value| !(0..=6).contains(value)) {
        Some(index) => Err(TokenizerFault::TokenType { index, value: types[index] }),
        None => Ok(types),
    }
}

fn wrong_element(key: &str, found: ValueType, expected: &'static str) -> TokenizerFault {
    KeyFault::WrongType { key: key.into(), found: format!("array of {found}"), expected }.into()
}

fn check_scores(metadata: &Metadata, tokens: usize) -> Result<(), TokenizerFault> {
    let Some(array) = metadata.array(SCORES)? else { return Ok(()) };
    if array.length != tokens as u64 {
        return Err(TokenizerFault::Lengths { key: SCORES, tokens: tokens as u64, entries: array.length });
    }
    let Some(mut scores) = array.floats() else {
        return match array.element {
            ValueType::I32 => Ok(()),
            other => Err(wrong_element(SCORES, other, "an array of f32 or i32")),
        };
    };
    match scores.position(f32::is_nan) {
        Some(index) => Err(TokenizerFault::Score { index }),
        None => Ok(()),
    }
}

fn check_merges(metadata: &Metadata, family: Family, pre: Option<&str>) -> Result<(), TokenizerFault> {
    const MERGES: &str = "tokenizer.ggml.merges";
    match metadata.array(MERGES)? {
        Some(array) if array.element != ValueType::String => {
            Err(wrong_element(MERGES, array.element, "an array of strings"))
        }
        // Kimi K2 splits words by its own rules and has none.
        None if family == Family::BytePair && pre != Some("kimi-k2") => Err(TokenizerFault::NoMerges),
        _ => Ok(()),
    }
}

/// Returns the length of the longest token.
fn check_lengths(vocabulary: &Vocabulary<'_>) -> Result<usize, TokenizerFault> {
    let mut longest = 0;
    for (index, token) in vocabulary.tokens.iter().enumerate() {
        let length = token.len();
        let too_many_letters = vocabulary.family == Family::Plamo
            && length > MAX_PLAMO_LETTERS
            && token.chars().count() > MAX_PLAMO_LETTERS;
        if length > MAX_TOKEN_BYTES || too_many_letters {
            return Err(TokenizerFault::TokenTooLong { index, length });
        }
        longest = longest.max(length);
    }
    Ok(longest)
}

/// llama.cpp asserts that all tokens differ, after it has put `[EMPTY_7]` for an empty token 7.
fn check_unique(tokens: &Strings) -> Result<(), TokenizerFault> {
    use std::hash::{BuildHasher, RandomState};

    const FREE: u32 = u32::MAX;
    let hasher = RandomState::new();
    let mut slots = vec![FREE; (tokens.len() * 2).next_power_of_two()];
    let mask = slots.len() - 1;
    for (index, token) in tokens.iter().enumerate() {
        let token = seen_by_llama(index, token);
        let mut slot = hasher.hash_one(token.as_ref()) as usize & mask;
        while slots[slot] != FREE {
            let other = slots[slot] as usize;
            if tokens.text(other).is_some_and(|text| seen_by_llama(other, text) == token) {
                return Err(TokenizerFault::Duplicate {
                    first: other,
                    second: index,
                    text: Quoted::new(&token),
                });
            }
            slot = (slot + 1) & mask;
        }
        slots[slot] = index as u32;
    }
    Ok(())
}

fn seen_by_llama(index: usize, token: &str) -> std::borrow::Cow<'_, str> {
    if token.is_empty() { format!("[EMPTY_{index}]").into() } else { token.into() }
}
