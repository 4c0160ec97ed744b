//! Names of models, components and blobs by their content. Computed elsewhere; here they are written and read.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;

/// Why some text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DigestError {
    #[error("a digest has {expected} hexadecimal digits, this has {0} characters", expected = 2 * DIGEST_BYTES)]
    Length(usize),
    #[error("{0:?} is no hexadecimal digit")]
    Digit(char),
    #[error("a blob is named as in sha256:74a4da8c... or blake3:9f86d081...")]
    Kind,
}

fn parse_hex(text: &str) -> Result<[u8; DIGEST_BYTES], DigestError> {
    if let Some(other) = text.chars().find(|character| !character.is_ascii_hexdigit()) {
        return Err(DigestError::Digit(other));
    }
    let length = DigestError::Length(text.len());
    let bytes = HEX.decode(text.as_bytes()).map_err(|_| length.clone())?;
    bytes.try_into().map_err(|_| length)
}

/// As text for people, as bytes on the wire.
macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; DIGEST_BYTES]);

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                parse_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEX.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = if deserializer.is_human_readable() {
                    deserializer.deserialize_str(DigestBytes)
                } else {
                    deserializer.deserialize_bytes(DigestBytes)
                };
                bytes.map(Self)
            }
        }
    };
}

digest! {
    /// SHA-256 of a GGUF file; of a split model, of its first part.
    ModelDigest
}

digest! {
    /// BLAKE3 of a component.
    ComponentDigest
}

struct DigestBytes;

impl de::Visitor<'_> for DigestBytes {
    type Value = [u8; DIGEST_BYTES];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a digest of {DIGEST_BYTES} bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        parse_hex(text).map_err(E::custom)
    }
}

/// What is fetched by its content: a file of a model, or a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobDigest {
    Sha256(ModelDigest),
    Blake3(ComponentDigest),
}

impl From<ModelDigest> for BlobDigest {
    fn from(digest: ModelDigest) -> Self {
        Self::Sha256(digest)
    }
}

impl From<ComponentDigest> for BlobDigest {
    fn from(digest: ComponentDigest) -> Self {
        Self::Blake3(digest)
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "sha256:{digest}"),
            Self::Blake3(digest) => write!(f, "blake3:{digest}"),
        }
    }
}

impl FromStr for BlobDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.split_once(':') {
            Some(("sha256", hex)) => hex.parse().map(Self::Sha256),
            Some(("blake3", hex)) => hex.parse().map(Self::Blake3),
            _ => Err(DigestError::Kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &Result<&str, DigestError>) {
        let read = text.parse::<BlobDigest>().map(|digest| digest.to_string());
        assert_eq!(read.as_deref(), expected.as_ref().map(|text| *text), "{text}");
    }

    #[test]
    fn digests_are_read_and_written() {
        let hex = "0123456789abcdef".repeat(4);
        check(&format!("sha256:{hex}"), &Ok(&format!("sha256:{hex}")));
        check(&format!("blake3:{}", hex.to_uppercase()), &Ok(&format!("blake3:{hex}")));
        check(&hex, &Err(DigestError::Kind));
        check(&format!("md5:{hex}"), &Err(DigestError::Kind));
        check("sha256:0123", &Err(DigestError::Length(4)));
        check("sha256:012", &Err(DigestError::Length(3)));
        check(&format!("sha256:{hex}00"), &Err(DigestError::Length(66)));
        check(&format!("sha256:{}é", &hex[..62]), &Err(DigestError::Digit('é')));
    }
}
