//! Names of nodes and fleets: short, and safe in certificates, tables and file names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::limits::MAX_NODE_ID;

/// Why some text is no name of a node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NodeIdError {
    #[error("a name has 1 to {MAX_NODE_ID} characters, this has {0}")]
    Length(usize),
    #[error("{0:?} is not possible in a name: use a-z, 0-9 and, between them, '-', '_' and '.'")]
    Character(char),
}

fn check(text: &str) -> Result<(), NodeIdError> {
    if text.is_empty() || text.len() > MAX_NODE_ID {
        return Err(NodeIdError::Length(text.chars().count()));
    }
    let last = text.len() - 1;
    let wrong = text.char_indices().find(|&(index, character)| match character {
        'a'..='z' | '0'..='9' => false,
        '-' | '_' | '.' => index == 0 || index == last,
        _ => true,
    });
    wrong.map_or(Ok(()), |(_, character)| Err(NodeIdError::Character(character)))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NodeIdError;

            fn from_str(text: &str) -> Result<Self, NodeIdError> {
                check(text).map(|()| Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a name of 1 to {MAX_NODE_ID} characters")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}

name! {
    /// A node, an operator, a client or a scheduler, by the name in its certificate. Unique within fleet and role.
    NodeId
}

name! {
    /// A fleet; by default the beginning of the hash of its CA.
    FleetId
}

impl FleetId {
    /// Base 32 in lower case has nothing that a name may not have.
    pub(crate) fn of_base32(text: &str) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&NodeIdError>) {
        let read = text.parse::<NodeId>();
        assert_eq!(read.as_ref().err(), expected, "{text}");
        assert!(read.is_err() || read.is_ok_and(|id| id.as_str() == text));
    }

    #[test]
    fn names_are_plain() {
        check("pi-kitchen.2", None);
        check("7", None);
        check(&"a".repeat(63), None);
        check(&"a".repeat(64), Some(&NodeIdError::Length(64)));
        check("", Some(&NodeIdError::Length(0)));
        for (text, wrong) in
            [("Pi", 'P'), ("a/b", '/'), ("a b", ' '), ("..", '.'), ("a-", '-'), ("küche", 'ü')]
        {
            check(text, Some(&NodeIdError::Character(wrong)));
        }
    }
}
