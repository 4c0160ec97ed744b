use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use thiserror::Error;

use crate::tensor_type::TensorType;
use crate::text::Bytes;
use crate::value::ValueType;

const ALIGNMENT: u64 = 32;

/// Bytes gathered before they go to the disk.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes GGUF files. It checks nothing, so that tests can write wrong ones; to [`GgufWriter::write`] a file with data,
/// its tensors must lie one behind the other.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    /// GGUF version to claim.
    pub version: u32,
    /// Multiple that the data of each tensor starts on.
    pub alignment: u64,
    pub pairs: Vec<Pair>,
    pub tensors: Vec<Planned>,
}

/// A key and its value to be written, as any bytes.
#[derive(Clone, Debug)]
pub struct Pair {
    pub key: Vec<u8>,
    /// The number of the value's type.
    pub kind: u32,
    /// What follows it.
    pub payload: Vec<u8>,
}

/// A tensor to be written, as it says of itself.
#[derive(Clone, Debug)]
pub struct Planned {
    pub name: Vec<u8>,
    pub dimensions: Vec<u64>,
    /// Its type's number.
    pub kind: u32,
    /// Offset in the data.
    pub offset: u64,
    pub bytes: u64,
}

/// Why a file could not be written. Nothing is left of it then.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("{}: no room for the {} of it: free some, or name another place", path.display(), Bytes(*needed))]
    NoRoom { path: PathBuf, needed: u64 },
    #[error("{}: cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self { version: 3, alignment: ALIGNMENT, pairs: Vec::new(), tensors: Vec::new() }
    }
}

impl GgufWriter {
    pub fn new() -> Self {
        Self::default()
    }

    /// A pair of any bytes, in place of the last with this key if there is one.
    pub fn raw(&mut self, key: &[u8], kind: u32, payload: &[u8]) -> &mut Self {
        let pair = Pair { key: key.to_vec(), kind, payload: payload.to_vec() };
        match self.pairs.iter_mut().rfind(|pair| pair.key == key) {
            Some(old) => *old = pair,
            None => self.pairs.push(pair),
        }
        self
    }

    /// Takes back the pairs with this key.
    pub fn without(&mut self, key: &str) -> &mut Self {
        self.pairs.retain(|pair| pair.key != key.as_bytes());
        self
    }

    pub fn text(&mut self, key: &str, text: &str) -> &mut Self {
        let mut payload = Vec::new();
        push_text(&mut payload, text.as_bytes());
        self.raw(key.as_bytes(), ValueType::String.id(), &payload)
    }

    pub fn u32(&mut self, key: &str, number: u32) -> &mut Self {
        self.raw(key.as_bytes(), ValueType::U32.id(), &number.to_le_bytes())
    }

    pub fn u16(&mut self, key: &str, number: u16) -> &mut Self {
        self.raw(key.as_bytes(), ValueType::U16.id(), &number.to_le_bytes())
    }

    pub fn i32(&mut self, key: &str, number: i32) -> &mut Self {
        self.raw(key.as_bytes(), ValueType::I32.id(), &number.to_le_bytes())
    }

    pub fn f32(&mut self, key: &str, number: f32) -> &mut Self {
        self.raw(key.as_bytes(), ValueType::F32.id(), &number.to_le_bytes())
    }

    pub fn flag(&mut self, key: &str, flag: bool) -> &mut Self {
        self.raw(key.as_bytes(), ValueType::Bool.id(), &[flag.into()])
    }

    pub fn texts<T: AsRef<[u8]>>(&mut self, key: &str, texts: &[T]) -> &mut Self {
        let mut entries = Vec::new();
        for text in texts {
            push_text(&mut entries, text.as_ref());
        }
        self.array(key, ValueType::String, texts.len(), &entries)
    }

    pub fn i32s(&mut self, key: &str, numbers: &[i32]) -> &mut Self {
        let entries: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.array(key, ValueType::I32, numbers.len(), &entries)
    }

    pub fn f32s(&mut self, key: &str, numbers: &[f32]) -> &mut Self {
        let entries: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.array(key, ValueType::F32, numbers.len(), &entries)
    }

    /// An array of `length` entries as they lie in a file.
    pub fn array(&mut self, key: &str, element: ValueType, length: usize, entries: &[u8]) -> &mut Self {
        let mut payload = element.id().to_le_bytes().to_vec();
        payload.extend_from_slice(&(length as u64).to_le_bytes());
        payload.extend_from_slice(entries);
        self.raw(key.as_bytes(), ValueType::Array.id(), &payload)
    }

    /// A tensor behind the last.
    pub fn tensor(&mut self, name: &str, kind: TensorType, dimensions: &[u64]) -> &mut Self {
        let elements = dimensions.iter().fold(1, |product: u64, dim| product.wrapping_mul(*dim));
        let offset = self.data_bytes();
        self.tensors.push(Planned {
            name: name.as_bytes().to_vec(),
            dimensions: dimensions.to_vec(),
            kind: kind.id(),
            offset: offset.checked_next_multiple_of(self.alignment).unwrap_or(offset),
            bytes: kind.bytes_of(elements).unwrap_or(0),
        });
        self
    }

    /// Bytes of the data of all tensors.
    pub fn data_bytes(&self) -> u64 {
        self.tensors.last().map_or(0, |tensor| tensor.offset.wrapping_add(tensor.bytes))
    }

    /// The header, padded to where the data starts.
    pub fn header(&self) -> Vec<u8> {
        let mut header = b"GGUF".to_vec();
        header.extend_from_slice(&self.version.to_le_bytes());
        header.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        header.extend_from_slice(&(self.pairs.len() as u64).to_le_bytes());
        for pair in &self.pairs {
            push_text(&mut header, &pair.key);
            header.extend_from_slice(&pair.kind.to_le_bytes());
            header.extend_from_slice(&pair.payload);
        }
        for tensor in &self.tensors {
            push_text(&mut header, &tensor.name);
            header.extend_from_slice(&(tensor.dimensions.len() as u32).to_le_bytes());
            for dimension in &tensor.dimensions {
                header.extend_from_slice(&dimension.to_le_bytes());
            }
            header.extend_from_slice(&tensor.kind.to_le_bytes());
            header.extend_from_slice(&tensor.offset.to_le_bytes());
        }
        header.resize(header.len().next_multiple_of(self.alignment as usize), 0);
        header
    }

    /// The whole file, its data zeros: for small ones.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = self.header();
        file.resize(file.len() + self.data_bytes() as usize, 0);
        file
    }

    /// Writes the file to `path` at once or not at all; `fill` writes the bytes of each tensor in turn.
    pub fn write(
        &self,
        path: &Path,
        fill: impl FnMut(&Planned, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let header = self.header();
        let needed = header.len() as u64 + self.data_bytes();
        let partial = Partial::beside(path);
        let written =
            self.write_to(&partial.path, &header, fill).and_then(|()| fs::rename(&partial.path, path));
        written.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                WriteError::NoRoom { path: path.to_owned(), needed }
            }
            _ => WriteError::Io { path: path.to_owned(), source },
        })
    }

    fn write_to(
        &self,
        path: &Path,
        header: &[u8],
        mut fill: impl FnMut(&Planned, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        file.write_all(header)?;
        let mut at = 0;
        for tensor in &self.tensors {
            let padding = vec![0; (tensor.offset - at) as usize];
            file.write_all(&padding)?;
            fill(tensor, &mut file)?;
            at = tensor.offset + tensor.bytes;
        }
        file.flush()
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text);
}

/// A file in the making, gone with this value unless it was renamed.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(path: &Path) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", process::id()));
        Self { path: path.with_file_name(name) }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name.
        let _gone = fs::remove_file(&self.path);
    }
}
