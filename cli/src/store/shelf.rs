//! The folder of one's own models: a folder per alias, with its `alias.toml` and the files that were copied.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use serde::Serialize;

use super::{
    alias::{self, Alias, Name, Variant},
    place::Temporary,
};
use crate::failure::{Exit, Failure};

/// Files that are on their way in, whatever becomes of them.
const INCOMING: &str = ".incoming";
const LOCK: &str = ".lock";

/// One's own models.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    folder: PathBuf,
}

/// What is to be added.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) alias: Name,
    pub(crate) description: Option<String>,
    pub(crate) variant: Name,
    pub(crate) files: Files,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    pub(crate) source: String,
}

#[derive(Debug)]
pub(crate) enum Files {
    /// They stay where they are; this is the first.
    InPlace(PathBuf),
    /// They become files of the store, in this order.
    Incoming(Vec<Temporary>),
}

/// What is to become of a variant of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    Refuse,
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Added {
    New,
    Replaced,
    /// The very same file was there under this name.
    Known,
}

/// What a removal freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Removed {
    pub(crate) names: Vec<String>,
    pub(crate) bytes: u64,
    /// Files that were registered in place are still there.
    pub(crate) left: Vec<PathBuf>,
}

impl Shelf {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where files are brought before they have a name; made if it is not there.
    pub(crate) fn incoming(&self) -> anyhow::Result<PathBuf> {
        let incoming = self.folder.join(INCOMING);
        fs::create_dir_all(&incoming).map_err(|error| not_made(&incoming, &error))?;
        Ok(incoming)
    }

    /// Where this process brings one of the files of a model.
    pub(crate) fn incoming_file(&self, index: usize) -> anyhow::Result<PathBuf> {
        Ok(self.incoming()?.join(format!("{}-{index}.gguf", process::id())))
    }

    /// Removes what a process brought that did not finish.
    pub(crate) fn remove_incoming_of(&self, process: u32) {
        for (owner, path) in self.incoming_files() {
            if owner == process {
                drop(fs::remove_file(path));
            }
        }
    }

    /// Removes what was brought by processes that are no more.
    pub(crate) fn remove_abandoned(&self) {
        let lives = |process: u32| Path::new("/proc").join(process.to_string()).exists();
        for (owner, path) in self.incoming_files() {
            if !lives(owner) {
                drop(fs::remove_file(path));
            }
        }
    }

    /// With the process that brings each; downloads are folders, which stay.
    fn incoming_files(&self) -> Vec<(u32, PathBuf)> {
        let Ok(listing) = fs::read_dir(self.folder.join(INCOMING)) else { return Vec::new() };
        let owned = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let (owner, _) = name.strip_suffix(".gguf")?.split_once('-')?;
            Some((owner.parse().ok()?, entry.path()))
        };
        listing.filter_map(|entry| owned(entry.ok()?)).collect()
    }

    /// Whether a variant of this name may come.
    pub(crate) fn check(&self, alias: &Name, variant: &Name, conflict: Conflict) -> anyhow::Result<()> {
        let known = Alias::read(&self.folder.join(alias.as_str()))?;
        match known.as_ref().and_then(|known| known.variant(variant)) {
            Some(_) if conflict == Conflict::Refuse => Err(taken(alias, variant).into()),
            _ => Ok(()),
        }
    }

    /// All of it or nothing, also beside others who add and remove.
    pub(crate) fn add(&self, addition: Addition, conflict: Conflict) -> anyhow::Result<Added> {
        let Addition { alias: name, description, variant, files, sha256, bytes, source } = addition;
        let _lock = self.lock()?;
        let folder = self.folder.join(name.as_str());
        fs::create_dir_all(&folder).map_err(|error| not_made(&folder, &error))?;
        let fresh = || Alias { alias: name.clone(), description: None, variants: Vec::new() };
        let mut alias = Alias::read(&folder)?.unwrap_or_else(fresh);
        let known = alias.variants.iter().position(|known| known.name == variant);
        if let Some(known) = known.map(|at| &alias.variants[at]) {
            if known.sha256.as_deref() == Some(&sha256) && folder.join(&known.file).is_file() {
                return Ok(Added::Known);
            }
            if conflict == Conflict::Refuse {
                return Err(taken(&name, &variant).into());
            }
        }
        let file = settle(&folder, &name, &variant, files)?;
        let added =
            Variant { name: variant, file, sha256: Some(sha256), bytes: Some(bytes), source: Some(source) };
        alias.description = description.or(alias.description);
        let old = match known {
            Some(at) => Some(std::mem::replace(&mut alias.variants[at], added.clone())),
            None => {
                alias.variants.push(added.clone());
                None
            }
        };
        alias.write(&folder)?;
        let Some(old) = old else { return Ok(Added::New) };
        if old.file != added.file {
            remove_files(&folder, &old);
        }
        Ok(Added::Replaced)
    }

    /// Removes one variant, or the alias with all of them.
    ///
    /// # Errors
    /// If there is none of that name here.
    pub(crate) fn remove(&self, name: &Name, variant: Option<&Name>) -> anyhow::Result<Option<Removed>> {
        if !self.folder.is_dir() {
            return Ok(None);
        }
        let _lock = self.lock()?;
        let folder = self.folder.join(name.as_str());
        let Some(mut alias) = Alias::read(&folder)? else { return Ok(None) };
        let (gone, kept): (Vec<Variant>, Vec<Variant>) =
            alias.variants.drain(..).partition(|known| variant.is_none_or(|variant| known.name == *variant));
        if gone.is_empty() && variant.is_some() {
            return Ok(None);
        }
        alias.variants = kept;
        if alias.variants.is_empty() {
            fs::remove_file(folder.join(alias::FILE))?;
        } else {
            alias.write(&folder)?;
        }
        let mut removed = Removed { names: Vec::new(), bytes: 0, left: Vec::new() };
        for variant in gone {
            removed.names.push(format!("{name}:{}", variant.name));
            if variant.file.is_absolute() {
                removed.left.push(variant.file);
            } else {
                removed.bytes += remove_files(&folder, &variant);
            }
        }
        // Stays if a person put something else there.
        drop(fs::remove_dir(&folder));
        Ok(Some(removed))
    }

    /// Held while the names change.
    fn lock(&self) -> anyhow::Result<File> {
        fs::create_dir_all(&self.folder).map_err(|error| not_made(&self.folder, &error))?;
        let path = self.folder.join(LOCK);
        let lock = File::options().write(true).create(true).truncate(false).open(&path);
        let locked = lock.and_then(|file| file.lock().map(|()| file));
        locked.with_context(|| format!("cannot lock {}", path.display()))
    }
}

fn not_made(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot make {}: {error}", folder.display()))
        .hint("models can be kept elsewhere: XDG_DATA_HOME=FOLDER")
}

fn taken(alias: &Name, variant: &Name) -> Failure {
    Failure::new(Exit::Failed, format!("there is a model {alias}:{variant} already, and it is another file"))
        .hint("--variant NAME adds it beside that one, --replace puts it in its place")
}

/// The files under their final names; gives that of the first.
fn settle(folder: &Path, alias: &Name, variant: &Name, files: Files) -> anyhow::Result<PathBuf> {
    let files = match files {
        Files::InPlace(path) => return Ok(path),
        Files::Incoming(files) => files,
    };
    let count = files.len();
    let name = |part: usize| match count {
        1 => format!("{alias}-{variant}.gguf"),
        _ => format!("{alias}-{variant}-{part:05}-of-{count:05}.gguf"),
    };
    for (index, file) in files.into_iter().enumerate() {
        let path = folder.join(name(index + 1));
        file.keep_as(&path).with_context(|| format!("cannot put a file at {}", path.display()))?;
    }
    Ok(name(1).into())
}

/// Bytes that are free now.
fn remove_files(folder: &Path, variant: &Variant) -> u64 {
    let remove = |path: PathBuf| -> io::Result<u64> {
        let bytes = fs::metadata(&path)?.len();
        fs::remove_file(path).map(|()| bytes)
    };
    // What is gone already needs no removal.
    parts(folder, &variant.file).into_iter().map(|path| remove(path).unwrap_or(0)).sum()
}

/// The paths of all parts of a model, by the name of its first.
fn parts(folder: &Path, first: &Path) -> Vec<PathBuf> {
    let path = folder.join(first);
    let Some(name) = path.to_str() else { return vec![path] };
    let Some((stem, count)) = name.strip_suffix(".gguf").and_then(|stem| stem.rsplit_once("-00001-of-"))
    else {
        return vec![path];
    };
    let Ok(parts) = count.parse::<u16>() else { return vec![path] };
    (1..=parts).map(|part| format!("{stem}-{part:05}-of-{count}.gguf").into()).collect()
}
