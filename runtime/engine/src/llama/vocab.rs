//! Text to tokens and back.

use std::{ffi::c_char, marker::PhantomData};

use llama_cpp_sys_2 as sys;

use dunlin_engine_handle::Token;

/// Longest text that is tokenized at once, in bytes: llama.cpp counts in `int32_t`.
const MAX_TEXT: usize = i32::MAX as usize / 4;

/// The vocabulary of a model. Reading it is safe from any thread.
#[derive(Debug, Clone, Copy)]
pub struct Vocab<'model> {
    vocab: *const sys::llama_vocab,
    model: PhantomData<&'model super::Model>,
}

// SAFETY: a vocabulary is constant once the model is loaded.
unsafe impl Send for Vocab<'_> {}
// SAFETY: as above.
unsafe impl Sync for Vocab<'_> {}

impl Vocab<'_> {
    /// # Safety
    /// `vocab` must live as long as the lifetime says.
    pub(super) unsafe fn new(vocab: *const sys::llama_vocab) -> Self {
        Self { vocab, model: PhantomData }
    }

    /// Number of tokens.
    pub fn len(&self) -> u32 {
        // SAFETY: reads a field.
        unsafe { sys::llama_vocab_n_tokens(self.vocab) }.try_into().unwrap_or(0)
    }

    /// A model without a vocabulary takes and gives no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bos(&self) -> Option<Token> {
        // SAFETY: reads a field.
        Token::try_from(unsafe { sys::llama_vocab_bos(self.vocab) }).ok()
    }

    pub fn eos(&self) -> Option<Token> {
        // SAFETY: reads a field.
        Token::try_from(unsafe { sys::llama_vocab_eos(self.vocab) }).ok()
    }

    pub fn eot(&self) -> Option<Token> {
        // SAFETY: reads a field.
        Token::try_from(unsafe { sys::llama_vocab_eot(self.vocab) }).ok()
    }

    /// The model wants BOS at the start of a sequence.
    pub fn adds_bos(&self) -> bool {
        // SAFETY: reads a field.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab) }
    }

    /// The token ends a generation.
    pub fn is_end(&self, token: Token) -> bool {
        // SAFETY: the id is in range.
        self.contains(token) && unsafe { sys::llama_vocab_is_eog(self.vocab, token as i32) }
    }

    pub fn is_control(&self, token: Token) -> bool {
        // SAFETY: the id is in range.
        self.contains(token) && unsafe { sys::llama_vocab_is_control(self.vocab, token as i32) }
    }

    pub fn contains(&self, token: Token) -> bool {
        token < self.len()
    }

    /// The tokens of `text`, or `None` where it is too long to count.
    pub fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Option<Vec<Token>> {
        if text.len() > MAX_TEXT || self.is_empty() {
            return None;
        }
        // Most texts have fewer tokens than bytes; the rest says how many it needs.
        let mut tokens = vec![0; text.len() + 2];
        let mut got = self.tokenize_into(text, &mut tokens, add_special, parse_special);
        if got < 0 {
            tokens.resize(got.unsigned_abs() as usize, 0);
            got = self.tokenize_into(text, &mut tokens, add_special, parse_special);
        }
        tokens.truncate(usize::try_from(got).ok()?);
        Some(tokens)
    }

    fn tokenize_into(&self, text: &str, tokens: &mut [Token], add_special: bool, parse_special: bool) -> i32 {
        // SAFETY: both buffers are passed with their lengths; `Token` and `llama_token` are 32 bits wide, and ids are
        // never negative.
        unsafe {
            sys::llama_tokenize(
                self.vocab,
                text.as_ptr().cast::<c_char>(),
                text.len() as i32,
                tokens.as_mut_ptr().cast(),
                i32::try_from(tokens.len()).unwrap_or(i32::MAX),
                add_special,
                parse_special,
            )
        }
    }

    /// Appends the bytes that `token` stands for. Control tokens stand for nothing unless `special`.
    ///
    /// Returns false for a token outside of the vocabulary.
    pub fn piece(&self, token: Token, special: bool, bytes: &mut Vec<u8>) -> bool {
        if !self.contains(token) {
            return false;
        }
        let start = bytes.len();
        bytes.resize(start + 32, 0);
        let mut got = self.piece_into(token, special, &mut bytes[start..]);
        if got < 0 {
            bytes.resize(start + got.unsigned_abs() as usize, 0);
            got = self.piece_into(token, special, &mut bytes[start..]);
        }
        bytes.truncate(start + usize::try_from(got).unwrap_or(0));
        true
    }

    fn piece_into(&self, token: Token, special: bool, buffer: &mut [u8]) -> i32 {
        // SAFETY: the id was checked by `piece`; the buffer is passed with its length.
        unsafe {
            sys::llama_token_to_piece(
                self.vocab,
                token as i32,
                buffer.as_mut_ptr().cast::<c_char>(),
                buffer.len() as i32,
                0,
                special,
            )
        }
    }
}
