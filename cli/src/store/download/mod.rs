//! Fetches models: goes on where it stopped, never half of one and half of another, one at a time of each.

mod http;
mod partial;
mod url;

use std::{
    env,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use dunlin_gguf::Bytes;
use sha2::{Digest, Sha256};
use ureq::Agent;

use self::{http::Trouble, partial::Partial};
use super::place::{Temporary, hex};
use crate::{
    failure::{Exit, Failure},
    terminal::{self, progress::Progress},
};

pub(crate) use self::url::Url;

/// Requests in a row that may bring nothing.
const MAX_FRUITLESS: u32 = 4;
/// Before the second of them; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Replaces it, in milliseconds: tests do not wait.
const PAUSE_VARIABLE: &str = "DUNLIN_PAUSE_MS";

const LOCK: &str = "lock";

/// A model that was fetched, part by part.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) files: Vec<Temporary>,
    /// Of each file.
    pub(crate) sha256: Vec<String>,
    /// Held while the files have no other name.
    _lock: File,
    folder: PathBuf,
}

impl Fetched {
    /// The first file, under a name that shows its place among the parts.
    pub(crate) fn first(&self) -> &Path {
        self.files[0].path()
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // Files that are wanted have another name by now.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Fetches a model into a folder of `incoming` that belongs to its address.
///
/// # Errors
/// If it cannot be had. What has come stays for the next time, unless it is wrong or the disk is full.
pub(crate) fn download(
    url: &Url,
    sha256: &[String],
    incoming: &Path,
    progress: &Progress,
) -> anyhow::Result<Fetched> {
    let urls = url.parts();
    if !sha256.is_empty() && sha256.len() != urls.len() {
        let message =
            format!("{} files are fetched, and --sha256 is given {} times", urls.len(), sha256.len());
        return Err(Failure::usage(message).into());
    }
    let folder = incoming.join(folder_name(url));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = lock(&folder)?;
    match fetch_all(&urls, sha256, &folder, progress) {
        Ok((paths, sha256)) => {
            let files = paths.into_iter().map(Temporary::new).collect();
            Ok(Fetched { files, sha256, _lock: lock, folder })
        }
        Err(error) => {
            // The folder stays if there is something in it to go on with.
            drop(fs::remove_file(folder.join(LOCK)));
            drop(fs::remove_dir(&folder));
            Err(error)
        }
    }
}

type PathsAndHashes = (Vec<PathBuf>, Vec<String>);

fn fetch_all(
    urls: &[Url],
    sha256: &[String],
    folder: &Path,
    progress: &Progress,
) -> anyhow::Result<PathsAndHashes> {
    let agent = http::agent();
    let (mut paths, mut hashes) = (Vec::new(), Vec::new());
    for (index, url) in urls.iter().enumerate() {
        let path = folder.join(url.file_name());
        let partial = complete(&agent, url, &path, progress)?;
        let found = hex(partial.hash());
        if let Some(expected) = sha256.get(index).filter(|expected| !expected.eq_ignore_ascii_case(&found)) {
            partial.remove();
            return Err(wrong_hash(url, expected, &found).into());
        }
        partial.sync().with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
        hashes.push(found);
    }
    Ok((paths, hashes))
}

fn folder_name(url: &Url) -> String {
    hex(Sha256::new_with_prefix(url.as_str()))[..16].to_owned()
}

fn wrong_hash(url: &Url, expected: &str, found: &str) -> Failure {
    let message = format!(
        "{} is not the file that it should be: its SHA-256 is\n{found}, not\n{expected}",
        url.public()
    );
    Failure::new(Exit::Model, message)
        .hint("what was fetched is removed again; is the hash that of this file?")
}

/// One `dunlin` at a time fetches from one address.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join(LOCK);
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            terminal::tell("another `dunlin model add` is fetching this; waiting for it");
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            // It may have taken the folder away when it was done.
            if !path.exists() {
                fs::create_dir_all(folder)?;
                return lock(folder);
            }
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok(file)
}

/// Fetches one file, with as many requests as bring something.
fn complete(agent: &Agent, url: &Url, path: &Path, progress: &Progress) -> anyhow::Result<Partial> {
    let checking = progress.bytes("reading what is there", None);
    let opened = Partial::open(path, |bytes| checking.advance(bytes));
    let mut partial = opened.with_context(|| format!("cannot write {}", path.display()))?;
    drop(checking);
    let mut bar = None;
    let mut fruitless = 0;
    while !partial.is_whole() {
        let before = partial.length;
        let fetched = http::fetch(
            agent,
            url,
            &mut partial,
            |missing| check_space(path, missing),
            |partial| {
                let what = format!("fetching {}", url.file_name());
                bar.get_or_insert_with(|| progress.bytes(&what, partial.version.bytes))
                    .set_position(partial.length);
            },
        );
        let reason = match fetched {
            Ok(()) => break,
            Err(Trouble::Lasting(failure)) => {
                if partial.length == 0 {
                    partial.remove();
                }
                return Err(failure.into());
            }
            Err(Trouble::Disk(error)) => return Err(disk(error, partial, path)),
            Err(Trouble::Passing(reason)) => reason,
        };
        fruitless = if partial.length > before { 1 } else { fruitless + 1 };
        if fruitless > MAX_FRUITLESS {
            return Err(gave_up(&partial, &reason).into());
        }
        tracing::info!(reason, fruitless, "asking again");
        thread::sleep(first_pause() * 2_u32.pow(fruitless - 1));
    }
    Ok(partial)
}

fn first_pause() -> Duration {
    let set = env::var(PAUSE_VARIABLE).ok().and_then(|text| text.parse().ok());
    set.map_or(FIRST_PAUSE, Duration::from_millis)
}

fn gave_up(partial: &Partial, reason: &str) -> Failure {
    let failure = Failure::new(Exit::Failed, reason.to_owned());
    if partial.length == 0 {
        return failure.hint("is this machine online? the same command tries again");
    }
    failure.hint(format!("{} have come; the same command goes on from there", Bytes(partial.length)))
}

/// A full disk gets back what it was filled with.
fn disk(error: io::Error, partial: Partial, path: &Path) -> anyhow::Error {
    if error.kind() != io::ErrorKind::StorageFull {
        return anyhow::Error::new(error).context(format!("cannot write {}", path.display()));
    }
    let length = partial.length;
    partial.remove();
    let message = format!("the disk is full: {} had come, and are removed again", Bytes(length));
    Failure::new(Exit::Failed, message).hint(elsewhere()).into()
}

/// Refuses early what would end with a full disk.
pub(crate) fn check_space(path: &Path, missing: u64) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Where it cannot be asked, it is tried.
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if missing <= free {
        return Ok(());
    }
    let message =
        format!("the disk is too full: {} more are needed, {} are free", Bytes(missing), Bytes(free));
    Err(Failure::new(Exit::Failed, message).hint(elsewhere()))
}

fn elsewhere() -> &'static str {
    "free some, or keep models elsewhere: XDG_DATA_HOME=FOLDER"
}
