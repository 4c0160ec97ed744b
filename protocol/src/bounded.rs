//! Lists and texts that have a limit, on the way in and on the way out.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, IgnoredAny, SeqAccess, Visitor},
    ser::Error as _,
};

/// For `#[serde(with = "AtMost::<64>")]`: at most so many bytes of a text, or elements of a list. What is longer is
/// refused by the sender, who learns of it, and by the receiver, before it is allocated.
#[derive(Debug)]
pub struct AtMost<const MAX: usize>;

impl<const MAX: usize> AtMost<MAX> {
    /// # Errors
    /// If there is more than allowed, or of the serializer.
    pub fn serialize<T: Limited, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        match value.length() {
            length if length > MAX => Err(S::Error::custom(too_many(T::UNIT, length, MAX))),
            _ => value.write(serializer),
        }
    }

    /// # Errors
    /// If there is more than allowed, or of the deserializer.
    pub fn deserialize<'de, T: Limited, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::read(deserializer, MAX)
    }
}

/// What [`AtMost`] can limit.
pub trait Limited: Sized {
    const UNIT: &'static str;
    fn length(&self) -> usize;
    /// # Errors
    /// Of the serializer.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    /// # Errors
    /// Of the deserializer, or if it gives more than `max`.
    fn read<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Self, D::Error>;
}

fn too_many(unit: &str, length: usize, max: usize) -> String {
    format!("{length} {unit}, at most {max} are possible")
}

impl Limited for String {
    const UNIT: &'static str = "bytes of text";

    fn length(&self) -> usize {
        self.len()
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text { max })
    }
}

struct Text {
    max: usize,
}

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of at most {} bytes", self.max)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        match text.len() {
            length if length > self.max => Err(E::custom(too_many(String::UNIT, length, self.max))),
            _ => Ok(text.to_owned()),
        }
    }
}

impl<T: Serialize + DeserializeOwned> Limited for Vec<T> {
    const UNIT: &'static str = "elements";

    fn length(&self) -> usize {
        self.len()
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Serialize::serialize(self, serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List { max, element: PhantomData })
    }
}

struct List<T> {
    max: usize,
    element: PhantomData<T>,
}

/// Elements for which room is made at once; a list that claims to be longer has to show them first.
const TRUSTED_ELEMENTS: usize = 64;

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {} elements", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let claimed = elements.size_hint().unwrap_or(0);
        if claimed > self.max {
            return Err(A::Error::custom(too_many("elements", claimed, self.max)));
        }
        let mut list = Vec::with_capacity(claimed.min(TRUSTED_ELEMENTS));
        while list.len() < self.max {
            match elements.next_element()? {
                Some(element) => list.push(element),
                None => return Ok(list),
            }
        }
        match elements.next_element::<IgnoredAny>()? {
            Some(_) => Err(A::Error::custom(too_many("elements", self.max + 1, self.max))),
            None => Ok(list),
        }
    }
}

/// Bytes, written as such and not as a list of numbers.
impl Limited for serde_bytes::ByteBuf {
    const UNIT: &'static str = "bytes";

    fn length(&self) -> usize {
        self.len()
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Raw { max })
    }
}

struct Raw {
    max: usize,
}

impl Visitor<'_> for Raw {
    type Value = serde_bytes::ByteBuf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} bytes", self.max)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        match bytes.len() {
            length if length > self.max => Err(E::custom(too_many("bytes", length, self.max))),
            _ => Ok(serde_bytes::ByteBuf::from(bytes)),
        }
    }
}

impl<T: Limited> Limited for Option<T> {
    const UNIT: &'static str = T::UNIT;

    fn length(&self) -> usize {
        self.as_ref().map_or(0, Limited::length)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(serializer),
            None => serializer.serialize_none(),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Self, D::Error> {
        deserializer.deserialize_option(Perhaps { max, value: PhantomData })
    }
}

struct Perhaps<T> {
    max: usize,
    value: PhantomData<T>,
}

impl<'de, T: Limited> Visitor<'de> for Perhaps<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing, or at most {} {}", self.max, T::UNIT)
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        T::read(deserializer, self.max).map(Some)
    }
}
