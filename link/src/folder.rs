//! Where a member keeps who it is: `identity.pem` (key, certificate, the authority's certificate) and `floor`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use pem::Pem;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::{
    certificate::{CertificateError, pin},
    clock::UnixTime,
    credentials::{Credential, CredentialError},
    verify::Trust,
};

const IDENTITY: &str = "identity.pem";
const FLOOR: &str = "floor";
const KEY_TAG: &str = "PRIVATE KEY";
const CERTIFICATE_TAG: &str = "CERTIFICATE";
/// Larger files are not ours.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Why the folder could not be read or written.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is damaged: {reason}; remove it and join again", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} may be read by others (mode {mode:o}); chmod 600 it, and join again if it may have been read", path.display())]
    Exposed { path: PathBuf, mode: u32 },
}

/// A folder of one member, open to its user alone.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let path = path.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| FolderError::Io { action: "make", path: path.clone(), source })?;
        Ok(Self(path))
    }

    /// Who the member is; nothing where it has not joined yet.
    ///
    /// # Errors
    /// [`FolderError`]: unreadable, damaged, or readable by others.
    pub fn identity(&self) -> Result<Option<(Trust, Credential)>, FolderError> {
        let path = self.0.join(IDENTITY);
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let mode = mode(&path)?;
        if mode & 0o077 != 0 {
            return Err(FolderError::Exposed { path, mode });
        }
        parse(&text).map(Some).map_err(|reason| FolderError::Damaged { path, reason })
    }

    /// Keeps who the member is: one file, so that key and certificate change at once.
    ///
    /// # Errors
    /// [`FolderError::Io`]; what was there stays.
    pub fn keep_identity(&self, trust: &Trust, credential: &Credential) -> Result<(), FolderError> {
        let parts = [
            Pem::new(KEY_TAG, credential.key().secret_pkcs8_der()),
            Pem::new(CERTIFICATE_TAG, &*credential.certificate),
            Pem::new(CERTIFICATE_TAG, &*trust.authority),
        ];
        self.write(IDENTITY, pem::encode_many(&parts).as_bytes())
    }

    /// The earliest that it can be; 1970 where nothing is known.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn floor(&self) -> Result<UnixTime, FolderError> {
        let path = self.0.join(FLOOR);
        let seconds = match read(&path)? {
            None => 0,
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| FolderError::Damaged { path, reason: "it holds no number of seconds".into() })?,
        };
        Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }

    /// # Errors
    /// [`FolderError::Io`].
    pub fn keep_floor(&self, floor: UnixTime) -> Result<(), FolderError> {
        self.write(FLOOR, format!("{}\n", floor.as_secs()).as_bytes())
    }

    /// Writes beside, then renames: after a power cut there is the old file or the new one.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.0.join(name);
        let beside = self.0.join(format!("{name}.new"));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|source| FolderError::Io { action: "write", path: path.clone(), source })
    }
}

fn parse(text: &str) -> Result<(Trust, Credential), String> {
    let parts = pem::parse_many(text).map_err(|error| error.to_string())?;
    let tags: Vec<_> = parts.iter().map(Pem::tag).collect();
    let [key, certificate, authority] = &parts[..] else {
        return Err(format!("it has {} parts, not key and two certificates", tags.len()));
    };
    if tags != [KEY_TAG, CERTIFICATE_TAG, CERTIFICATE_TAG] {
        return Err(format!("it holds {}, not key and two certificates", tags.join(", ")));
    }
    let key = PrivatePkcs8KeyDer::from(key.contents().to_vec());
    let certificate = CertificateDer::from(certificate.contents().to_vec());
    let credential = Credential::new(key, certificate).map_err(|error: CredentialError| error.to_string())?;
    let authority = CertificateDer::from(authority.contents().to_vec());
    pin(&authority).map_err(|error: CertificateError| error.to_string())?;
    Ok((Trust { fleet: credential.leaf.identity.fleet.clone(), authority }, credential))
}

fn read(path: &Path) -> Result<Option<String>, FolderError> {
    let io = |source| FolderError::Io { action: "read", path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            let reason = format!("it has {} bytes", metadata.len());
            return Err(FolderError::Damaged { path: path.to_owned(), reason });
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(io)
}

fn mode(path: &Path) -> Result<u32, FolderError> {
    fs::metadata(path)
        .map(|metadata| metadata.permissions().mode() & 0o777)
        .map_err(|source| FolderError::Io { action: "read", path: path.to_owned(), source })
}
