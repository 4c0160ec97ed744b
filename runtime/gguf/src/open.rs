use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{FileFault, GgufError, Refusal};
use crate::header::{Header, read_header};
use crate::metadata::Metadata;
use crate::model::Model;
use crate::split::{Place, SplitFault, part_paths};
use crate::tensor::Tensor;
use crate::text::Quoted;

/// A checked model file, or all parts of a split one.
#[derive(Debug)]
pub struct Gguf {
    model: Model,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    parts: Vec<Part>,
}

/// One file of a model, open since before it was checked.
///
/// Hand `file` itself to whatever reads the weights: a path may lead elsewhere by then. That the file does not
/// shrink while it is mapped is the caller's to ensure; `length` is what it had.
#[derive(Debug)]
pub struct Part {
    pub path: PathBuf,
    pub file: File,
    /// Device and inode: the file's identity whatever its name.
    pub device: u64,
    pub inode: u64,
    /// Bytes of the file when it was checked.
    pub length: u64,
    /// Bytes of its header.
    pub header_bytes: u64,
    /// GGUF version, 2 or 3.
    pub version: u32,
}

impl Gguf {
    /// Opens and checks a model; of a split one, any part opens all.
    ///
    /// Reads headers only, through a window of fixed size: memory stays below 32 MB, whatever the file claims.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let (part, header) = open_part(path)?;
        match Place::read(&header.metadata).map_err(|fault| Refusal::from(fault).at(path))? {
            None => Self::assemble(vec![part], header.metadata, header.tensors),
            Some(place) => Self::open_set(path, (part, header), place),
        }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// All key-value pairs, of a split model those of its first part.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The files, in the order of the parts.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    fn open_set(path: &Path, opened: (Part, Header), place: Place) -> Result<Self, GgufError> {
        let paths = part_paths(path, place).map_err(|fault| Refusal::from(fault).at(path))?;
        let mut opened = Some(opened);
        let (mut parts, mut tensors, mut metadata) = (Vec::new(), Vec::new(), None);
        for (index, path) in paths.iter().enumerate() {
            let (part, header) = match opened.take_if(|_| index == usize::from(place.index)) {
                Some(opened) => opened,
                None => open_beside(path, index, place.count)?,
            };
            check_place(&header, index, place.count).map_err(|refusal| refusal.at(path))?;
            tensors.extend(header.tensors.into_iter().map(|tensor| Tensor { part: index, ..tensor }));
            metadata.get_or_insert(header.metadata);
            parts.push(part);
        }
        let metadata = metadata.unwrap_or_default();
        check_set(&metadata, &tensors).map_err(|refusal| refusal.at(&paths[0]))?;
        Self::assemble(parts, metadata, tensors)
    }

    fn assemble(parts: Vec<Part>, metadata: Metadata, tensors: Vec<Tensor>) -> Result<Self, GgufError> {
        let model = Model::read(&metadata, &tensors).map_err(|refusal| refusal.at(&parts[0].path))?;
        Ok(Self { model, metadata, tensors, parts })
    }
}

fn open_part(path: &Path) -> Result<(Part, Header), GgufError> {
    read_part(path).map_err(|refusal| refusal.at(path))
}

fn read_part(path: &Path) -> Result<(Part, Header), Refusal> {
    // Opening a pipe would wait for its other end, so look first.
    check_kind(&fs::metadata(path).map_err(open_fault)?)?;
    let file = File::open(path).map_err(open_fault)?;
    let found = file.metadata().map_err(open_fault)?;
    check_kind(&found)?;
    let header = read_header(&file, found.len())?;
    let part = Part {
        path: path.to_owned(),
        device: found.dev(),
        inode: found.ino(),
        length: found.len(),
        header_bytes: header.bytes,
        version: header.version,
        file,
    };
    Ok((part, header))
}

fn check_kind(found: &fs::Metadata) -> Result<(), FileFault> {
    match found {
        _ if found.is_file() => Ok(()),
        _ if found.is_dir() => Err(FileFault::Folder),
        _ => Err(FileFault::NotRegular),
    }
}

fn open_fault(error: io::Error) -> FileFault {
    match error.kind() {
        io::ErrorKind::NotFound => FileFault::Missing,
        _ => FileFault::Open(error),
    }
}

fn open_beside(path: &Path, index: usize, count: u16) -> Result<(Part, Header), GgufError> {
    open_part(path).map_err(|error| match error.refusal {
        Refusal::File(FileFault::Missing) => {
            Refusal::Split(SplitFault::MissingPart { number: index as u32 + 1, count }).at(path)
        }
        _ => error,
    })
}

fn check_place(header: &Header, index: usize, count: u16) -> Result<(), Refusal> {
    let expected = index as u32 + 1;
    match Place::read(&header.metadata)? {
        None => Err(SplitFault::Count { found: 1, expected: count }.into()),
        Some(place) if place.count != count => {
            Err(SplitFault::Count { found: place.count, expected: count }.into())
        }
        Some(place) if u32::from(place.index) + 1 != expected => {
            Err(SplitFault::Number { found: u32::from(place.index) + 1, expected }.into())
        }
        Some(_) => Ok(()),
    }
}

fn check_set(metadata: &Metadata, tensors: &[Tensor]) -> Result<(), Refusal> {
    let mut names = BTreeSet::new();
    if let Some(tensor) = tensors.iter().find(|tensor| !names.insert(&tensor.name)) {
        return Err(SplitFault::Duplicate { name: Quoted::new(&tensor.name) }.into());
    }
    match metadata.i32("split.tensors.count")? {
        Some(expected) if usize::try_from(expected) != Ok(tensors.len()) => {
            Err(SplitFault::Tensors { found: tensors.len(), expected }.into())
        }
        Some(_) => Ok(()),
        None => Err(crate::metadata::KeyFault::Missing { key: "split.tensors.count".into() }.into()),
    }
}
