//! Files of the kernel, under a root that tests choose.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::ReadError;

/// Bytes of a file that says one thing; those of sysfs have at most a page.
const MAX_FILE: usize = 4096;

/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 512;

/// Where the files are, and how they are opened.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    root: PathBuf,
    open: fn(&Path) -> io::Result<String>,
    /// What helps where a file may not be read.
    remedy: String,
}

impl Files {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), open: read, remedy: "run as root".to_owned() }
    }

    /// What to say where something may not be read.
    pub(crate) fn with_remedy(&self, remedy: &str) -> Self {
        Self { remedy: remedy.to_owned(), ..self.clone() }
    }

    #[cfg(test)]
    pub(crate) fn opened_by(&self, open: fn(&Path) -> io::Result<String>) -> Self {
        Self { open, ..self.clone() }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub(crate) fn text(&self, path: &Path) -> Result<String, ReadError> {
        let text = (self.open)(path).map_err(|error| self.fault(path, error))?;
        Ok(text.trim_matches(['\n', '\0', ' ']).to_owned())
    }

    /// A whole number.
    pub(crate) fn number(&self, path: &Path) -> Result<i64, ReadError> {
        let text = self.text(path)?;
        text.parse().map_err(|_| ReadError::Garbage {
            path: path.to_owned(),
            text: text.chars().take(40).collect(),
            expected: "a whole number",
        })
    }

    pub(crate) fn fault(&self, path: &Path, error: io::Error) -> ReadError {
        let path = path.to_owned();
        match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => ReadError::Gone { path },
            // The driver of the INA3221 says so of a channel that is switched off.
            Some(libc::ENODATA) => ReadError::Nothing(format!("{} is switched off", path.display())),
            _ => match error.kind() {
                io::ErrorKind::NotFound => ReadError::Gone { path },
                io::ErrorKind::PermissionDenied => ReadError::Denied { path, remedy: self.remedy.clone() },
                _ => ReadError::Io { path, error },
            },
        }
    }

    /// What is in a folder, in the order of its names; nothing if it is not there.
    pub(crate) fn entries(&self, folder: &Path) -> Vec<PathBuf> {
        let found = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_ENTRIES);
        let mut entries: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
        entries.sort();
        entries
    }
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read;
    let mut bytes = Vec::with_capacity(64);
    fs::File::open(path)?.take(MAX_FILE as u64).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Trees of files as drivers make them.
#[cfg(test)]
pub(crate) mod fixture {
    use std::{fs, io, path::Path};

    use tempfile::TempDir;

    /// Each file with what it says.
    pub(crate) fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            set(root.path(), file, text);
        }
        root
    }

    pub(crate) fn set(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// As for somebody who may not: tests may run as root, whom no file keeps out.
    pub(crate) fn denied(_: &Path) -> io::Result<String> {
        Err(io::Error::from_raw_os_error(libc::EACCES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_say_what_helps() {
        let root = fixture::tree(&[("a", "12x\n"), ("b", "-7\n"), ("c", "")]);
        let files = Files::new(root.path()).with_remedy("add the user to the group video");
        assert_eq!(files.number(&files.path("b")).unwrap(), -7);
        let check = |files: &Files, file: &str, expected: &str| {
            let error = files.number(&files.path(file)).unwrap_err().to_string();
            assert_eq!(error, format!("{}{expected}", root.path().join(file).display()));
        };
        check(&files, "a", " says \"12x\", where a whole number is expected");
        check(&files, "c", " says \"\", where a whole number is expected");
        check(&files, "d", " is gone: the device was removed, or its driver unloaded");
        let denied = files.opened_by(fixture::denied);
        check(&denied, "b", " may not be read: add the user to the group video");
        let off = files.fault(Path::new("/x"), io::Error::from_raw_os_error(libc::ENODATA));
        assert!(matches!(off, ReadError::Nothing(_)));
        let gone = files.fault(Path::new("/x"), io::Error::from_raw_os_error(libc::ENODEV));
        assert!(matches!(gone, ReadError::Gone { .. }));
    }
}
