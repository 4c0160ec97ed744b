use std::io::Read;

use crate::cursor::{Cursor, WINDOW};
use crate::metadata::KeyFault;
use crate::text::Quoted;
use crate::value::{Budget, ValueType, checked_text, read_type, string_length};

/// Entries of one array. The longest in the wild, Gemma's merges, has 514,906.
const MAX_ARRAY_LENGTH: u64 = 4 * 1024 * 1024;

/// Entries of a numeric array outside the tokenizer that are kept: one per layer at most.
const MAX_KEPT_NUMBERS: u64 = 512;

/// Tokens of a vocabulary, twice the largest known.
const MAX_VOCABULARY: u64 = 512 * 1024;

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";

/// A metadata array. Long ones that no rule needs are checked and counted, not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub element: ValueType,
    pub length: u64,
    pub(crate) items: Items,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Items {
    Numbers(Vec<u8>),
    Strings(Strings),
    Dropped,
}

impl Array {
    /// The entries of a kept array of whole numbers of at most 32 bits, or of bools.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let Items::Numbers(bytes) = &self.items else { return None };
        let numbers = bytes.chunks_exact(self.element.size()?);
        let numbers = match self.element {
            ValueType::Bool | ValueType::U8 => numbers.map(|b| i64::from(b[0])).collect(),
            ValueType::U32 => {
                numbers.map(|b| i64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
            }
            ValueType::I32 => {
                numbers.map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
            }
            _ => return None,
        };
        Some(numbers)
    }

    /// The entries of a kept array of `f32`.
    pub(crate) fn floats(&self) -> Option<impl Iterator<Item = f32> + '_> {
        let Items::Numbers(bytes) = &self.items else { return None };
        (self.element == ValueType::F32)
            .then(|| bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.items {
            Items::Numbers(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The entries of a kept array of strings.
    pub fn strings(&self) -> Option<&Strings> {
        match &self.items {
            Items::Strings(strings) => Some(strings),
            _ => None,
        }
    }
}

/// Many strings, one behind the other in one allocation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strings {
    text: String,
    ends: Vec<u32>,
}

impl Strings {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn text(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.text[start..end])
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.text(index))
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
    }
}

/// Reads the entries' type, their number and the entries of `key`.
pub(crate) fn read_array<R: Read>(
    cursor: &mut Cursor<R>,
    key: &str,
    budget: &mut Budget,
) -> Result<Array, KeyFault> {
    let element = read_type(cursor, key)?;
    let length = cursor.u64()?;
    if length > MAX_ARRAY_LENGTH {
        return Err(KeyFault::ArrayTooLong { key: key.into(), length, limit: MAX_ARRAY_LENGTH });
    }
    // A string takes at least the eight bytes of its length.
    let size = element.size().unwrap_or(8) as u64;
    let remaining = cursor.remaining();
    if length * size > remaining {
        return Err(KeyFault::ArrayPastEnd { key: key.into(), length, element, remaining });
    }
    let items = match element {
        ValueType::Array => return Err(KeyFault::NestedArray { key: key.into() }),
        ValueType::String => read_strings(cursor, key, length, budget)?,
        _ => read_numbers(cursor, key, element, length, budget)?,
    };
    Ok(Array { element, length, items })
}

fn read_numbers<R: Read>(
    cursor: &mut Cursor<R>,
    key: &str,
    element: ValueType,
    length: u64,
    budget: &mut Budget,
) -> Result<Items, KeyFault> {
    let bytes = length * element.size().unwrap_or(1) as u64;
    let keep = length <= MAX_KEPT_NUMBERS || is_tokenizer_table(key, bytes);
    if keep {
        budget.spend(bytes as usize, key)?;
    }
    let mut kept = Vec::with_capacity(if keep { bytes as usize } else { 0 });
    let mut odd = None;
    cursor.chunks(bytes, |chunk| {
        if element == ValueType::Bool {
            odd = odd.or_else(|| chunk.iter().copied().find(|byte| *byte > 1));
        }
        if keep {
            kept.extend_from_slice(chunk);
        }
    })?;
    match odd {
        Some(byte) => Err(KeyFault::NotBool { key: key.into(), byte }),
        None if keep => Ok(Items::Numbers(kept)),
        None => Ok(Items::Dropped),
    }
}

fn is_tokenizer_table(key: &str, bytes: u64) -> bool {
    key.starts_with("tokenizer.ggml.") && bytes <= 4 * MAX_VOCABULARY
}

fn read_strings<R: Read>(
    cursor: &mut Cursor<R>,
    key: &str,
    length: u64,
    budget: &mut Budget,
) -> Result<Items, KeyFault> {
    let is_tokens = key == TOKENS;
    if is_tokens && length > MAX_VOCABULARY {
        return Err(KeyFault::ArrayTooLong { key: key.into(), length, limit: MAX_VOCABULARY });
    }
    let keep = is_tokens || length <= MAX_KEPT_NUMBERS;
    let mut kept = Strings::default();
    for index in 0..length {
        let size = string_length(cursor, key)?;
        if size > WINDOW as u64 {
            return Err(KeyFault::EntryTooLong {
                key: key.into(),
                index,
                length: size,
                limit: WINDOW as u64,
            });
        }
        let text = checked_text(key, cursor.bytes(size as usize)?)?;
        if key == MERGES && !is_merge(text) {
            return Err(KeyFault::NotAMerge { index, merge: Quoted::new(text) });
        }
        if keep {
            budget.spend(text.len() + size_of::<u32>(), key)?;
            kept.push(text);
        }
    }
    Ok(if keep { Items::Strings(kept) } else { Items::Dropped })
}

/// Whether it is two tokens with a space between; the first may itself begin with a space.
fn is_merge(text: &str) -> bool {
    let from = text.chars().next().map_or(0, char::len_utf8);
    text[from..].find(' ').is_some_and(|at| from + at + 1 < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_is_two_tokens() {
        for (text, expected) in [
            ("a b", true),
            ("Ġ t", true),
            ("  b", true),
            ("ab", false),
            (" b", false),
            ("a ", false),
            ("", false),
        ] {
            assert_eq!(is_merge(text), expected, "{text:?}");
        }
    }
}
