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
    /// Tokens that a generation drew, before any text that is made of them.
    Tokens {
        /// Counts the generations of an invocation in the order in which they were begun, from 0.
        generation: u32,
        #[serde(with = "AtMost::<MAX_EMISSION_TOKENS>")]
        tokens: Tokens,
    },
    /// Whole characters.
    Text(#[serde(with = "AtMost::<MAX_EMISSION_BYTES>")] String),
    /// Passed on as the pipeline gave it.
    Json(#[serde(with = "AtMost::<MAX_EMISSION_BYTES>")] String),
    /// Thousandths of the whole.
    Progress(u16),
    /// A piece of the response's body.
    Body(#[serde(with = "AtMost::<MAX_EMISSION_BYTES>")] ByteBuf),
}

/// More bytes than an emission takes in its frame beside its text, body and tokens; and than a chunk takes beside these.
const OVERHEAD: usize = 64;

impl Emission {
    /// Tokens of a generation, any number of them.
    pub fn tokens(generation: u32, tokens: &[u32]) -> impl Iterator<Item = Self> {
        let piece = move |tokens: &[u32]| Self::Tokens { generation, tokens: Tokens(tokens.to_vec()) };
        tokens.chunks(MAX_EMISSION_TOKENS).map(piece)
    }

    /// A text of any length, cut between characters.
    pub fn text(mut text: &str) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let (head, rest) = text.split_at(text.floor_char_boundary(MAX_EMISSION_BYTES));
            text = rest;
            (!head.is_empty()).then(|| Self::Text(head.to_owned()))
        })
    }

    /// JSON; what does not fit goes as text.
    pub fn json(json: &str) -> Vec<Self> {
        if json.len() <= MAX_EMISSION_BYTES {
            vec![Self::Json(json.to_owned())]
        } else {
            Self::text(json).collect()
        }
    }

    /// A body of any length.
    pub fn body(body: &[u8]) -> impl Iterator<Item = Self> {
        body.chunks(MAX_EMISSION_BYTES).map(|piece| Self::Body(ByteBuf::from(piece)))
    }

    /// About what it takes in a frame, or in memory.
    pub fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Tokens { tokens, .. } => 4 * tokens.0.len(),
                Self::Text(text) | Self::Json(text) => text.len(),
                Self::Progress(_) => 0,
                Self::Body(body) => body.len(),
            }
    }
}

impl Chunk {
    /// As many of the emissions as fit into one frame; `offset` is the number of the first.
    pub fn first(offset: u64, emissions: &[Emission]) -> Self {
        let mut bytes = OVERHEAD;
        let fits = |emission: &&Emission| {
            bytes += emission.bytes();
            bytes <= Class::Tokens.cap()
        };
        let count = emissions.iter().take(MAX_EMISSIONS).take_while(fits).count();
        Self { offset, emissions: emissions[..count].to_vec() }
    }
}

/// What was said so far, each thing once and numbered.
#[derive(Debug, Default)]
pub struct Emissions {
    /// The number of the first.
    base: u64,
    all: Vec<Emission>,
    bytes: usize,
}

impl Emissions {
    pub fn from(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    pub fn push(&mut self, emission: Emission) {
        self.bytes += emission.bytes();
        self.all.push(emission);
    }

    /// The number that the next one has.
    pub fn offset(&self) -> u64 {
        self.base + self.all.len() as u64
    }

    /// See [`Emission::bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn iter(&self) -> impl Iterator<Item = &Emission> {
        self.all.iter()
    }

    /// What follows from number `offset` on, as far as it fits into a frame; nothing if that is nothing. What is before the
    /// first was said by another.
    pub fn next(&self, offset: u64) -> Option<Chunk> {
        let from = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let rest = self.all.get(from..).filter(|rest| !rest.is_empty())?;
        Some(Chunk::first(self.base + from as u64, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromAttempt, frame::encoded};

    /// Each chunk can be sent, they follow each other, and nothing is lost.
    fn check(emissions: &[Emission], chunks: usize) {
        let (mut offset, mut rest, mut count) = (7, emissions, 0);
        while !rest.is_empty() {
            let chunk = Chunk::first(offset, rest);
            encoded(&FromAttempt::Chunk(chunk.clone())).unwrap();
            let sent = chunk.emissions.len();
            assert_eq!((chunk.offset, &chunk.emissions[..]), (offset, &rest[..sent]));
            (offset, rest, count) = (offset + sent as u64, &rest[sent..], count + 1);
        }
        assert_eq!(count, chunks);
    }

    #[test]
    fn chunks_fit_into_their_frames() {
        check(&[], 0);
        let text: Vec<_> = Emission::text("word").collect();
        check(&text, 1);
        check(&vec![text[0].clone(); 64], 1);
        check(&vec![text[0].clone(); 65], 2);
        let largest: Vec<_> = Emission::text(&"x".repeat(MAX_EMISSION_BYTES)).collect();
        check(&vec![largest[0].clone(); 3], 2);
        let tokens: Vec<_> = Emission::tokens(3, &[u32::MAX; 4 * MAX_EMISSION_TOKENS]).collect();
        check(&tokens, 2);
        check(&Emission::body(&[0xff; 100_000]).collect::<Vec<_>>(), 7);
        check(&vec![Emission::Json("{}".into()); 1000], 16);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "ü".repeat(9000);
        let pieces: Vec<_> = Emission::text(&text).collect();
        let joined = pieces.iter().map(|piece| match piece {
            Emission::Text(piece) => piece.as_str(),
            other => panic!("a text is made of texts, not of {other:?}"),
        });
        assert_eq!((pieces.len(), joined.collect::<String>()), (3, text.clone()));
        assert_eq!((Emission::text("").count(), Emission::json("{}").len()), (0, 1));
        assert!(matches!(Emission::json(&text)[..], [Emission::Text(_), ..]));
    }
}
