//! What one invocation may use up, and the meters that count it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;

/// Largest linear memory of a guest, in bytes; also what is reserved for each in the pool.
pub const MAX_MEMORY_BYTES: u64 = 128 << 20;

/// Most elements of one table of a guest.
pub const MAX_TABLE_ELEMENTS: u32 = 1 << 16;

/// What one invocation may use. Every one is a hard limit; the defaults suit a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the call of [`crate::Host::invoke`], waiting for an instance included.
    pub wall_time: Duration,
    /// Of all linear memories together; at most [`MAX_MEMORY_BYTES`] each.
    pub memory_bytes: u64,
    /// Of all tables together; at most [`MAX_TABLE_ELEMENTS`] each.
    pub table_elements: u64,
    /// Handles of resources alive at a time.
    pub handles: u32,
    /// What one host call may carry out of the guest.
    pub call_bytes: usize,
    /// What the guest's stdout and stderr may leave in its log.
    pub log_bytes: usize,
    /// Tokens generated.
    pub tokens: u64,
    /// Tokens held by contexts; what forks share counts once.
    pub kv_cells: u64,
    /// Tokens held by contexts in this process, where each fork has a copy of its own. Over it is over
    /// `kv_cells`.
    pub copied_tokens: u64,
    pub contexts: u64,
    /// Generations alive at a time.
    pub generations: u64,
    pub host_calls: u64,
    /// Of chunks and of the response.
    pub emitted_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_time: Duration::from_mins(10),
            memory_bytes: MAX_MEMORY_BYTES,
            table_elements: 4 * u64::from(MAX_TABLE_ELEMENTS),
            handles: 4096,
            call_bytes: 16 << 20,
            log_bytes: 64 << 10,
            tokens: 65_536,
            kv_cells: 262_144,
            copied_tokens: 1 << 21,
            contexts: 256,
            generations: 64,
            host_calls: 1_000_000,
            emitted_bytes: 16 << 20,
        }
    }
}

/// One of the limits that a pipeline can ask about and run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Budget {
    Tokens,
    KvCells,
    Contexts,
    Generations,
    WallTime,
    Energy,
    HostCalls,
    EmittedBytes,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokens => "tokens",
            Self::KvCells => "kv-cells",
            Self::Contexts => "contexts",
            Self::Generations => "generations",
            Self::WallTime => "wall-time",
            Self::Energy => "energy",
            Self::HostCalls => "host-calls",
            Self::EmittedBytes => "emitted-bytes",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the budget of {0} is used up")]
pub(crate) struct Exhausted(pub(crate) Budget);

/// Counts the use of one budget.
#[derive(Debug)]
pub(crate) struct Meter {
    budget: Budget,
    limit: u64,
    used: AtomicU64,
}

impl Meter {
    pub(crate) fn new(budget: Budget, limit: u64) -> Arc<Self> {
        Arc::new(Self { budget, limit, used: AtomicU64::new(0) })
    }

    pub(crate) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// All of `amount`, or nothing.
    pub(crate) fn take(&self, amount: u64) -> Result<(), Exhausted> {
        let taken = self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(amount).filter(|&used| used <= self.limit)
        });
        taken.map(drop).map_err(|_| Exhausted(self.budget))
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    pub(crate) fn hold(self: &Arc<Self>, amount: u64) -> Result<Held, Exhausted> {
        self.take(amount)?;
        Ok(Held { meter: self.clone(), amount })
    }
}

/// A part of a budget that comes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    meter: Arc<Meter>,
    amount: u64,
}

impl Held {
    pub(crate) fn amount(&self) -> u64 {
        self.amount
    }

    pub(crate) fn grow(&mut self, amount: u64) -> Result<(), Exhausted> {
        self.meter.take(amount)?;
        self.amount += amount;
        Ok(())
    }

    pub(crate) fn resize(&mut self, amount: u64) -> Result<(), Exhausted> {
        match amount.checked_sub(self.amount) {
            Some(more) => self.grow(more)?,
            None => self.shrink_to(amount),
        }
        Ok(())
    }

    /// Takes over what another holds of the same meter.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.amount += std::mem::take(&mut other.amount);
    }

    pub(crate) fn shrink_to(&mut self, amount: u64) {
        self.meter.give_back(self.amount.saturating_sub(amount));
        self.amount = self.amount.min(amount);
    }

    /// Uses up this much of it for good.
    pub(crate) fn spend(&mut self, amount: u64) {
        self.amount = self.amount.saturating_sub(amount);
    }

    /// This much of it, or all that there is, in other hands.
    pub(crate) fn split(&mut self, amount: u64) -> Self {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Self { meter: self.meter.clone(), amount }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.meter.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back_and_what_is_spent_does_not() {
        let meter = Meter::new(Budget::Tokens, 10);
        let mut held = meter.hold(8).unwrap();
        assert_eq!(meter.hold(3).unwrap_err(), Exhausted(Budget::Tokens));
        held.spend(5);
        drop(held);
        assert_eq!(meter.left(), 5);
    }

    #[test]
    fn a_hold_grows_shrinks_and_changes_hands() {
        let meter = Meter::new(Budget::KvCells, 10);
        let mut held = meter.hold(4).unwrap();
        held.grow(6).unwrap();
        assert_eq!(held.grow(1), Err(Exhausted(Budget::KvCells)));
        held.shrink_to(7);
        let other = held.split(7);
        drop(held);
        assert_eq!((other.amount(), meter.left()), (7, 3));
        assert!(meter.take(u64::MAX).is_err());
    }
}
