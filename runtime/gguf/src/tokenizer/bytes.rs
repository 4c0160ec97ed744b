use super::{Family, MAX_EXPANSION, TYPE_BYTE, TYPE_NORMAL, TokenizerFault, Vocabulary};
use crate::text::Quoted;

/// Checks the tokens that stand for single bytes.
pub(super) fn check(vocabulary: &Vocabulary<'_>, pre: Option<&str>) -> Result<(), TokenizerFault> {
    check_marked(vocabulary)?;
    match vocabulary.family {
        Family::SentencePiece => check_fallback(vocabulary, byte_of),
        Family::Plamo => check_fallback(vocabulary, |token| token.strip_prefix("<0x").and(byte_of(token))),
        Family::Rwkv => check_fallback(vocabulary, rwkv_byte),
        Family::BytePair if !escapes_whitespace(vocabulary.model, pre) => check_expansion(vocabulary),
        _ => Ok(()),
    }
}

/// llama.cpp cuts two digits out of each token marked as a byte; one PLaMo token `<0x-1>` wrote out of bounds.
fn check_marked(vocabulary: &Vocabulary<'_>) -> Result<(), TokenizerFault> {
    for (index, _) in vocabulary.types.iter().enumerate().filter(|(_, kind)| **kind == TYPE_BYTE) {
        let token = vocabulary.tokens.text(index).unwrap_or_default();
        if vocabulary.family == Family::WordPiece {
            let model = vocabulary.model.into();
            return Err(TokenizerFault::ByteTokenUnexpected { index, text: Quoted::new(token), model });
        }
        if hexadecimal(token).is_none() {
            return Err(TokenizerFault::ByteToken { index, text: Quoted::new(token) });
        }
    }
    Ok(())
}

/// Where a text has no token, llama.cpp looks up its bytes, and throws through its C interface if one is missing.
fn check_fallback(
    vocabulary: &Vocabulary<'_>,
    byte_of: impl Fn(&str) -> Option<u8>,
) -> Result<(), TokenizerFault> {
    let mut found = [false; 256];
    for byte in vocabulary.tokens.iter().filter_map(byte_of) {
        found[usize::from(byte)] = true;
    }
    match (0..=u8::MAX).find(|byte| !found[usize::from(*byte)]) {
        Some(byte) => Err(TokenizerFault::ByteMissing { byte }),
        None => Ok(()),
    }
}

/// The byte that a SentencePiece token stands for: `<0x0A>`, or the letter itself.
fn byte_of(token: &str) -> Option<u8> {
    match token.as_bytes() {
        [byte] => Some(*byte),
        _ => hexadecimal(token),
    }
}

fn hexadecimal(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper = |digit: u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit);
    if digits.len() != 2 || !digits.bytes().all(upper) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// The byte that an RWKV token stands for, escaped as `llama_unescape_rwkv_token` reads it.
///
/// Its tokenizer goes round for ever at a byte that begins a token and is none.
fn rwkv_byte(token: &str) -> Option<u8> {
    match token.as_bytes() {
        [b'\\', b't'] => Some(b'\t'),
        [b'\\', b'n'] => Some(b'\n'),
        [b'\\', b'r'] => Some(b'\r'),
        // llama.cpp reads lower-case digits only.
        [b'\\', b'x', digits @ ..] if digits.len() == 2 && !digits.iter().any(u8::is_ascii_uppercase) => {
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        }
        [b'\\', byte] | [byte] => Some(*byte),
        _ => None,
    }
}

fn escapes_whitespace(model: &str, pre: Option<&str>) -> bool {
    model == "gemma4" || matches!(pre, Some("gemma4" | "granite-embed-multi-311m" | "mmbert" | "sarvam-moe"))
}

/// For a letter that stands for no byte, `llama_decode_text` writes the whole token once more.
fn check_expansion(vocabulary: &Vocabulary<'_>) -> Result<(), TokenizerFault> {
    /// `[UNK_BYTE_0x`, the letter's digits and `]`.
    const FRAME: usize = 24;
    let mut bytes = 0;
    for (index, token) in vocabulary.tokens.iter().enumerate() {
        let is_text = vocabulary.types.get(index).is_none_or(|kind| *kind == TYPE_NORMAL);
        if is_text && !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let foreign = token.chars().filter(|letter| !stands_for_byte(*letter)).count();
            bytes += (foreign * (token.len() + FRAME)) as u64;
        }
    }
    if bytes > MAX_EXPANSION { Err(TokenizerFault::Expansion { bytes }) } else { Ok(()) }
}

/// Whether a letter is one of the 256 that GPT-2 writes for bytes (`unicode_byte_to_utf8_map` of llama.cpp).
fn stands_for_byte(letter: char) -> bool {
    matches!(letter, '!'..='~' | '¡'..='¬' | '®'..='ÿ' | '\u{100}'..='\u{143}')
}
