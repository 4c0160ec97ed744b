//! The folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dunlin_protocol::BlobDigest;

use crate::{BlobHasher, StoreError, Transfer};

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// How often a part may be gone when it is locked, until somebody else is taken to be busy with it.
const LOCK_ATTEMPTS: u32 = 8;

/// What arrives, in the folder of the store.
pub(crate) const INCOMING: &str = "incoming";
pub(crate) const PART: &str = "part";

/// What a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one blob.
    pub blob_bytes: u64,
    /// Of all together, those that have not come whole included.
    pub total_bytes: u64,
    /// What must stay free on the disk for others.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { blob_bytes: 64 << 30, total_bytes: u64::MAX, reserve_bytes: 256 << 20 }
    }
}

/// A folder of blobs: `sha256/HEX`, `blake3/HEX`, and `incoming/` for what is not whole.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    limits: Limits,
    promised: Arc<AtomicU64>,
}

/// What became of the wish for a blob.
#[derive(Debug)]
pub enum Begun {
    /// It is here.
    Present(PathBuf),
    /// Send it from [`Transfer::offset`] on.
    Transfer(Box<Transfer>),
}

/// Room that transfers of this process were promised and have not used.
#[derive(Debug, Default)]
pub(crate) struct Promised {
    all: Arc<AtomicU64>,
    mine: u64,
}

impl Promised {
    fn new(all: &Arc<AtomicU64>, mine: u64) -> Self {
        all.fetch_add(mine, Ordering::Relaxed);
        Self { all: all.clone(), mine }
    }

    /// So much of it is used now.
    pub(crate) fn keep(&mut self, bytes: u64) {
        let bytes = bytes.min(self.mine);
        self.mine -= bytes;
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        self.keep(self.mine);
    }
}

impl Store {
    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// Of the file system.
    pub fn open(root: impl Into<PathBuf>, limits: Limits) -> Result<Self, StoreError> {
        let root = root.into();
        for folder in ["sha256", "blake3", INCOMING] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        }
        Ok(Self { root, limits, promised: Arc::default() })
    }

    /// The file of a blob that is here.
    pub fn path(&self, blob: BlobDigest) -> Option<PathBuf> {
        Some(self.place(blob)).filter(|path| path.is_file())
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes a blob that is in memory.
    ///
    /// # Errors
    /// As [`Self::begin`] and [`Transfer::finish`].
    pub fn put(&self, blob: BlobDigest, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        match self.begin(blob, bytes.len() as u64)? {
            Begun::Present(path) => Ok(path),
            Begun::Transfer(mut transfer) => {
                let from = usize::try_from(transfer.offset()).unwrap_or(usize::MAX);
                let rest = bytes.get(from..).unwrap_or_default();
                transfer.write(transfer.offset(), rest)?;
                transfer.finish()
            }
        }
    }

    /// Opens a blob at an offset. Gives its length, too.
    ///
    /// # Errors
    /// [`StoreError::Missing`], or of the file system.
    pub fn read(&self, blob: BlobDigest, offset: u64) -> Result<(File, u64), StoreError> {
        let path = self.path(blob).ok_or(StoreError::Missing { blob })?;
        let opened = File::open(&path).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(offset.min(length)))?;
            Ok((file, length))
        });
        opened.map_err(StoreError::io(&path))
    }

    /// Begins to take a blob of so many bytes, or goes on where an earlier transfer stopped.
    ///
    /// # Errors
    /// What speaks against it, before anything is sent: its size, the limits, the disk, another transfer of it.
    pub fn begin(&self, blob: BlobDigest, bytes: u64) -> Result<Begun, StoreError> {
        if let Some(path) = self.path(blob) {
            return Ok(Begun::Present(path));
        }
        if bytes > self.limits.blob_bytes {
            return Err(StoreError::TooLarge { blob, bytes, limit: self.limits.blob_bytes });
        }
        let path = self.part(blob);
        let locked = lock(&path).map_err(StoreError::io(&path))?;
        let mut file = locked.ok_or(StoreError::Busy { blob })?;
        // Whoever held the lock may have finished meanwhile.
        if let Some(whole) = self.path(blob) {
            drop(fs::remove_file(&path));
            return Ok(Begun::Present(whole));
        }
        let (hasher, received) = resume(&mut file, blob, bytes).map_err(StoreError::io(&path))?;
        let promised = self.promise(blob, bytes - received, &path)?;
        let paths = (path, self.place(blob));
        let transfer = Transfer::new(blob, bytes, received, hasher, Box::new(file), paths, promised);
        Ok(Begun::Transfer(Box::new(transfer)))
    }

    /// Reads a blob anew: cards rot, and files get lost in a power cut.
    ///
    /// # Errors
    /// [`StoreError::Torn`] if it is another now.
    pub fn verify(&self, blob: BlobDigest) -> Result<(), StoreError> {
        let (mut file, _) = self.read(blob, 0)?;
        let path = self.place(blob);
        let mut hasher = BlobHasher::like(blob);
        hash(&mut file, &mut hasher, u64::MAX).map_err(StoreError::io(&path))?;
        let found = hasher.finish();
        if found == blob {
            return Ok(());
        }
        fs::remove_file(&path).map_err(StoreError::io(&path))?;
        Err(StoreError::Torn { blob, found })
    }

    /// All blobs that are here with their lengths, in the order of their names.
    ///
    /// # Errors
    /// Of the file system.
    pub fn list(&self) -> Result<Vec<(BlobDigest, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for kind in ["sha256", "blake3"] {
            for (path, metadata) in self.files(kind)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                // What somebody else has put here is not ours.
                if let Ok(blob) = format!("{kind}:{name}").parse() {
                    blobs.push((blob, metadata.len()));
                }
            }
        }
        blobs.sort_unstable();
        Ok(blobs)
    }

    /// Deletes a blob. One that is not here is deleted already.
    ///
    /// # Errors
    /// Of the file system.
    pub fn remove(&self, blob: BlobDigest) -> Result<(), StoreError> {
        let path = self.place(blob);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Bytes of everything that is here, parts included.
    ///
    /// # Errors
    /// Of the file system.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        let mut used = 0;
        for folder in ["sha256", "blake3", INCOMING] {
            used += self.files(folder)?.iter().map(|(_, metadata)| metadata.len()).sum::<u64>();
        }
        Ok(used)
    }

    /// Bytes that the disk still takes, the reserve aside.
    ///
    /// # Errors
    /// Of the file system.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        let disk =
            rustix::fs::statvfs(&self.root).map_err(|error| StoreError::io(&self.root)(error.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(self.limits.reserve_bytes))
    }

    fn promise(&self, blob: BlobDigest, needed: u64, path: &Path) -> Result<Promised, StoreError> {
        let promised = self.promised.load(Ordering::Relaxed);
        let free = self.limits.total_bytes.saturating_sub(self.used_bytes()?).saturating_sub(promised);
        if needed > free {
            return Err(StoreError::OverQuota { blob, needed, free });
        }
        if needed > self.free_bytes()?.saturating_sub(promised) {
            let reserve = self.limits.reserve_bytes;
            return Err(StoreError::DiskFull { blob, needed, path: path.to_owned(), reserve });
        }
        Ok(Promised::new(&self.promised, needed))
    }

    pub(crate) fn files(&self, folder: &str) -> Result<Vec<(PathBuf, fs::Metadata)>, StoreError> {
        let folder = self.root.join(folder);
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(StoreError::io(&folder))? {
            let entry = entry.map_err(StoreError::io(&folder))?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => files.push((entry.path(), metadata)),
                // Removed meanwhile, or not ours.
                _ => {}
            }
        }
        Ok(files)
    }

    fn place(&self, blob: BlobDigest) -> PathBuf {
        match blob {
            BlobDigest::Sha256(digest) => self.root.join("sha256").join(digest.to_string()),
            BlobDigest::Blake3(digest) => self.root.join("blake3").join(digest.to_string()),
        }
    }

    pub(crate) fn part(&self, blob: BlobDigest) -> PathBuf {
        self.root.join(INCOMING).join(format!("{}.{PART}", blob.to_string().replace(':', "-")))
    }
}

/// Opens a part for oneself alone. `None` if somebody else writes it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..LOCK_ATTEMPTS {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Before it was locked it may have been renamed or collected.
        if fs::metadata(path)
            .is_ok_and(|there| Some(there.ino()) == file.metadata().ok().map(|own| own.ino()))
        {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Reads what has come already; a part that is longer than the whole is none of it.
fn resume(file: &mut File, blob: BlobDigest, bytes: u64) -> io::Result<(BlobHasher, u64)> {
    let mut hasher = BlobHasher::like(blob);
    if file.metadata()?.len() > bytes {
        file.set_len(0)?;
    }
    let received = hash(file, &mut hasher, bytes)?;
    Ok((hasher, received))
}

fn hash(file: &mut File, hasher: &mut BlobHasher, most: u64) -> io::Result<u64> {
    let mut piece = vec![0; PIECE];
    let mut read = 0;
    let mut file = file.take(most);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(read),
            count => {
                hasher.update(&piece[..count]);
                read += count as u64;
            }
        }
    }
}
