use std::collections::BTreeMap;
use std::io::Read;

use thiserror::Error;

use crate::array::{Array, Strings};
use crate::cursor::{Cursor, ReadFault};
use crate::text::{Grouped, Quoted};
use crate::value::{Budget, Value, ValueType, read_value};

/// Key-value pairs of one file; the richest known have about 120.
pub(crate) const MAX_KEYS: u64 = 16 * 1024;

/// Bytes of a key, by the GGUF specification.
const MAX_KEY_BYTES: u64 = 65_535;

/// Bytes of the shortest pair, a wrong one with an empty key: length, type, one byte.
pub(crate) const MIN_PAIR_BYTES: u64 = 8 + 4 + 1;

/// The key-value pairs of a checked file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pairs: BTreeMap<String, Value>,
}

/// What is wrong with a key or with its value.
#[derive(Debug, Error)]
pub enum KeyFault {
    #[error("key {index} is empty")]
    Empty { index: u64 },
    #[error("key {index} is {} bytes long, more than the {MAX_KEY_BYTES} that GGUF allows", Grouped(*length))]
    KeyTooLong { index: u64, length: u64 },
    #[error("key {index} is no valid UTF-8")]
    KeyNotUtf8 { index: u64 },
    #[error("key {key} has a control character in it")]
    ControlCharacter { key: Quoted },
    #[error("key {key} is there twice")]
    Duplicate { key: Quoted },
    #[error("key {key} has the value type {id}, GGUF knows 0 to 12")]
    UnknownType { key: Quoted, id: u32 },
    #[error("key {key} is an array of arrays, which no model needs and llama.cpp refuses")]
    NestedArray { key: Quoted },
    #[error("key {key} is a string of {} bytes but only {} remain in the file", Grouped(*length), Grouped(*remaining))]
    StringPastEnd { key: Quoted, length: u64, remaining: u64 },
    #[error("key {key} is an array of {} {element} but only {} bytes remain in the file", Grouped(*length), Grouped(*remaining))]
    ArrayPastEnd { key: Quoted, length: u64, element: ValueType, remaining: u64 },
    #[error("key {key} is an array of {} entries, more than the {} that any model needs", Grouped(*length), Grouped(*limit))]
    ArrayTooLong { key: Quoted, length: u64, limit: u64 },
    #[error("entry {index} of {key} is {} bytes long, more than {}", Grouped(*length), Grouped(*limit))]
    EntryTooLong { key: Quoted, index: u64, length: u64, limit: u64 },
    #[error("with key {key} the metadata takes more than {} bytes, which no known model needs", Grouped(*limit))]
    TooMuchText { key: Quoted, limit: u64 },
    #[error("key {key} holds the byte {byte} where a bool, 0 or 1, should be")]
    NotBool { key: Quoted, byte: u8 },
    #[error("key {key} holds a string that is no valid UTF-8")]
    StringNotUtf8 { key: Quoted },
    #[error("key {key} holds a string with a NUL in it")]
    NulInString { key: Quoted },
    #[error("entry {index} of \"tokenizer.ggml.merges\", {merge}, is not two tokens with a space between")]
    NotAMerge { index: u64, merge: Quoted },
    #[error("key {key} is missing")]
    Missing { key: Quoted },
    #[error("key {key} has the type {found}; llama.cpp reads {expected}")]
    WrongType { key: Quoted, found: String, expected: &'static str },
    #[error("key {key} has {} entries but there are {} {of}", Grouped(*found), Grouped(*expected))]
    WrongLength { key: Quoted, found: u64, expected: u64, of: &'static str },
    #[error(transparent)]
    Read(#[from] ReadFault),
}

impl Metadata {
    pub(crate) fn read<R: Read>(cursor: &mut Cursor<R>, count: u64) -> Result<Self, KeyFault> {
        let mut pairs = BTreeMap::new();
        let mut budget = Budget::new();
        for index in 0..count {
            let key = read_key(cursor, index)?;
            budget.spend(key.len(), &key)?;
            let value = read_value(cursor, &key, &mut budget)?;
            if pairs.contains_key(&key) {
                return Err(KeyFault::Duplicate { key: Quoted::new(&key) });
            }
            pairs.insert(key, value);
        }
        Ok(Self { pairs })
    }

    pub fn value(&self, key: &str) -> Option<&Value> {
        self.pairs.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, KeyFault> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub fn u32(&self, key: &str) -> Result<Option<u32>, KeyFault> {
        self.typed(key, "u32", |value| match value {
            Value::U32(number) => Some(*number),
            _ => None,
        })
    }

    pub fn u16(&self, key: &str) -> Result<Option<u16>, KeyFault> {
        self.typed(key, "u16", |value| match value {
            Value::U16(number) => Some(*number),
            _ => None,
        })
    }

    pub fn i32(&self, key: &str) -> Result<Option<i32>, KeyFault> {
        self.typed(key, "i32", |value| match value {
            Value::I32(number) => Some(*number),
            _ => None,
        })
    }

    pub fn f32(&self, key: &str) -> Result<Option<f32>, KeyFault> {
        self.typed(key, "f32", |value| match value {
            Value::F32(number) => Some(*number),
            _ => None,
        })
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, KeyFault> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(crate) fn required_u32(&self, key: &str) -> Result<u32, KeyFault> {
        self.u32(key)?.ok_or_else(|| KeyFault::Missing { key: key.into() })
    }

    pub(crate) fn array(&self, key: &str) -> Result<Option<&Array>, KeyFault> {
        self.typed(key, "an array", |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Option<&Strings>, KeyFault> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(array) => array.strings(),
            _ => None,
        })
    }

    /// One number for all layers or one per layer, as whole numbers; `None` where the key is absent.
    ///
    /// llama.cpp reads `u32`, or an array of exactly `layers` entries of `u32`, `i32` or `bool`.
    pub(crate) fn per_layer(&self, key: &str, layers: u32) -> Result<Option<Vec<u32>>, KeyFault> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::U32(number)) => Ok(Some(vec![*number; layers as usize])),
            Some(Value::Array(array)) => list_of(key, array, layers).map(Some),
            Some(other) => Err(wrong_type(key, other, "u32 or an array of one per layer")),
        }
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, KeyFault> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong_type(key, value, expected))
    }
}

pub(crate) fn wrong_type(key: &str, found: &Value, expected: &'static str) -> KeyFault {
    KeyFault::WrongType { key: key.into(), found: found.type_name(), expected }
}

fn list_of(key: &str, array: &Array, layers: u32) -> Result<Vec<u32>, KeyFault> {
    if array.length != u64::from(layers) {
        return Err(KeyFault::WrongLength {
            key: key.into(),
            found: array.length,
            expected: layers.into(),
            of: "layers",
        });
    }
    let numbers = match array.element {
        ValueType::U32 | ValueType::I32 | ValueType::Bool => array.integers(),
        _ => None,
    };
    numbers
        .and_then(|numbers| numbers.into_iter().map(|number| u32::try_from(number).ok()).collect())
        .ok_or_else(|| KeyFault::WrongType {
            key: key.into(),
            found: format!("array of {}", array.element),
            expected: "an array of whole numbers of at least 0",
        })
}

fn read_key<R: Read>(cursor: &mut Cursor<R>, index: u64) -> Result<String, KeyFault> {
    let length = cursor.u64()?;
    if length == 0 {
        return Err(KeyFault::Empty { index });
    }
    if length > MAX_KEY_BYTES {
        return Err(KeyFault::KeyTooLong { index, length });
    }
    let bytes = cursor.bytes(length as usize)?;
    let key = std::str::from_utf8(bytes).map_err(|_| KeyFault::KeyNotUtf8 { index })?;
    // llama.cpp compares keys as C strings: behind a NUL two keys would be one to it and two to us.
    if key.chars().any(char::is_control) {
        return Err(KeyFault::ControlCharacter { key: Quoted::new(key) });
    }
    Ok(key.to_owned())
}
