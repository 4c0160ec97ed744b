use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::metadata::{KeyFault, Metadata};
use crate::text::Quoted;

/// Parts of one model; the most in the wild are about 50.
const MAX_PARTS: u16 = 512;

/// What is wrong with a model that comes in several files.
#[derive(Debug, Error)]
pub enum SplitFault {
    #[error(
        "it is one of {count} parts but its name does not end in -00001-of-{count:05}.gguf or the like: restore the name"
    )]
    Name { count: u16 },
    #[error("it is one of {count} parts, more than {MAX_PARTS}")]
    TooMany { count: u16 },
    #[error("it is part {found} of the model by its header, part {expected} by its name")]
    Number { found: u32, expected: u32 },
    #[error("it is one of {found} parts by its header, of {expected} by those before it")]
    Count { found: u16, expected: u16 },
    #[error("part {number} of {count} is missing: put it beside the others, all parts are one model")]
    MissingPart { number: u32, count: u16 },
    #[error("the parts hold {found} tensors, the first says {expected}: one of them is from another model")]
    Tensors { found: usize, expected: i32 },
    #[error("tensor {name} is in two parts")]
    Duplicate { name: Quoted },
}

/// A file's place among the parts of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 0.
    pub(crate) index: u16,
    pub(crate) count: u16,
}

impl Place {
    /// What a header says; `None` for a model in one file.
    pub(crate) fn read(metadata: &Metadata) -> Result<Option<Self>, KeyFault> {
        let count = metadata.u16("split.count")?.unwrap_or(0);
        let index = metadata.u16("split.no")?;
        match (count, index) {
            (0 | 1, _) => Ok(None),
            (_, Some(index)) => Ok(Some(Self { index, count })),
            (_, None) => Err(KeyFault::Missing { key: "split.no".into() }),
        }
    }
}

/// The paths of all `place.count` parts, by the name of the one at `path`.
pub(crate) fn part_paths(path: &Path, place: Place) -> Result<Vec<PathBuf>, SplitFault> {
    let count = place.count;
    if count > MAX_PARTS {
        return Err(SplitFault::TooMany { count });
    }
    let (prefix, number) = name_parts(path, count).ok_or(SplitFault::Name { count })?;
    let found = u32::from(place.index) + 1;
    if number != found {
        return Err(SplitFault::Number { found, expected: number });
    }
    Ok((1..=count)
        .map(|part| path.with_file_name(format!("{prefix}-{part:05}-of-{count:05}.gguf")))
        .collect())
}

/// The model's name and the part's number out of `NAME-00002-of-00003.gguf`.
fn name_parts(path: &Path, count: u16) -> Option<(String, u32)> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(&format!("-of-{count:05}.gguf"))?;
    let (prefix, number) = stem.rsplit_once('-')?;
    let is_number = number.len() == 5 && number.bytes().all(|digit| digit.is_ascii_digit());
    if prefix.is_empty() || !is_number {
        return None;
    }
    Some((prefix.to_owned(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_names_all() {
        let place = Place { index: 1, count: 3 };
        let paths =
            part_paths(Path::new("/m/a-b-00002-of-00003.gguf"), place).map_err(|fault| fault.to_string());
        let names =
            ["/m/a-b-00001-of-00003.gguf", "/m/a-b-00002-of-00003.gguf", "/m/a-b-00003-of-00003.gguf"];
        assert_eq!(paths, Ok(names.map(PathBuf::from).to_vec()));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "a.gguf",
            "a-00002-of-00004.gguf",
            "-00002-of-00003.gguf",
            "a-2-of-00003.gguf",
            "a-00001-of-00003.gguf",
        ] {
            assert!(part_paths(Path::new(name), Place { index: 1, count: 3 }).is_err(), "{name}");
        }
    }
}
