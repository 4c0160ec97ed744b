//! Whose joules they are: what a meter shows, divided among the requests that ran, and idle.
//!
//! In each interval what the board drew above idle goes to those that the engines worked for, by the time of the steps that
//! was theirs, reading prompts and decoding weighed by what they draw. So the parts are the meter's joules again, and a
//! request that shares its steps pays less than one that is alone. Pure: no clock, no sensors.

use std::collections::BTreeMap;

use super::{idle::IdleWatts, phases::PhaseWatts};

/// Seconds of steps that were for somebody, since he began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Work {
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
}

impl Work {
    fn since(self, earlier: Self) -> Self {
        // A worker that was started again counts from 0.
        let part = |now: f64, before: f64| if now < before { now } else { now - before };
        Self { prefill: part(self.prefill, earlier.prefill), decode: part(self.decode, earlier.decode) }
    }

    fn total(self) -> f64 {
        self.prefill + self.decode
    }
}

/// Joules of one account.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Joules {
    /// Above idle.
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
    /// What the board would have drawn anyway, for the time that was its own.
    pub(crate) idle: f64,
}

impl Joules {
    /// What the node would not have drawn without it.
    pub(crate) fn marginal(self) -> f64 {
        self.prefill + self.decode
    }

    pub(crate) fn total(self) -> f64 {
        self.marginal() + self.idle
    }
}

/// All that a meter showed since the ledger was opened, by where it went.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Totals {
    pub(crate) metered: f64,
    /// Above idle, of all accounts.
    pub(crate) worked: f64,
    /// The rest.
    pub(crate) idle: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    seen: Work,
    joules: Joules,
    /// It was told already, with this work: what is settled later is booked, and told to nobody.
    closed: Option<Work>,
}

/// Accounts that were told before all of their work was settled; of more, a meter shows nothing any more.
const MAX_CLOSED: usize = 256;

/// Accounts by their owner.
#[derive(Debug)]
pub(crate) struct Ledger<K> {
    accounts: BTreeMap<K, Account>,
    idle: IdleWatts,
    /// Something is loaded: what is drawn meanwhile is not what the board draws when it is idle.
    loads: bool,
    phases: PhaseWatts,
    totals: Totals,
    /// Joules above idle for a second of work of average weight, in the last interval with work.
    rate: Option<f64>,
}

impl<K: Ord + Copy> Ledger<K> {
    pub(crate) fn new() -> Self {
        Self {
            accounts: BTreeMap::new(),
            idle: IdleWatts::default(),
            loads: false,
            phases: PhaseWatts::default(),
            totals: Totals::default(),
            rate: None,
        }
    }

    pub(crate) fn open(&mut self, owner: K) {
        self.accounts.insert(owner, Account::default());
    }

    /// The board draws otherwise from now on: what was learned is of another mode.
    pub(crate) fn forget_watts(&mut self) {
        self.idle = IdleWatts::default();
        self.phases = PhaseWatts::default();
        self.rate = None;
    }

    pub(crate) fn loads(&mut self, loads: bool) {
        self.loads = loads;
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Work of an interval of which nothing is known.
    pub(crate) fn skip(&mut self, works: &[(K, Work)]) {
        self.news(works);
        self.drop_closed(works);
    }

    fn keep_closed(&mut self, owner: K, account: Account) {
        if self.accounts.values().filter(|account| account.closed.is_some()).count() >= MAX_CLOSED {
            self.accounts.retain(|_, account| account.closed.is_none());
        }
        self.accounts.insert(owner, account);
    }

    /// Accounts that were told, once all of their work is settled or nobody speaks of them any more.
    fn drop_closed(&mut self, works: &[(K, Work)]) {
        let runs = |owner: &K| works.iter().any(|(other, _)| other == owner);
        self.accounts
            .retain(|owner, account| account.closed.is_none_or(|all| runs(owner) && account.seen != all));
    }

    /// Whether anything was done that is not settled yet.
    pub(crate) fn has_news(&self, works: &[(K, Work)]) -> bool {
        let seen = |owner| self.accounts.get(owner).map(|account| account.seen);
        works.iter().any(|(owner, now)| seen(owner).is_some_and(|seen| now.since(seen).total() > 0.0))
    }

    /// Also of those that were told already.
    fn news(&mut self, works: &[(K, Work)]) -> Vec<(K, Work)> {
        let mut news = Vec::new();
        for &(owner, now) in works {
            let Some(account) = self.accounts.get_mut(&owner) else { continue };
            let work = now.since(account.seen);
            account.seen = now;
            if work.total() > 0.0 {
                news.push((owner, work));
            }
        }
        news
    }

    /// Divides what the board drew in an interval of so many seconds. `works` tells how far everybody that runs was at its
    /// end.
    pub(crate) fn settle(&mut self, joules: f64, seconds: f64, works: &[(K, Work)]) {
        let news = self.news(works);
        self.totals.metered += joules;
        let all = news.iter().fold(Work::default(), |sum, (_, work)| Work {
            prefill: sum.prefill + work.prefill,
            decode: sum.decode + work.decode,
        });
        if all.total() <= 0.0 {
            // Who runs may be in the middle of a step.
            let is_idle = works.is_empty() && !self.loads;
            if is_idle {
                self.idle.note(joules, seconds)
            } else {
                self.idle.disturb()
            }
            self.totals.idle += joules;
            self.drop_closed(works);
            return;
        }
        self.idle.disturb();
        let idle_watts = self.idle.watts().unwrap_or(0.0);
        let above = (joules - idle_watts * seconds).max(0.0);
        self.totals.idle += joules - above;
        self.totals.worked += above;
        self.phases.note(all, above);
        let weights = self.phases.weights();
        let weighed = |work: Work| work.prefill * weights.0 + work.decode * weights.1;
        let rate = above / weighed(all);
        self.rate = Some(rate);
        // Several engines at once work more seconds than have passed: the board idles only once.
        let idle_share = idle_watts * (seconds / all.total()).min(1.0);
        for (owner, work) in news {
            if let Some(account) = self.accounts.get_mut(&owner) {
                account.joules.prefill += rate * weights.0 * work.prefill;
                account.joules.decode += rate * weights.1 * work.decode;
                account.joules.idle += idle_share * work.total();
            }
        }
        self.drop_closed(works);
    }

    /// Whether an account can be closed that has work which is not settled.
    pub(crate) fn knows_rate(&self) -> bool {
        self.rate.is_some()
    }

    /// Closes an account. Work since the last interval counts as in that one, as far as it is not settled.
    pub(crate) fn close(&mut self, owner: K, now: Work) -> Option<Joules> {
        let account = self.accounts.remove(&owner)?;
        let mut joules = account.joules;
        let left = now.since(account.seen);
        if left.total() > 0.0 {
            self.keep_closed(owner, Account { closed: Some(now), ..account });
            let (weights, rate) = (self.phases.weights(), self.rate?);
            joules.prefill += rate * weights.0 * left.prefill;
            joules.decode += rate * weights.1 * left.decode;
            joules.idle += self.idle.watts().unwrap_or(0.0) * left.total();
        }
        Some(joules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }

    fn work(prefill: f64, decode: f64) -> Work {
        Work { prefill, decode }
    }

    #[test]
    fn what_is_above_idle_goes_by_share_and_the_rest_is_idle() {
        let mut ledger = Ledger::new();
        ledger.open('a');
        ledger.open('b');
        (0..20).for_each(|_| ledger.settle(0.3, 0.1, &[]));
        near(ledger.idle.watts().unwrap(), 3.0);
        // 0.1 s at 8 W, three quarters of the steps for one of them.
        let works = [('a', work(0.0, 0.075)), ('b', work(0.0, 0.025))];
        assert!(ledger.has_news(&works));
        ledger.settle(0.8, 0.1, &works);
        assert!(!ledger.has_news(&works));
        let b = ledger.close('b', work(0.0, 0.025)).unwrap();
        near(b.marginal(), 0.125);
        near(b.total(), 0.2);
        // Half of an interval is not settled when it ends.
        let a = ledger.close('a', work(0.0, 0.125)).unwrap();
        near(a.marginal(), 0.375 + 0.25);
        let totals = ledger.totals();
        near(totals.metered, 6.8);
        near(totals.idle + totals.worked, totals.metered);
        // Somebody runs of whom nothing was heard: that is no idle board.
        ledger.open('c');
        (0..40).for_each(|_| ledger.settle(0.9, 0.1, &[('c', work(0.0, 0.0))]));
        // Nor is one that loads a model.
        ledger.loads(true);
        (0..40).for_each(|_| ledger.settle(0.9, 0.1, &[]));
        near(ledger.idle.watts().unwrap(), 3.0);
        assert_eq!(ledger.close('a', work(0.0, 1.0)), None);
    }

    #[test]
    fn an_account_of_which_nothing_is_known_has_no_joules() {
        let mut ledger = Ledger::new();
        ledger.open('a');
        assert_eq!(ledger.close('a', work(0.1, 0.0)), None, "no interval was ever settled");
        ledger.open('b');
        assert_eq!(ledger.close('b', work(0.0, 0.0)), Some(Joules::default()));
    }
}
