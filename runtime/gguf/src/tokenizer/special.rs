use serde::Serialize;

use super::{Family, TokenizerFault, Vocabulary};
use crate::array::Strings;
use crate::metadata::{KeyFault, Metadata};

/// A token with a part to play in a prompt or an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecialToken {
    pub id: u32,
    pub text: String,
}

/// The tokens with a part to play, and which of them are added to each text.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SpecialTokens {
    /// Begins a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos: Option<SpecialToken>,
    /// Ends a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos: Option<SpecialToken>,
    /// Ends a turn of a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eot: Option<SpecialToken>,
    /// Ends a message within a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eom: Option<SpecialToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<SpecialToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<SpecialToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<SpecialToken>,
    pub add_bos: bool,
    pub add_eos: bool,
}

/// Texts of tokens that end a turn (`llama_vocab::impl::load`); those that end a whole text come last.
const END_OF_TURN: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
];

/// Where llama.cpp finds a special token, and what it takes where the file is silent (`llama_vocab::impl::load`).
struct Role {
    name: &'static str,
    key: &'static str,
    default: Option<u32>,
    /// Whether a number beyond the vocabulary is refused; files with a stray padding token are common and harmless.
    strict: bool,
}

/// Reads the special tokens and checks that those which llama.cpp adds to prompts are there.
pub(super) fn read(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
    pre: Option<&str>,
) -> Result<SpecialTokens, TokenizerFault> {
    let Vocabulary { model, family, tokens, .. } = *vocabulary;
    let defaults = defaults(model, family, pre);
    let find = |name, key, default, strict| find(metadata, tokens, &Role { name, key, default, strict });
    let eot = find("end of turn (eot)", "eot", None, true)?;
    let eom = find("end of message (eom)", "eom", None, true)?;
    let special = SpecialTokens {
        bos: find("first (bos)", "bos", defaults.bos, true)?,
        eos: find("last (eos)", "eos", defaults.eos, true)?,
        eot: eot.or_else(|| by_text(tokens, &END_OF_TURN)),
        eom: eom.or_else(|| by_text(tokens, &["<|eom_id|>"])),
        unknown: find("unknown", "unknown", defaults.unknown, false)?,
        separator: find("separator", "seperator", defaults.separator, false)?,
        padding: find("padding", "padding", defaults.padding, false)?,
        add_bos: always_adds_bos(model, pre) || flag(metadata, "add_bos")?.unwrap_or(defaults.add_bos),
        add_eos: flag(metadata, "add_eos")?.unwrap_or(defaults.add_eos),
    };
    check_added(&special, family)?;
    Ok(special)
}

/// The token whose text comes first among `texts`, as llama.cpp finds those that a file does not name.
fn by_text(tokens: &Strings, texts: &[&str]) -> Option<SpecialToken> {
    let marked = tokens.iter().enumerate().filter(|(_, token)| token.starts_with(['<', '[', '_']));
    let ranked = marked.filter_map(|(id, token)| Some((texts.iter().position(|text| *text == token)?, id)));
    let (_, id) = ranked.min()?;
    Some(SpecialToken { id: id as u32, text: tokens.text(id)?.to_owned() })
}

fn flag(metadata: &Metadata, name: &str) -> Result<Option<bool>, KeyFault> {
    metadata.flag(&format!("tokenizer.ggml.{name}_token"))
}

fn find(metadata: &Metadata, tokens: &Strings, role: &Role) -> Result<Option<SpecialToken>, TokenizerFault> {
    let named = metadata.u32(&format!("tokenizer.ggml.{}_token_id", role.key))?;
    let token = |id: u32| tokens.text(id as usize).map(|text| SpecialToken { id, text: text.to_owned() });
    match named {
        None => Ok(role.default.and_then(token)),
        Some(id) => match token(id) {
            None if role.strict => {
                Err(TokenizerFault::SpecialOutOfRange { role: role.name, id, tokens: tokens.len() as u64 })
            }
            None => Ok(role.default.and_then(token)),
            found => Ok(found),
        },
    }
}

/// `llama_tokenize` asserts that the tokens it adds exist.
fn check_added(special: &SpecialTokens, family: Family) -> Result<(), TokenizerFault> {
    let frames = family == Family::WordPiece;
    let missing = |role| Err(TokenizerFault::SpecialMissing { role });
    match special {
        _ if family == Family::Rwkv => Ok(()),
        SpecialTokens { bos: None, add_bos, .. } if *add_bos || frames => missing("first (bos)"),
        SpecialTokens { eos: None, add_eos: true, .. } if !frames => missing("last (eos)"),
        SpecialTokens { separator: None, .. } if frames => missing("separator"),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Defaults {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    separator: Option<u32>,
    padding: Option<u32>,
    add_bos: bool,
    add_eos: bool,
}

fn defaults(model: &str, family: Family, pre: Option<&str>) -> Defaults {
    let none = Defaults::default();
    match family {
        Family::SentencePiece => {
            Defaults { bos: Some(1), eos: Some(2), unknown: Some(0), add_bos: true, ..none }
        }
        Family::BytePair if model == "gemma4" => none,
        Family::BytePair => {
            Defaults { bos: Some(11), eos: Some(11), add_bos: pre.is_some_and(adds_bos), ..none }
        }
        Family::WordPiece => Defaults {
            bos: Some(101),
            unknown: Some(100),
            separator: Some(102),
            padding: Some(0),
            add_bos: true,
            ..none
        },
        Family::Unigram => {
            Defaults { eos: Some(1), unknown: Some(2), padding: Some(0), add_eos: true, ..none }
        }
        Family::Plamo => Defaults { bos: Some(1), eos: Some(2), unknown: Some(0), padding: Some(3), ..none },
        Family::Rwkv => none,
    }
}

/// Gemma 4's way of splitting words, for which llama.cpp adds the first token whatever the file says.
fn always_adds_bos(model: &str, pre: Option<&str>) -> bool {
    model == "gemma4" || matches!(pre, Some("gemma4" | "granite-embed-multi-311m"))
}

/// Ways of splitting words for which llama.cpp adds the first token unless the file says otherwise.
fn adds_bos(pre: &str) -> bool {
    const ADDING: [&str; 11] = [
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
        "chameleon",
    ];
    ADDING.contains(&pre)
}
