//! Files that are there as a whole or not at all, and that several processes change.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Whoever holds a lock reads and writes one file of rows; this is far longer than that takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// Puts `bytes` in the place of what is there, and makes the folder where it is missing. They are on the disk when it returns.
///
/// # Errors
/// Of the file system; then what was there stays.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder(path);
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Whoever reads a file to write it again holds this meanwhile, so that nothing is lost of what another process adds. It is a file
/// beside it, since the file itself is replaced, and it ends with the process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its end")] Option<File>);

impl Lock {
    /// Waits while another process has it, 10 s at most.
    ///
    /// # Errors
    /// If it takes longer, or there can be no file beside it.
    pub fn of(path: &Path) -> io::Result<Self> {
        Self::within(path, PATIENCE)
    }

    fn within(path: &Path, patience: Duration) -> io::Result<Self> {
        let folder = folder(path);
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = folder.join(format!(".{name}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(&beside)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(Some(file))),
                // Some network file systems have no locks: there one is the only writer, as before.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Self(None));
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => {
                    let text = format!("another process has held {} for {patience:?}", beside.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_of_what_several_add() {
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("deep/lines");
        thread::scope(|scope| {
            for writer in 0..4 {
                scope.spawn(move || {
                    for line in 0..10 {
                        let _lock = Lock::of(path).unwrap();
                        let was = fs::read_to_string(path).unwrap_or_default();
                        replace(path, format!("{was}{writer} {line}\n").as_bytes()).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 40);
    }

    #[test]
    fn who_waits_for_too_long_is_told_for_what() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.toml");
        let held = Lock::of(&path).unwrap();
        let error = Lock::within(&path, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains(".rows.toml.lock"), "{error}");
        drop(held);
        Lock::within(&path, Duration::ZERO).unwrap();
    }
}
