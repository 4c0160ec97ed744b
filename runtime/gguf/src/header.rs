use std::io::Read;

use thiserror::Error;

use crate::cursor::{Cursor, ReadFault};
use crate::metadata::{KeyFault, MAX_KEYS, MIN_PAIR_BYTES, Metadata, wrong_type};
use crate::tensor::{MAX_TENSORS, MIN_TENSOR_BYTES, Tensor, TensorFault, read_tensors};
use crate::text::Grouped;
use crate::value::Value;

/// Magic, version and the two counts.
const PREAMBLE_BYTES: u64 = 4 + 4 + 8 + 8;

const DEFAULT_ALIGNMENT: u32 = 32;

/// Alignments beyond a page buy nothing, and a large one makes the padding of small files wrap.
const MAX_ALIGNMENT: u32 = 4096;

const ALIGNMENT_KEY: &str = "general.alignment";

/// One file's header: all that lies before the data of its tensors.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<Tensor>,
    /// Bytes up to the data of the tensors, padding excluded.
    pub(crate) bytes: u64,
}

/// What is wrong with a file's frame.
#[derive(Debug, Error)]
pub enum HeaderFault {
    #[error("it is empty: the download never started or was cut, get it again")]
    Empty,
    #[error(
        "it has {length} bytes, fewer than the {PREAMBLE_BYTES} of the shortest GGUF header: download it again"
    )]
    TooShort { length: u64 },
    #[error("it is no GGUF file, {looks_like}")]
    NotGguf { looks_like: Impostor },
    #[error(
        "it has GGUF version {version}; 2 and 3 can be read: convert the model anew with a current llama.cpp"
    )]
    Version { version: u32 },
    #[error("it claims {} tensors, more than the {} that any model has", Grouped(*count), Grouped(MAX_TENSORS))]
    TensorCount { count: u64 },
    #[error("it claims {} keys, more than the {} that any model has", Grouped(*count), Grouped(MAX_KEYS))]
    KeyCount { count: u64 },
    #[error("it claims {} keys and {} tensors, which cannot fit into its {} bytes", Grouped(*keys), Grouped(*tensors), Grouped(*length))]
    CountsPastEnd { keys: u64, tensors: u64, length: u64 },
    #[error("key \"{ALIGNMENT_KEY}\" is {alignment}; a power of two from 8 to {MAX_ALIGNMENT} is needed")]
    Alignment { alignment: u32 },
    #[error(transparent)]
    Key(#[from] KeyFault),
    #[error(transparent)]
    Tensor(#[from] TensorFault),
    #[error(transparent)]
    Read(#[from] ReadFault),
}

/// What a file that is no GGUF probably is, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Impostor {
    #[error("it starts like a web page: the download got an error or a login page instead of the file")]
    WebPage,
    #[error("it is a git-lfs pointer: run `git lfs pull` where it was cloned, or download the file itself")]
    LfsPointer,
    #[error(
        "it is in safetensors format: convert it with llama.cpp's convert_hf_to_gguf.py, or get a GGUF of it"
    )]
    Safetensors,
    #[error("it is in a format from before GGUF (2023): get a current GGUF of the model")]
    OldGgml,
    #[error("it is a zip archive, perhaps a PyTorch checkpoint: unpack it, or get a GGUF of the model")]
    Zip,
    #[error("it is compressed with gzip: unpack it first")]
    Gzip,
    #[error("it is a GGUF in big-endian order: get the little-endian file")]
    BigEndian,
    #[error("it holds JSON: the download may have got an error message instead of the file")]
    Json,
    #[error("it starts with bytes {0:02x?} instead of \"GGUF\"")]
    Unknown([u8; 4]),
}

/// Reads and checks the header of a file of `length` bytes.
pub(crate) fn read_header<R: Read>(source: R, length: u64) -> Result<Header, HeaderFault> {
    if length == 0 {
        return Err(HeaderFault::Empty);
    }
    let mut cursor = Cursor::new(source, length);
    check_magic(&mut cursor, length)?;
    let version = read_version(&mut cursor)?;
    let (tensor_count, key_count) = read_counts(&mut cursor, length)?;
    let metadata = Metadata::read(&mut cursor, key_count)?;
    let alignment = alignment(&metadata)?;
    let tensors = read_tensors(&mut cursor, tensor_count, alignment.into(), length)?;
    Ok(Header { version, metadata, tensors, bytes: cursor.position() })
}

fn check_magic<R: Read>(cursor: &mut Cursor<R>, length: u64) -> Result<(), HeaderFault> {
    if length < 4 {
        return Err(HeaderFault::TooShort { length });
    }
    let mut start = [0; 16];
    let seen = cursor.peek(start.len())?;
    start[..seen.len()].copy_from_slice(seen);
    if !start.starts_with(b"GGUF") {
        return Err(HeaderFault::NotGguf { looks_like: impostor(&start) });
    }
    if length < PREAMBLE_BYTES {
        return Err(HeaderFault::TooShort { length });
    }
    cursor.bytes(4)?;
    Ok(())
}

fn impostor(start: &[u8; 16]) -> Impostor {
    let lower = start.to_ascii_lowercase();
    match start {
        _ if lower.starts_with(b"<!doctype") || lower.starts_with(b"<html") => Impostor::WebPage,
        _ if start.starts_with(b"version https://") => Impostor::LfsPointer,
        // A length of the JSON that follows, in eight bytes.
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Impostor::Safetensors,
        [b'l', b'm', b'g', b'g', ..] | [b't', b'j', b'g', b'g', ..] | [b'f', b'm', b'g', b'g', ..] => {
            Impostor::OldGgml
        }
        [b'P', b'K', 3, 4, ..] => Impostor::Zip,
        [0x1f, 0x8b, ..] => Impostor::Gzip,
        [b'F', b'U', b'G', b'G', ..] => Impostor::BigEndian,
        [b'{', b'"', ..] => Impostor::Json,
        [a, b, c, d, ..] => Impostor::Unknown([*a, *b, *c, *d]),
    }
}

fn read_version<R: Read>(cursor: &mut Cursor<R>) -> Result<u32, HeaderFault> {
    let version = cursor.u32()?;
    match version {
        2 | 3 => Ok(version),
        // The magic is bytes and reads the same in both orders; the version does not.
        _ if matches!(version.swap_bytes(), 1..=3) => {
            Err(HeaderFault::NotGguf { looks_like: Impostor::BigEndian })
        }
        _ => Err(HeaderFault::Version { version }),
    }
}

/// The counts of tensors and of keys, in this order.
fn read_counts<R: Read>(cursor: &mut Cursor<R>, length: u64) -> Result<(u64, u64), HeaderFault> {
    let (tensors, keys) = (cursor.u64()?, cursor.u64()?);
    if tensors > MAX_TENSORS {
        return Err(HeaderFault::TensorCount { count: tensors });
    }
    if keys > MAX_KEYS {
        return Err(HeaderFault::KeyCount { count: keys });
    }
    if keys * MIN_PAIR_BYTES + tensors * MIN_TENSOR_BYTES > cursor.remaining() {
        return Err(HeaderFault::CountsPastEnd { keys, tensors, length });
    }
    Ok((tensors, keys))
}

fn alignment(metadata: &Metadata) -> Result<u32, HeaderFault> {
    let alignment = match metadata.value(ALIGNMENT_KEY) {
        None => DEFAULT_ALIGNMENT,
        Some(Value::U32(alignment)) => *alignment,
        Some(other) => return Err(wrong_type(ALIGNMENT_KEY, other, "u32").into()),
    };
    if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&alignment) {
        return Err(HeaderFault::Alignment { alignment });
    }
    Ok(alignment)
}
