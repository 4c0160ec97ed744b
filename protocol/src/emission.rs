//! What an attempt says, and how it is cut into frames.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    AtMost, Class, Tokens,
    limits::{MAX_EMISSION_BYTES, MAX_EMISSION_TOKENS, MAX_EMISSIONS},
};

/// Consecutive emissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The number of the first.
    pub offset: u64,
    #[serde(with = "AtMost::<MAX_EMISSIONS>")]
    pub emissions: Vec<Emission>,
}

/// One thing that an attempt says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Emission {
    Text(Text),
    /// Passed on as the pipeline gave it.
    Json(#[serde(with = "AtMost::<MAX_EMISSION_BYTES>")] String),
    /// Thousandths of the whole.
    Progress(u16),
    /// A piece of the response's body.
    Body(#[serde(with = "AtMost::<MAX_EMISSION_BYTES>")] ByteBuf),
}

/// A piece of text, and the tokens that were drawn for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Text {
    /// Whole characters; it may lag behind the tokens.
    #[serde(with = "AtMost::<MAX_EMISSION_BYTES>")]
    pub text: String,
    #[serde(with = "AtMost::<MAX_EMISSION_TOKENS>")]
    pub tokens: Tokens,
}

/// More bytes than an emission takes in its frame beside its text, body and tokens; and than a chunk takes beside these.
const OVERHEAD: usize = 64;

impl Emission {
    /// A text of any length, cut between characters. The tokens go with the first pieces.
    pub fn text(text: &str, tokens: &[u32]) -> Vec<Self> {
        let mut pieces = Vec::new();
        let (mut text, mut tokens) = (text, tokens);
        while !text.is_empty() || !tokens.is_empty() {
            let (head, rest) = text.split_at(text.floor_char_boundary(MAX_EMISSION_BYTES));
            let (drawn, left) = tokens.split_at(tokens.len().min(MAX_EMISSION_TOKENS));
            pieces.push(Self::Text(Text { text: head.to_owned(), tokens: Tokens(drawn.to_vec()) }));
            (text, tokens) = (rest, left);
        }
        pieces
    }

    /// A body of any length.
    pub fn body(body: &[u8]) -> impl Iterator<Item = Self> {
        body.chunks(MAX_EMISSION_BYTES).map(|piece| Self::Body(ByteBuf::from(piece)))
    }

    fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Text(Text { text, tokens }) => text.len() + 4 * tokens.0.len(),
                Self::Json(json) => json.len(),
                Self::Progress(_) => 0,
                Self::Body(body) => body.len(),
            }
    }
}

impl Chunk {
    /// As few chunks as fit into their frames; `offset` is the number of the first emission.
    pub fn pack(offset: u64, emissions: Vec<Emission>) -> Vec<Self> {
        let mut chunks: Vec<Self> = Vec::new();
        let mut room = 0;
        for (number, emission) in (offset..).zip(emissions) {
            let bytes = emission.bytes();
            match chunks.last_mut().filter(|chunk| bytes <= room && chunk.emissions.len() < MAX_EMISSIONS) {
                Some(chunk) => chunk.emissions.push(emission),
                None => {
                    chunks.push(Self { offset: number, emissions: vec![emission] });
                    room = Class::Tokens.cap() - OVERHEAD;
                }
            }
            room = room.saturating_sub(bytes);
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromAttempt, frame::encoded};

    /// Each chunk can be sent, they follow each other, and nothing is lost.
    fn check(emissions: &[Emission], chunks: usize) {
        let packed = Chunk::pack(7, emissions.to_vec());
        assert_eq!(packed.len(), chunks);
        let mut offset = 7;
        for chunk in &packed {
            assert_eq!(chunk.offset, offset);
            offset += chunk.emissions.len() as u64;
            encoded(&FromAttempt::Chunk(chunk.clone())).unwrap();
        }
        assert!(packed.into_iter().flat_map(|chunk| chunk.emissions).eq(emissions.iter().cloned()));
    }

    #[test]
    fn chunks_fit_into_their_frames() {
        check(&[], 0);
        let token = Emission::text("word", &[u32::MAX]);
        check(&token, 1);
        check(&vec![token[0].clone(); 64], 1);
        check(&vec![token[0].clone(); 65], 2);
        let largest = Emission::text(&"x".repeat(MAX_EMISSION_BYTES), &[u32::MAX; MAX_EMISSION_TOKENS]);
        check(&largest, 1);
        check(&vec![largest[0].clone(); 3], 3);
        check(&Emission::body(&[0xff; 100_000]).collect::<Vec<_>>(), 7);
        check(&vec![Emission::Json("{}".into()); 1000], 16);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let (text, tokens) = ("ü".repeat(9000), vec![5; 3000]);
        let pieces = Emission::text(&text, &tokens);
        assert_eq!(pieces.len(), 3);
        let (mut joined, mut drawn) = (String::new(), Vec::new());
        for piece in pieces {
            let Emission::Text(piece) = piece else { panic!("a text is made of texts") };
            joined += &piece.text;
            drawn.extend(piece.tokens.0);
        }
        assert_eq!((joined, drawn), (text, tokens));
        assert!(Emission::text("", &[]).is_empty());
    }
}
