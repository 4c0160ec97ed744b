//! The connections that there are: to cut those of whoever is denied, and those whose certificate ran out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dunlin_link::{Close, Link, Peer, certificate::Fingerprint, clock::UnixTime};

use crate::catalog::NewCertificate;

/// Connections that one member may have: a client is as many processes as a person starts.
const MAX_OF_MEMBER: usize = 128;

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
    /// The newest certificate of the member, which outlives the one that was shown, and its end.
    newest: Fingerprint,
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

    /// Nothing where the member has too many connections.
    pub(crate) fn admit(self: &Arc<Self>, link: &Link) -> Option<Admitted> {
        let mut connections = self.lock();
        let of_member = |open: &&Open| open.link.peer().identity == link.peer().identity;
        if connections.open.values().filter(of_member).count() >= MAX_OF_MEMBER {
            return None;
        }
        let number = connections.next;
        connections.next += 1;
        let (newest, expires) = (link.peer().fingerprint, link.peer().not_after);
        let open = Open { link: link.clone(), newest, expires };
        connections.open.insert(number, open);
        Some(Admitted { live: self.clone(), number })
    }

    /// The newest certificate of a member, by what came over its connections.
    pub(crate) fn newest(&self, peer: &Peer) -> Fingerprint {
        let connections = self.lock();
        let mut of_member = connections.open.values().filter(|open| open.link.peer() == peer);
        of_member.next_back().map_or(peer.fingerprint, |open| open.newest)
    }

    /// A member has a certificate that lasts longer; so do all of its connections.
    pub(crate) fn renewed(&self, peer: &Peer, certificate: &NewCertificate) {
        for open in self.lock().open.values_mut() {
            if open.link.peer().identity == peer.identity {
                (open.newest, open.expires) = (certificate.fingerprint, certificate.expires);
            }
        }
    }

    /// Closes the connections of these certificates, at once.
    pub(crate) fn cut(&self, fingerprints: &[Fingerprint], close: Close) {
        for open in self.lock().open.values() {
            let shown = open.link.peer().fingerprint;
            if fingerprints.contains(&shown) || fingerprints.contains(&open.newest) {
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
