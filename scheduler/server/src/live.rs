//! The connections that there are: to cut those of whoever is denied, and those whose certificate ran out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dunlin_link::{Close, Link, certificate::Fingerprint, clock::UnixTime};

/// All connections of members.
#[derive(Debug, Default)]
pub struct Live(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    /// By the order in which they came.
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    link: Link,
    /// The end of the newest certificate that the peer has.
    expires: UnixTime,
}

/// A connection counts as live for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Admitted {
    live: Arc<Live>,
    number: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.live.lock().open.remove(&self.number);
    }
}

impl Live {
    /// How many connections there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    pub(crate) fn admit(self: &Arc<Self>, link: &Link) -> Admitted {
        let mut connections = self.lock();
        let number = connections.next;
        connections.next += 1;
        let open = Open { link: link.clone(), expires: link.peer().not_after };
        connections.open.insert(number, open);
        Admitted { live: self.clone(), number }
    }

    /// The member with this certificate has one that lasts longer.
    pub(crate) fn renewed(&self, fingerprint: &Fingerprint, expires: UnixTime) {
        for open in self.lock().open.values_mut() {
            if open.link.peer().fingerprint == *fingerprint {
                open.expires = expires;
            }
        }
    }

    /// Closes the connections of these certificates, at once.
    pub(crate) fn cut(&self, fingerprints: &[Fingerprint], close: Close) {
        for open in self.lock().open.values() {
            if fingerprints.contains(&open.link.peer().fingerprint) {
                tracing::info!(member = %open.link.peer().identity, %close, "connection cut");
                open.link.close(close, "");
            }
        }
    }

    /// Closes the connections whose certificate has run out and was not renewed.
    pub fn sweep(&self, now: UnixTime) {
        for open in self.lock().open.values().filter(|open| open.expires < now) {
            tracing::info!(member = %open.link.peer().identity, "its certificate ran out; connection cut");
            open.link.close(Close::Expired, "");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
