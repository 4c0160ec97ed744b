use std::fmt;
use std::io::Read;

use serde::Serialize;

use crate::array::{Array, read_array};
use crate::cursor::Cursor;
use crate::metadata::KeyFault;

/// Longest scalar string that is kept; longer ones are checked and passed over.
pub(crate) const MAX_KEPT_STRING: usize = 64 * 1024;

/// Bytes of keys and values that are kept of one file; Gemma's 262,144 tokens take 2.3 MB, their tables 2.1 MB.
pub(crate) const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

/// The type of a metadata value, as numbered in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub(crate) fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(id as usize).copied()
    }

    /// The number that stands for it in a file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// Bytes of one number; strings and arrays have no fixed size.
    pub(crate) fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            number => return write!(f, "{}", format!("{number:?}").to_lowercase()),
        };
        f.write_str(name)
    }
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    U64(u64),
    I64(i64),
    F64(f64),
    String(String),
    /// A string too long to keep, by its length in bytes.
    LongString(u64),
    Array(Array),
}

impl Value {
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
            Self::String(_) | Self::LongString(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
        }
    }

    /// Its type for a sentence, an array's with that of its entries.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {}", array.element),
            other => other.value_type().to_string(),
        }
    }
}

/// What may still be kept of a file.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(MAX_KEPT_BYTES)
    }

    pub(crate) fn spend(&mut self, bytes: usize, key: &str) -> Result<(), KeyFault> {
        match self.0.checked_sub(bytes) {
            Some(rest) => self.0 = rest,
            None => return Err(KeyFault::TooMuchText { key: key.into(), limit: MAX_KEPT_BYTES as u64 }),
        }
        Ok(())
    }
}

/// Reads the type and the value of `key`.
pub(crate) fn read_value<R: Read>(
    cursor: &mut Cursor<R>,
    key: &str,
    budget: &mut Budget,
) -> Result<Value, KeyFault> {
    let kind = read_type(cursor, key)?;
    Ok(match kind {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array()?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array()?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array()?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array()?)),
        ValueType::U32 => Value::U32(cursor.u32()?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array()?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array()?)),
        ValueType::U64 => Value::U64(cursor.u64()?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array()?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array()?)),
        ValueType::Bool => Value::Bool(checked_bool(key, cursor.array::<1>()?[0])?),
        ValueType::String => read_string(cursor, key, budget)?,
        ValueType::Array => Value::Array(read_array(cursor, key, budget)?),
    })
}

pub(crate) fn read_type<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<ValueType, KeyFault> {
    let id = cursor.u32()?;
    ValueType::from_id(id).ok_or_else(|| KeyFault::UnknownType { key: key.into(), id })
}

fn checked_bool(key: &str, byte: u8) -> Result<bool, KeyFault> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(KeyFault::NotBool { key: key.into(), byte }),
    }
}

fn read_string<R: Read>(cursor: &mut Cursor<R>, key: &str, budget: &mut Budget) -> Result<Value, KeyFault> {
    let length = string_length(cursor, key)?;
    if length > MAX_KEPT_STRING as u64 {
        return pass_over_string(cursor, key, length);
    }
    budget.spend(length as usize, key)?;
    let text = checked_text(key, cursor.bytes(length as usize)?)?;
    Ok(Value::String(text.to_owned()))
}

pub(crate) fn string_length<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<u64, KeyFault> {
    let length = cursor.u64()?;
    let remaining = cursor.remaining();
    if length > remaining {
        return Err(KeyFault::StringPastEnd { key: key.into(), length, remaining });
    }
    Ok(length)
}

pub(crate) fn checked_text<'a>(key: &str, bytes: &'a [u8]) -> Result<&'a str, KeyFault> {
    // llama.cpp hands strings on as C strings: behind a NUL it would see another text than we do.
    if bytes.contains(&0) {
        return Err(KeyFault::NulInString { key: key.into() });
    }
    std::str::from_utf8(bytes).map_err(|_| KeyFault::StringNotUtf8 { key: key.into() })
}

fn pass_over_string<R: Read>(cursor: &mut Cursor<R>, key: &str, length: u64) -> Result<Value, KeyFault> {
    let mut carried: Vec<u8> = Vec::new();
    let mut sound = true;
    cursor.chunks(length, |chunk| {
        carried.extend_from_slice(chunk);
        let (complete, broken) = match std::str::from_utf8(&carried) {
            Ok(_) => (carried.len(), false),
            Err(error) => (error.valid_up_to(), error.error_len().is_some()),
        };
        sound &= !broken && !carried.contains(&0);
        carried.drain(..if broken { carried.len() } else { complete });
    })?;
    if sound && carried.is_empty() {
        Ok(Value::LongString(length))
    } else {
        Err(KeyFault::StringNotUtf8 { key: key.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::WINDOW;

    #[test]
    fn a_long_string_is_checked_across_windows() {
        let check = |bytes: &[u8]| {
            let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
            file.extend_from_slice(bytes);
            read_string(&mut Cursor::new(&file[..], file.len() as u64), "k", &mut Budget::new())
                .map_err(|fault| fault.to_string())
        };
        let long = "ä€".repeat(WINDOW);
        assert_eq!(check(long.as_bytes()), Ok(Value::LongString(long.len() as u64)));
        assert!(check(&long.as_bytes()[..long.len() - 1]).is_err());
        assert!(check(&[long.as_bytes(), b"\0"].concat()).is_err());
    }
}
