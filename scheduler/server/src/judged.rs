//! What profiles judge answers by: it is in the store for as long as somebody profiles, and no longer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use dunlin_protocol::BlobDigest;

use crate::ask::Questions;

/// How many profiles use each.
#[derive(Debug, Default)]
pub(crate) struct Judged(Mutex<BTreeMap<BlobDigest, usize>>);

impl Judged {
    pub(crate) fn hold(&self, files: &[BlobDigest]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().for_each(|file| *held.entry(*file).or_default() += 1);
    }

    /// Those that nobody uses any more.
    fn release(&self, files: &[BlobDigest]) -> Vec<BlobDigest> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            held.entry(*file).and_modify(|count| *count = count.saturating_sub(1));
        }
        let unused: Vec<BlobDigest> =
            held.iter().filter(|(_, count)| **count == 0).map(|(file, _)| *file).collect();
        held.retain(|_, count| *count > 0);
        unused
    }
}

impl Questions {
    /// A profile is over. What it judged by is removed, unless another one needs it, or it is a model or a pipeline, too.
    pub(crate) async fn let_go(&self, files: &[BlobDigest]) {
        let unused = self.judged.release(files);
        if unused.is_empty() {
            return;
        }
        let tags = match self.authority.catalog().tags().await {
            Ok(tags) => tags,
            Err(error) => {
                tracing::warn!(%error, "what a profile judged by stays in the store");
                return;
            }
        };
        let is_catalogued = |file: &BlobDigest| match file {
            BlobDigest::Sha256(_) => true,
            BlobDigest::Blake3(component) => tags.iter().any(|tag| tag.digest == *component),
        };
        for file in unused.into_iter().filter(|file| !is_catalogued(file)) {
            if let Err(error) = self.blobs.remove(file) {
                tracing::warn!(%error, "what a profile judged by stays in the store");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::ComponentDigest;

    use super::*;

    #[test]
    fn a_file_goes_with_the_last_profile_that_uses_it() {
        let judged = Judged::default();
        let [text, questions] = [1, 2].map(|of| BlobDigest::from(ComponentDigest([of; 32])));
        judged.hold(&[text, questions]);
        judged.hold(&[text]);
        assert_eq!(judged.release(&[text, questions]), [questions]);
        assert_eq!(judged.release(&[text]), [text]);
        assert_eq!(judged.release(&[text]), []);
    }
}
