//! The vocabulary of emulated models: up to three bytes of text are one token, so a text has about as many tokens as a
//! real vocabulary gives it.

use dunlin_engine_handle::Token;

/// Begins every sequence.
pub const BOS: Token = 1;
/// Ends every turn.
pub const END_OF_TURN: Token = 2;

/// Bytes of a token.
const TOKEN_BYTES: usize = 3;

/// One more than the largest token.
pub(crate) const VOCABULARY: u32 = (TOKEN_BYTES as u32 + 1) << 24;

/// The tokens of `text`. A word begins a new token, so a text that is continued after a word keeps its tokens.
pub fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len() / 2);
    let mut word = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b' ' && at > word {
            tokens.extend(text.as_bytes()[word..at].chunks(TOKEN_BYTES).map(token));
            word = at;
        }
    }
    tokens.extend(text.as_bytes()[word..].chunks(TOKEN_BYTES).map(token));
    tokens
}

fn token(bytes: &[u8]) -> Token {
    let length = (bytes.len() as u32) << 24;
    bytes.iter().fold(0, |token, &byte| token << 8 | u32::from(byte)) | length
}

/// The bytes that the tokens stand for, control tokens left out. `None` for what is no token.
pub fn detokenize(tokens: &[Token]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(TOKEN_BYTES * tokens.len());
    for &token in tokens {
        let [length, bytes @ ..] = token.to_be_bytes();
        match usize::from(length) {
            0 if [BOS, END_OF_TURN].contains(&token) => {}
            length @ 1..=TOKEN_BYTES => text.extend(&bytes[TOKEN_BYTES - length..]),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, tokens: usize) {
        let found = tokenize(text);
        assert_eq!(found.len(), tokens, "{text:?}");
        assert_eq!(detokenize(&found).unwrap(), text.as_bytes());
        assert!(found.iter().all(|&token| (1 << 24..VOCABULARY).contains(&token)));
    }

    #[test]
    fn texts_are_cut_at_words_and_put_together_again() {
        check("", 0);
        check("a", 1);
        check("the cat", 3);
        check("the cat sat", 5);
        check("  x", 2);
        check("ñandú 🦩", 5);
        let (begin, whole) = (tokenize("the cat"), tokenize("the cat sat"));
        assert!(whole.starts_with(&begin));
    }

    #[test]
    fn control_tokens_have_no_text_and_others_do_not_exist() {
        assert_eq!(detokenize(&[BOS, END_OF_TURN]), Some(vec![]));
        for other in [0, 3, VOCABULARY, u32::MAX] {
            assert_eq!(detokenize(&[other]), None);
        }
    }
}
