//! When an invocation has to stop, and how long it may then still take.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Between the moment to stop and the trap of a guest that has not returned by then.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// Of that, how long a pending call waits for the engine to end a generation by itself, so that its last
/// words and its usage are not lost.
pub(crate) const SETTLE: Duration = Duration::from_millis(50);

/// Longer than any invocation, and not so long that clocks overflow.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    Deadline,
}

/// The cancel token and the deadline of one invocation.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    cancel: CancellationToken,
    deadline: Instant,
}

impl Interrupt {
    pub(crate) fn new(cancel: CancellationToken, began: Instant, wall_time: Duration) -> Self {
        Self { cancel, deadline: began + wall_time.min(FOR_EVER) }
    }

    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(Stop::Deadline);
        }
        Ok(())
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What an engine is told, in ms. Rounded up: an engine that stops before its time is up seems to fail by itself.
    pub(crate) fn time_left_ms(&self) -> u64 {
        self.time_left().as_nanos().div_ceil(1_000_000) as u64
    }

    /// Waits for the moment to stop.
    pub(crate) async fn stopped(&self) -> Stop {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Stop::Cancelled,
            () = sleep_until(self.deadline) => Stop::Deadline,
        }
    }

    /// Waits until an engine that was told to stop should have said its last words.
    pub(crate) async fn settled(&self) -> Stop {
        let stop = self.stopped().await;
        sleep(SETTLE).await;
        stop
    }

    /// Waits until the guest should have returned.
    pub(crate) async fn overdue(&self) -> Stop {
        let stop = self.stopped().await;
        sleep(GRACE).await;
        stop
    }

    /// The result of `work`, unless the moment to stop comes first.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        self.check()?;
        tokio::select! {
            biased;
            result = work => Ok(result),
            stop = self.stopped() => Err(stop),
        }
    }

    /// Looks from time to time at a guest that does not come back to the host.
    pub(crate) fn watch(&self) -> Watch {
        Watch { interrupt: self.clone(), stopped: None }
    }
}

/// Remembers when the moment to stop was seen first.
#[derive(Debug)]
pub(crate) struct Watch {
    interrupt: Interrupt,
    stopped: Option<Instant>,
}

impl Watch {
    pub(crate) fn overdue(&mut self) -> Option<Stop> {
        let stop = self.interrupt.check().err()?;
        let now = Instant::now();
        let since = *self.stopped.get_or_insert(match stop {
            Stop::Cancelled => now,
            Stop::Deadline => self.interrupt.deadline,
        });
        (now >= since + GRACE).then_some(stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_second() -> (CancellationToken, Interrupt) {
        let cancel = CancellationToken::new();
        let interrupt = Interrupt::new(cancel.clone(), Instant::now(), Duration::from_secs(1));
        (cancel, interrupt)
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_stops_work_and_the_grace_ends_later() {
        let (_cancel, interrupt) = in_a_second();
        let mut watch = interrupt.watch();
        let start = Instant::now();
        assert_eq!(interrupt.unless_stopped(std::future::pending::<()>()).await, Err(Stop::Deadline));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert_eq!(watch.overdue(), None);
        assert_eq!(interrupt.overdue().await, Stop::Deadline);
        assert_eq!(watch.overdue(), Some(Stop::Deadline));
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_is_not_told_to_stop_too_soon() {
        let (_cancel, interrupt) = in_a_second();
        sleep(Duration::from_millis(1)).await;
        let told = Duration::from_millis(interrupt.time_left_ms());
        assert!(told >= interrupt.time_left() && told < Duration::from_secs(1), "{told:?}");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(interrupt.time_left_ms(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_counts_from_when_it_was_seen() {
        let (cancel, interrupt) = in_a_second();
        let mut watch = interrupt.watch();
        assert_eq!(watch.overdue(), None);
        cancel.cancel();
        assert_eq!(interrupt.check(), Err(Stop::Cancelled));
        assert_eq!(watch.overdue(), None);
        sleep(GRACE).await;
        assert_eq!(watch.overdue(), Some(Stop::Cancelled));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_done_is_not_stopped() {
        let (_cancel, interrupt) = in_a_second();
        assert_eq!(interrupt.unless_stopped(async { 7 }).await, Ok(7));
    }
}
