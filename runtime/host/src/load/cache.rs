//! Compiled components on disk. Only files that this user alone can have written are taken (see
//! [`crate::load::artifact`]).

use std::{
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use rustix::fs::{
    self, AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};

use crate::load::artifact::Artifact;

/// A file of this kind that is older was left behind by a process that ended.
const TEMPORARY: &str = ".tmp";
const TEMPORARY_AGE: Duration = Duration::from_hours(1);

/// A directory for compiled components, and how much may be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Made if it is not there. Must belong to this user, and be writable by nobody else.
    pub directory: PathBuf,
    /// What was not used for longest goes first.
    pub capacity_bytes: u64,
}

impl CacheConfig {
    /// With room for 1 GiB.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), capacity_bytes: 1 << 30 }
    }
}

#[derive(Debug)]
pub(crate) struct Cache {
    directory: OwnedFd,
    capacity_bytes: u64,
}

impl Cache {
    pub(crate) fn open(config: &CacheConfig) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&config.directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(&config.directory, flags, Mode::empty())?;
        private(&fs::fstat(&directory)?).map_err(io::Error::other)?;
        Ok(Self { directory, capacity_bytes: config.capacity_bytes })
    }

    /// What was stored under this name. Whatever is wrong with it, it is then compiled again.
    pub(crate) fn find(&self, name: &str) -> Option<Artifact> {
        let sealed = match self.read(name) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(name, %error, "compiled code could not be read from the cache");
                return None;
            }
        };
        let artifact = Artifact::open(sealed);
        if artifact.is_none() {
            tracing::warn!(name, "compiled code in the cache is damaged");
            self.remove(name);
        }
        artifact
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(fs::openat(&self.directory, name, flags, Mode::empty())?);
        let stat = fs::fstat(&file)?;
        private(&stat).map_err(io::Error::other)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a file"));
        }
        let mut sealed = Vec::with_capacity(stat.st_size as usize);
        file.read_to_end(&mut sealed)?;
        // The time of the last use is what eviction goes by.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let used =
            Timestamps { last_access: Timespec { tv_nsec: UTIME_OMIT, ..now }, last_modification: now };
        fs::futimens(&file, &used)?;
        Ok(sealed)
    }

    /// All of it or nothing, also for those who look at the same time.
    pub(crate) fn store(&self, name: &str, artifact: &Artifact) -> io::Result<()> {
        let temporary = format!("{name}.{}{TEMPORARY}", std::process::id());
        let stored = self.write(&temporary, artifact).and_then(|()| {
            fs::renameat(&self.directory, &temporary, &self.directory, name).map_err(io::Error::from)
        });
        if stored.is_err() {
            self.remove(&temporary);
        }
        self.evict(name);
        stored
    }

    fn write(&self, name: &str, artifact: &Artifact) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        File::from(file).write_all(artifact.sealed())
    }

    /// Makes room, but not by removing what has just come.
    fn evict(&self, newest: &str) {
        let mut files = self.files().unwrap_or_default();
        files.sort_by_key(|file| file.used);
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        let abandoned = SystemTime::now() - TEMPORARY_AGE;
        for file in files {
            let is_abandoned = file.name.ends_with(TEMPORARY) && file.used < abandoned;
            if (total > self.capacity_bytes && file.name != newest) || is_abandoned {
                self.remove(&file.name);
                total -= file.bytes;
            }
        }
    }

    fn files(&self) -> io::Result<Vec<Entry>> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Ok(stat) = fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let used = SystemTime::UNIX_EPOCH
                    + Duration::new(stat.st_mtime.max(0) as u64, stat.st_mtime_nsec as u32);
                files.push(Entry { name, used, bytes: stat.st_size as u64 });
            }
        }
        Ok(files)
    }

    fn remove(&self, name: &str) {
        // If it is gone already, so much the better.
        let _ = fs::unlinkat(&self.directory, name, AtFlags::empty());
    }
}

#[derive(Debug)]
struct Entry {
    name: String,
    used: SystemTime,
    bytes: u64,
}

/// Ours, and nobody else may write to it.
fn private(stat: &Stat) -> Result<(), &'static str> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user");
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Err("others may write to it (chmod go-w)");
    }
    Ok(())
}
