//! Requests that kill engines are not carried around the fleet.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{Fingerprint, Time};

/// So many deaths within [`WINDOW`] put a request into quarantine.
pub const DEATHS: usize = 3;

pub const WINDOW: Duration = Duration::from_secs(60);

/// How long a request stays in quarantine.
pub const SENTENCE: Duration = Duration::from_secs(600);

/// Requests remembered at once; of more, the longest unseen is forgotten.
pub const MAX_SUSPECTS: usize = 4096;

/// Counts the engines that died under a request, by what the request is and not by its id: a client that asks again
/// asks for the same.
///
/// A death is counted against all that ran on the engine. The innocent are told apart by running alone from then on
/// ([`Self::is_suspect`]): nobody else's death is counted against them any more.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    suspects: BTreeMap<Fingerprint, Suspect>,
}

#[derive(Debug, Default)]
struct Suspect {
    deaths: VecDeque<Time>,
    until: Option<Time>,
}

impl Quarantine {
    /// An engine died under it. True if that puts it into quarantine.
    pub(crate) fn death(&mut self, request: Fingerprint, now: Time) -> bool {
        self.make_room(request, now);
        let suspect = self.suspects.entry(request).or_default();
        suspect.deaths.push_back(now);
        suspect.deaths.retain(|&at| now.since(at) < WINDOW);
        if suspect.deaths.len() < DEATHS {
            return false;
        }
        suspect.until = Some(now + SENTENCE);
        true
    }

    /// Ended well: it is no suspect.
    pub(crate) fn clear(&mut self, request: Fingerprint) {
        self.suspects.remove(&request);
    }

    /// How much longer it stays.
    pub(crate) fn holds(&self, request: Fingerprint, now: Time) -> Option<Duration> {
        let until = self.suspects.get(&request)?.until?;
        (until > now).then(|| until - now)
    }

    /// Whether an engine died under it lately.
    pub(crate) fn is_suspect(&self, request: Fingerprint, now: Time) -> bool {
        self.suspects.get(&request).is_some_and(|suspect| !suspect.is_over(now))
    }

    pub(crate) fn forget_old(&mut self, now: Time) {
        self.suspects.retain(|_, suspect| !suspect.is_over(now));
    }

    fn make_room(&mut self, request: Fingerprint, now: Time) {
        if self.suspects.len() < MAX_SUSPECTS || self.suspects.contains_key(&request) {
            return;
        }
        self.forget_old(now);
        if self.suspects.len() >= MAX_SUSPECTS {
            let oldest = self.suspects.iter().min_by_key(|(_, suspect)| suspect.deaths.back()).map(|(&id, _)| id);
            oldest.map(|id| self.suspects.remove(&id));
        }
    }
}

impl Suspect {
    fn is_over(&self, now: Time) -> bool {
        let quarantined = self.until.is_some_and(|until| until > now);
        !quarantined && self.deaths.back().is_none_or(|&at| now.since(at) >= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Fingerprint = Fingerprint(7);

    fn check(deaths_at_s: &[u64], asked_at_s: u64, expected: Option<u64>) {
        let at = |s| Time::since_epoch(Duration::from_secs(s));
        let mut quarantine = Quarantine::default();
        for &s in deaths_at_s {
            quarantine.death(REQUEST, at(s));
        }
        assert_eq!(quarantine.holds(REQUEST, at(asked_at_s)).map(|left| left.as_secs()), expected);
    }

    #[test]
    fn three_deaths_in_a_minute() {
        check(&[1, 2], 2, None);
        check(&[1, 2, 3], 3, Some(600));
        check(&[1, 2, 3], 603, None);
        check(&[1, 2, 61], 61, None);
        check(&[1, 30, 61, 62], 62, Some(600));
    }

    #[test]
    fn remembers_so_many_and_no_more() {
        let mut quarantine = Quarantine::default();
        for n in 0..MAX_SUSPECTS as u64 + 10 {
            quarantine.death(Fingerprint(n), Time::from_nanos(n));
        }
        assert_eq!(quarantine.suspects.len(), MAX_SUSPECTS);
        assert!(!quarantine.is_suspect(Fingerprint(0), Time::ZERO), "the oldest makes room");
        quarantine.forget_old(Time::since_epoch(WINDOW * 2));
        assert!(quarantine.suspects.is_empty());
    }
}
