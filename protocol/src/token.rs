//! Tokens by which boards and people join: `dunlin1.HASH.ID.SECRET`, all of base 32.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD as BASE32;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::FleetId;

const PREFIX: &str = "dunlin1";

/// SHA-256 of the public key (SubjectPublicKeyInfo, DER) of a fleet's CA. Whoever joins checks it before it says its secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaPin(pub [u8; 32]);

/// Characters of a fleet's name that is made from its CA.
const FLEET_ID_CHARACTERS: usize = 16;

impl CaPin {
    /// The name of a fleet that was given none.
    pub fn fleet(&self) -> FleetId {
        FleetId::of_base32(&base32(&self.0)[..FLEET_ID_CHARACTERS])
    }
}

/// Names a token in lists; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(pub u64);

/// What proves that one was given the token. 128 random bits; of the scheduler's, only a hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

/// A token as an operator passes it on. The text holds the secret; `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub ca: CaPin,
    pub id: TokenId,
    pub secret: Secret,
}

/// Why some text is no token. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error(
        "a join token begins with dunlin1. and has four parts between dots; ask an operator for `dunlin token new`"
    )]
    Form,
    #[error("the {0} of the join token is damaged: was it copied whole?")]
    Part(&'static str),
}

fn base32(bytes: &[u8]) -> String {
    BASE32.encode(bytes).to_ascii_lowercase()
}

fn part<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], TokenError> {
    let bytes = BASE32.decode(text.to_ascii_uppercase().as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(TokenError::Part(name))
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", base32(&self.ca.0), self.id, base32(&self.secret.0))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(ca), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Form);
        };
        Ok(Self {
            ca: CaPin(part(ca, "hash of the CA")?),
            id: TokenId(u64::from_be_bytes(part(id, "id")?)),
            secret: Secret(part(secret, "secret")?),
        })
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base32(&self.0.to_be_bytes()))
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        part(text, "id").map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base32(&self.0))
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaPin({self})")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_bytes::ByteArray::deserialize(deserializer).map(|bytes| Self(bytes.into_array()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken { ca: CaPin([0x5a; 32]), id: TokenId(77), secret: Secret([0xc3; 16]) }
    }

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let text = token().to_string();
        expect_test::expect!["dunlin1.ljnfuws2ljnfuws2ljnfuws2ljnfuws2ljnfuws2ljnfuws2ljna.aaaaaaaaaaae2.ypb4hq6dypb4hq6dypb4hq6dym"]
            .assert_eq(&text);
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!(" {}\n", text.to_uppercase().replace("DUNLIN1", "dunlin1")).parse(), Ok(token()));
        assert_eq!(token().ca.fleet().as_str(), "ljnfuws2ljnfuws2");
    }

    #[test]
    fn damage_is_named_and_the_secret_is_not_shown() {
        let check = |text: &str, expected| assert_eq!(text.parse::<JoinToken>(), Err(expected), "{text}");
        let text = token().to_string();
        check("", TokenError::Form);
        check(&text.replace("dunlin1", "dunlin2"), TokenError::Form);
        check(&format!("{text}.x"), TokenError::Form);
        check(&text[..text.len() - 1], TokenError::Part("secret"));
        check(&format!("{}n", &text[..text.len() - 1]), TokenError::Part("secret"));
        check(&text.replacen("ljn", "l1n", 1), TokenError::Part("hash of the CA"));
        check(&text.replace("aaaaaaaaaaae2", "é"), TokenError::Part("id"));
        assert!(!format!("{:?}", token()).contains("ypb4"));
    }
}
