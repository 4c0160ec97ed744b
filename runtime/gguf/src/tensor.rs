use std::collections::BTreeSet;
use std::io::Read;

use serde::Serialize;
use thiserror::Error;

use crate::cursor::{Cursor, ReadFault};
use crate::tensor_type::{Known, TensorType};
use crate::text::{Grouped, Quoted, dimensions};

/// Tensors of one file; the largest mixtures of experts have about 3,000.
pub(crate) const MAX_TENSORS: u64 = 64 * 1024;

/// Bytes of the shortest tensor description: name of one letter, one dimension, type, offset.
pub(crate) const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// ggml keeps names in 64 bytes, the last a NUL.
const MAX_NAME_BYTES: u64 = 63;

/// ggml computes with four dimensions.
const MAX_DIMENSIONS: u32 = 4;

/// llama.cpp aborts where a mapped buffer does not start on this (`TENSOR_ALIGNMENT` of ggml).
const MAPPING_ALIGNMENT: u64 = 32;

/// A tensor as its file describes it.
#[derive(Clone, Debug, Serialize)]
pub struct Tensor {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: TensorType,
    /// One to four sizes, fastest first, none of them 0.
    pub dimensions: Vec<u64>,
    /// Offset in its file of the first byte.
    pub offset: u64,
    pub bytes: u64,
    /// Index of the file it lies in, 0 unless the model is split.
    pub part: usize,
}

/// What is wrong with a tensor's description or place.
#[derive(Debug, Error)]
pub enum TensorFault {
    #[error("tensor {index} has no name")]
    NoName { index: u64 },
    #[error("tensor {index} has a name of {} bytes, ggml takes {MAX_NAME_BYTES}", Grouped(*length))]
    NameTooLong { index: u64, length: u64 },
    #[error("tensor {index} has the name {name}, which is not plain text")]
    NameNotPlain { index: u64, name: Quoted },
    #[error("tensor {name} is there twice")]
    Duplicate { name: Quoted },
    #[error("tensor {name} has {count} dimensions, ggml takes 1 to {MAX_DIMENSIONS}")]
    DimensionCount { name: Quoted, count: u32 },
    #[error("tensor {name} has the dimensions {dimensions}, none may be 0")]
    EmptyDimension { name: Quoted, dimensions: String },
    #[error("tensor {name} has the dimensions {dimensions}, more numbers than can be counted")]
    TooLarge { name: Quoted, dimensions: String },
    #[error(
        "tensor {name} has the type {id}, which is unknown: the file is newer than this program, or damaged"
    )]
    UnknownType { name: Quoted, id: u32 },
    #[error("tensor {name} has the type {id}: {advice}")]
    RemovedType { name: Quoted, id: u32, advice: &'static str },
    #[error("tensor {name} has the type {kind}, which llama.cpp computes with but cannot read from a file")]
    IntermediateType { name: Quoted, kind: TensorType },
    #[error("tensor {name} has rows of {} numbers, {kind} needs a multiple of {}", Grouped(*row), kind.block())]
    RowNotWholeBlocks { name: Quoted, kind: TensorType, row: u64 },
    #[error("tensor {name} starts at byte {} of the data, no multiple of the alignment {alignment}", Grouped(*offset))]
    Misaligned { name: Quoted, offset: u64, alignment: u64 },
    #[error("tensor {name} starts at byte {} of the data, in the tensor before it, which ends at {}", Grouped(*offset), Grouped(*expected))]
    Overlap { name: Quoted, offset: u64, expected: u64 },
    #[error("tensor {name} starts at byte {} of the data but the one before it ends at {}", Grouped(*offset), Grouped(*expected))]
    Gap { name: Quoted, offset: u64, expected: u64 },
    #[error("tensor {name} ends at byte {} but the file has {}: it is truncated, download it again", Grouped(*end), Grouped(*length))]
    PastEnd { name: Quoted, end: u64, length: u64 },
    #[error("the tensors start at byte {}, no multiple of {MAPPING_ALIGNMENT}, so the file cannot be mapped", Grouped(*offset))]
    NotMappable { offset: u64 },
    #[error(transparent)]
    Read(#[from] ReadFault),
}

/// Reads `count` descriptions and checks that their data lie one behind the other within `length` bytes.
///
/// llama.cpp takes no other order and no gaps (`gguf_init_from_reader`).
pub(crate) fn read_tensors<R: Read>(
    cursor: &mut Cursor<R>,
    count: u64,
    alignment: u64,
    length: u64,
) -> Result<Vec<Tensor>, TensorFault> {
    let mut tensors = Vec::new();
    let mut names = BTreeSet::new();
    for index in 0..count {
        let tensor = read_tensor(cursor, index)?;
        if !names.insert(tensor.name.clone()) {
            return Err(TensorFault::Duplicate { name: Quoted::new(&tensor.name) });
        }
        tensors.push(tensor);
    }
    let data = cursor.position().next_multiple_of(alignment);
    if !data.is_multiple_of(MAPPING_ALIGNMENT) {
        return Err(TensorFault::NotMappable { offset: data });
    }
    place(&mut tensors, data, alignment, length)?;
    Ok(tensors)
}

fn read_tensor<R: Read>(cursor: &mut Cursor<R>, index: u64) -> Result<Tensor, TensorFault> {
    let name = read_name(cursor, index)?;
    let dimensions = read_dimensions(cursor, &name)?;
    let kind = read_kind(cursor, &name)?;
    let bytes = size(&name, &dimensions, kind)?;
    let offset = cursor.u64()?;
    Ok(Tensor { name, kind, dimensions, offset, bytes, part: 0 })
}

fn read_name<R: Read>(cursor: &mut Cursor<R>, index: u64) -> Result<String, TensorFault> {
    let length = cursor.u64()?;
    if length == 0 {
        return Err(TensorFault::NoName { index });
    }
    if length > MAX_NAME_BYTES {
        return Err(TensorFault::NameTooLong { index, length });
    }
    let bytes = cursor.bytes(length as usize)?;
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.chars().any(char::is_control) => Ok(name.to_owned()),
        _ => Err(TensorFault::NameNotPlain { index, name: Quoted::from_bytes(bytes) }),
    }
}

fn read_dimensions<R: Read>(cursor: &mut Cursor<R>, name: &str) -> Result<Vec<u64>, TensorFault> {
    let count = cursor.u32()?;
    if !(1..=MAX_DIMENSIONS).contains(&count) {
        return Err(TensorFault::DimensionCount { name: name.into(), count });
    }
    let dims = (0..count).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
    if dims.contains(&0) {
        return Err(TensorFault::EmptyDimension { name: name.into(), dimensions: dimensions(&dims) });
    }
    Ok(dims)
}

fn read_kind<R: Read>(cursor: &mut Cursor<R>, name: &str) -> Result<TensorType, TensorFault> {
    let id = cursor.u32()?;
    match TensorType::from_id(id) {
        Known::Usable(kind) if kind.is_intermediate() => {
            Err(TensorFault::IntermediateType { name: name.into(), kind })
        }
        Known::Usable(kind) => Ok(kind),
        Known::Removed(advice) => Err(TensorFault::RemovedType { name: name.into(), id, advice }),
        Known::Unknown => Err(TensorFault::UnknownType { name: name.into(), id }),
    }
}

fn size(name: &str, dims: &[u64], kind: TensorType) -> Result<u64, TensorFault> {
    let row = dims[0];
    if !row.is_multiple_of(kind.block()) {
        return Err(TensorFault::RowNotWholeBlocks { name: name.into(), kind, row });
    }
    // ggml counts in signed 64 bits.
    dims.iter()
        .try_fold(1u64, |product, dim| product.checked_mul(*dim))
        .and_then(|elements| kind.bytes_of(elements))
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| TensorFault::TooLarge { name: name.into(), dimensions: dimensions(dims) })
}

/// Turns offsets in the data into offsets in the file.
fn place(tensors: &mut [Tensor], data: u64, alignment: u64, length: u64) -> Result<(), TensorFault> {
    let mut expected = 0;
    for tensor in tensors {
        check_place(tensor, expected, alignment)?;
        let past_end = |end| TensorFault::PastEnd { name: Quoted::new(&tensor.name), end, length };
        let end = data.saturating_add(expected).saturating_add(tensor.bytes);
        if end > length {
            return Err(past_end(end));
        }
        tensor.offset = data + expected;
        expected += tensor.bytes.next_multiple_of(alignment);
    }
    Ok(())
}

fn check_place(tensor: &Tensor, expected: u64, alignment: u64) -> Result<(), TensorFault> {
    let (name, offset) = (Quoted::new(&tensor.name), tensor.offset);
    if !offset.is_multiple_of(alignment) {
        return Err(TensorFault::Misaligned { name, offset, alignment });
    }
    match offset.cmp(&expected) {
        std::cmp::Ordering::Less => Err(TensorFault::Overlap { name, offset, expected }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(TensorFault::Gap { name, offset, expected }),
    }
}
