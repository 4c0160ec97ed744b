//! Who is connected: too many at once are turned away, and of those who say nothing the oldest makes way for the newest.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// All connections.
#[derive(Debug)]
pub(crate) struct Crowd {
    limits: CrowdLimits,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct CrowdLimits {
    pub(crate) connections: usize,
    /// Of these, connections that have not sent a whole request yet.
    pub(crate) unproven: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    connections: usize,
    /// By the order in which they came.
    unproven: BTreeMap<u64, CancellationToken>,
}

/// A connection counts for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Guest {
    crowd: Arc<Crowd>,
    number: u64,
    /// Cancelled when it has to leave.
    pub(crate) leave: CancellationToken,
}

impl Crowd {
    pub(crate) fn new(limits: CrowdLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// `None`: there are too many, and all of them have work.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Guest> {
        let mut state = self.lock();
        let is_full = state.connections >= self.limits.connections;
        if is_full && state.unproven.is_empty() {
            return None;
        }
        if (is_full || state.unproven.len() >= self.limits.unproven)
            && let Some((_, oldest)) = state.unproven.pop_first()
        {
            oldest.cancel();
        }
        let number = state.next;
        state.next += 1;
        state.connections += 1;
        let leave = CancellationToken::new();
        state.unproven.insert(number, leave.clone());
        Some(Guest { crowd: self.clone(), number, leave })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// It has sent a whole request.
    pub(crate) fn proves_itself(&self) {
        self.crowd.lock().unproven.remove(&self.number);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.unproven.remove(&self.number);
        state.connections -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_says_nothing_makes_way() {
        let crowd = Arc::new(Crowd::new(CrowdLimits { connections: 4, unproven: 2 }));
        let enter = || crowd.enter().unwrap();
        let (first, second) = (enter(), enter());
        first.proves_itself();
        let third = enter();
        assert!(!second.leave.is_cancelled());
        let fourth = enter();
        assert!(second.leave.is_cancelled() && !third.leave.is_cancelled() && !first.leave.is_cancelled());
        // Full: the newest takes the place of the oldest of those who wait, until all of them work.
        let fifth = enter();
        assert!(third.leave.is_cancelled());
        fourth.proves_itself();
        fifth.proves_itself();
        assert!(crowd.enter().is_none());
        drop((second, third));
        assert!(crowd.enter().is_some());
    }
}
