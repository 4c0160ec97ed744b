//! Parts of blobs that nobody goes on with.

use std::{
    fs::{self, File},
    time::{Duration, SystemTime},
};

use crate::{
    Store, StoreError,
    store::{INCOMING, PART},
};

/// What a collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    pub parts: u32,
    pub bytes: u64,
}

impl Store {
    /// Removes the parts that nothing was added to for `age`, and of the others the oldest, until those that are left have
    /// no more than `keep_bytes`. Parts that are being written stay.
    ///
    /// # Errors
    /// Of the file system.
    pub fn collect(&self, now: SystemTime, age: Duration, keep_bytes: u64) -> Result<Collected, StoreError> {
        let mut parts = self.files(INCOMING)?;
        parts.retain(|(path, _)| path.extension().is_some_and(|extension| extension == PART));
        // A part without a time is as old as can be.
        let written = |metadata: &fs::Metadata| metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        parts.sort_by_key(|(path, metadata)| (written(metadata), path.clone()));
        let mut kept: u64 = parts.iter().map(|(_, metadata)| metadata.len()).sum();
        let mut collected = Collected::default();
        for (path, metadata) in parts {
            let old = now.duration_since(written(&metadata)).is_ok_and(|since| since >= age);
            if !old && kept <= keep_bytes {
                break;
            }
            // Held until it is gone, so that nobody goes on with it meanwhile.
            let idle = File::open(&path).ok().filter(|part| part.try_lock().is_ok());
            if idle.is_some() {
                fs::remove_file(&path).map_err(StoreError::io(&path))?;
                collected.parts += 1;
                collected.bytes += metadata.len();
                kept -= metadata.len();
            }
        }
        Ok(collected)
    }
}
