//! Token ids, packed: four bytes each, so that a list cannot claim more than it brings.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bounded::Limited;

/// Ids in the vocabulary of the model; on the wire, 32 bits each, little endian.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens(pub Vec<u32>);

impl Limited for Tokens {
    const UNIT: &'static str = "tokens";

    fn length(&self) -> usize {
        self.0.len()
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|token| token.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Packed { max })
    }
}

struct Packed {
    max: usize,
}

impl de::Visitor<'_> for Packed {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} tokens of 4 bytes", self.max)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Tokens, E> {
        let (tokens, rest) = bytes.as_chunks();
        if !rest.is_empty() || tokens.len() > self.max {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(Tokens(tokens.iter().map(|token| u32::from_le_bytes(*token)).collect()))
    }
}

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write(serializer)
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(deserializer, usize::MAX)
    }
}
