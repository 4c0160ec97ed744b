//! What engines did for somebody, counted while they do it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::Share;

/// Sums up the shares of all calls that are made through [`Engine::metered`](crate::Engine::metered) handles of it, of any
/// number of engines. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Work(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    changed: tokio::sync::Notify,
    prefill_us: AtomicU64,
    decode_us: AtomicU64,
}

impl Work {
    /// So far.
    pub fn share(&self) -> Share {
        Share { prefill_us: self.0.prefill_us.load(Relaxed), decode_us: self.0.decode_us.load(Relaxed) }
    }

    /// Returns once something was added since it last did. For one who waits.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    pub(crate) fn add(&self, share: Share) {
        self.0.prefill_us.fetch_add(share.prefill_us, Relaxed);
        self.0.decode_us.fetch_add(share.decode_us, Relaxed);
        self.0.changed.notify_one();
    }
}
