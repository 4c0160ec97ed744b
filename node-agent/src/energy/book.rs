//! The ledger kept up to date: what everybody had done, at moments at which that is known, against a meter's samples.
//!
//! Engines tell of steps that are over. So an interval is settled between two such moments, not between two samples: else what
//! a step draws would be booked on whoever ended one before. No clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::ledger::{Joules, Ledger, Totals, Work};

/// Words that come within this are of the same step.
const SAME_STEP: Duration = Duration::from_millis(2);

/// So long a step may take before what was drawn meanwhile counts as idle.
const LONGEST_STEP: Duration = Duration::from_secs(5);

/// Moments that wait for a sample: some seconds of them. Of more, the oldest goes, and its interval is settled with the next.
const MAX_MOMENTS: usize = 256;

/// Those that ended while nobody else said anything.
const MAX_ENDED: usize = 256;

/// Who had done what.
#[derive(Debug)]
struct Moment<K> {
    at: Instant,
    works: Vec<(K, Work)>,
}

#[derive(Debug)]
pub(crate) struct Book<K> {
    ledger: Ledger<K>,
    running: BTreeMap<K, Work>,
    /// Those that have ended since the last moment, with all that they did.
    ended: Vec<(K, Work)>,
    moments: VecDeque<Moment<K>>,
    settled: Option<Instant>,
}

impl<K: Ord + Copy> Book<K> {
    pub(crate) fn new() -> Self {
        Self {
            ledger: Ledger::new(),
            running: BTreeMap::new(),
            ended: Vec::new(),
            moments: VecDeque::new(),
            settled: None,
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// Whether a model is being loaded.
    pub(crate) fn loads(&mut self, loads: bool) {
        self.ledger.loads(loads);
    }

    pub(crate) fn forget_watts(&mut self) {
        self.ledger.forget_watts();
    }

    /// Somebody begins.
    pub(crate) fn open(&mut self, owner: K, now: Instant) {
        // Until now nobody ran; in the middle of a step of others nothing is known.
        if self.running.is_empty() {
            self.remember(now);
        }
        self.ledger.open(owner);
        self.running.insert(owner, Work::default());
    }

    /// Somebody has done so much since he began.
    pub(crate) fn note(&mut self, owner: K, work: Work, now: Instant) {
        let Some(known) = self.running.get_mut(&owner) else { return };
        if std::mem::replace(known, work) != work {
            self.remember(now);
        }
    }

    fn remember(&mut self, at: Instant) {
        let mut works = self.works();
        works.append(&mut self.ended);
        match self.moments.back_mut() {
            Some(last) if at.saturating_duration_since(last.at) < SAME_STEP => {
                let is_told = |(owner, _): &(K, Work)| works.iter().any(|(other, _)| other == owner);
                let ended: Vec<_> = last.works.iter().copied().filter(|work| !is_told(work)).collect();
                works.extend(ended);
                *last = Moment { at, works };
            }
            _ => self.moments.push_back(Moment { at, works }),
        }
        if self.moments.len() > MAX_MOMENTS {
            self.moments.pop_front();
        }
    }

    /// Divides what was drawn up to the last moment that is between the oldest and the `newest` sample. `window` gives the
    /// joules between two moments.
    ///
    /// # Errors
    /// Of `window`: what those that ran did in it is known to nobody. What follows is settled all the same.
    pub(crate) fn settle<E>(
        &mut self,
        (oldest, newest): (Instant, Instant),
        window: impl Fn(Instant, Instant) -> Result<f64, E>,
    ) -> Result<(), E> {
        let mut settled = Ok(());
        while let Some(moment) = self.next(oldest, newest) {
            let from = self.settled.unwrap_or(oldest);
            if moment.at <= from {
                continue;
            }
            // In the middle of a step nobody knows yet for whom it is.
            let waits = !moment.works.is_empty() && !self.ledger.has_news(&moment.works);
            if waits && moment.at < from + LONGEST_STEP {
                continue;
            }
            self.settled = Some(moment.at);
            match window(from, moment.at) {
                Ok(joules) => self.ledger.settle(joules, (moment.at - from).as_secs_f64(), &moment.works),
                Err(error) => {
                    self.ledger.skip(&moment.works);
                    settled = Err(error);
                }
            }
        }
        settled
    }

    fn next(&mut self, oldest: Instant, newest: Instant) -> Option<Moment<K>> {
        let from = self.settled.unwrap_or(oldest);
        match self.moments.front() {
            Some(first) if first.at <= newest => self.moments.pop_front(),
            Some(_) => None,
            None if newest > from && (self.running.is_empty() || newest >= from + LONGEST_STEP) => {
                Some(Moment { at: newest, works: self.works() })
            }
            None => None,
        }
    }

    fn works(&self) -> Vec<(K, Work)> {
        self.running.iter().map(|(owner, work)| (*owner, *work)).collect()
    }

    /// Somebody has ended, with all that he did. How far others are will be known at their next word: it is settled with theirs.
    pub(crate) fn end(&mut self, owner: K, work: Work, now: Instant) {
        if self.running.remove(&owner).is_some() {
            self.ended.push((owner, work));
            if self.running.is_empty() || !self.ledger.knows_rate() || self.ended.len() >= MAX_ENDED {
                self.remember(now);
            }
        }
    }

    /// Closes the account of somebody who has ended. What he did since the last interval counts as in that one.
    pub(crate) fn close(&mut self, owner: K, work: Work) -> Option<Joules> {
        self.ledger.close(owner, work)
    }
}
