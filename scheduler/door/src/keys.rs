//! Keys: whose they are, what they allow, and how much of it is used up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use dunlin_protocol::{Allowance, Usage};
use dunlin_scheduler::catalog::{KeyHash, KeyRecord};
use http::StatusCode;
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

use crate::error::{Answered, ApiError};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// All keys.
#[derive(Debug)]
pub(crate) struct Keys {
    known: watch::Receiver<Arc<Vec<KeyRecord>>>,
    /// By their names, so that a key that is made anew goes on with what is left.
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
}

/// One key and what is left of it.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) allowance: Allowance,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    millijoules: Option<Bucket>,
}

/// So much in a time; what was used comes back evenly.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    size: f64,
    time: Duration,
    /// Below 0 where more was used than there was: what an answer takes is known at its end.
    left: f64,
    at: Instant,
}

impl Keys {
    pub(crate) fn new(known: watch::Receiver<Arc<Vec<KeyRecord>>>) -> Self {
        Self { known, accounts: Mutex::default() }
    }

    /// Whose key it is.
    pub(crate) fn find(&self, text: &str) -> Option<(String, Arc<Account>)> {
        let hash = KeyHash::of(text);
        let known = self.known.borrow().clone();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let is_good =
            |key: &&KeyRecord| key.hash == hash && key.expires.is_none_or(|end| end.as_secs() > now);
        let key = known.iter().find(is_good)?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|name, _| known.iter().any(|key| key.name == *name));
        let account = accounts.get(&key.name).filter(|account| account.allowance == key.allowance).cloned();
        let account = account.unwrap_or_else(|| Arc::new(Account::new(key.allowance.clone())));
        accounts.insert(key.name.clone(), account.clone());
        Some((key.name.clone(), account))
    }
}

impl Account {
    fn new(allowance: Allowance) -> Self {
        let of = |size: Option<f64>, time| size.map(|size| Bucket::full(size, time));
        let left = Left {
            requests: of(allowance.requests_per_minute.map(f64::from), MINUTE),
            tokens: of(allowance.tokens_per_minute.map(|tokens| tokens as f64), MINUTE),
            millijoules: of(allowance.joules_per_day.map(|joules| joules as f64 * 1000.0), DAY),
        };
        Self { allowance, left: Mutex::new(left) }
    }

    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.allowance.models.is_empty() || self.allowance.models.iter().any(|known| known.0 == model)
    }

    /// One more request.
    ///
    /// # Errors
    /// If nothing is left of something, with the time until there is.
    pub(crate) fn admit(&self) -> Answered<()> {
        let mut left = self.lock();
        let Left { requests, tokens, millijoules } = &mut *left;
        for (bucket, what) in [(&mut *tokens, "tokens per minute"), (millijoules, "joules per day")] {
            if let Some(wait) = bucket.as_mut().and_then(|bucket| bucket.wait_for(0.0)) {
                return Err(used_up(what, wait));
            }
        }
        match requests.as_mut().and_then(|bucket| bucket.wait_for(1.0)) {
            Some(wait) => Err(used_up("requests per minute", wait)),
            None => {
                if let Some(requests) = requests {
                    requests.left -= 1.0;
                }
                Ok(())
            }
        }
    }

    /// What an answer took.
    pub(crate) fn settle(&self, usage: &Usage) {
        let mut left = self.lock();
        let tokens = usage.prompt_tokens + usage.cached_tokens + usage.output_tokens + usage.scored_tokens;
        if let Some(bucket) = &mut left.tokens {
            bucket.left -= f64::from(tokens);
        }
        if let (Some(bucket), Some(energy)) = (&mut left.millijoules, &usage.energy) {
            bucket.left -= energy.total_millijoules as f64;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn full(size: f64, time: Duration) -> Self {
        Self { size, time, left: size, at: Instant::now() }
    }

    /// How long until more than `needed` is left, or just that if it is more than nothing; nothing, if it is now.
    fn wait_for(&mut self, needed: f64) -> Option<Duration> {
        let now = Instant::now();
        let rate = self.size / self.time.as_secs_f64();
        self.left = (self.left + rate * now.duration_since(self.at).as_secs_f64()).min(self.size);
        self.at = now;
        let is_there = if needed > 0.0 { self.left >= needed } else { self.left > 0.0 };
        if is_there {
            return None;
        }
        let missing = (needed - self.left).max(f64::MIN_POSITIVE);
        Some(if rate > 0.0 { Duration::from_secs_f64((missing / rate).min(DAY.as_secs_f64())) } else { DAY })
    }
}

fn used_up(what: &str, wait: Duration) -> ApiError {
    let message = format!("this key has used up its {what}; some is left again in {} s", wait.as_secs() + 1);
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
        .with_code("rate_limit_exceeded")
        .retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(requests: Option<u32>, tokens: Option<u64>) -> Account {
        Account::new(Allowance {
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            ..Default::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn requests_come_back_with_time() {
        let account = account(Some(2), None);
        assert!(account.admit().is_ok() && account.admit().is_ok());
        let refused = account.admit().unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after.unwrap().as_secs()), (429, 30));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(account.admit().is_ok() && account.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_settled_at_the_end() {
        let account = account(None, Some(100));
        let mut usage = Usage::of("pi-1".parse().unwrap());
        usage.output_tokens = 150;
        account.admit().unwrap();
        account.settle(&usage);
        assert_eq!(account.admit().unwrap_err().code, Some("rate_limit_exceeded"));
        tokio::time::advance(Duration::from_secs(31)).await;
        account.admit().unwrap();
    }

    #[test]
    fn a_key_is_for_its_models() {
        let all = Account::new(Allowance::default());
        let one = Account::new(Allowance {
            models: vec![dunlin_protocol::Name("demo".into())],
            ..Default::default()
        });
        assert!(all.may_use("x") && one.may_use("demo") && !one.may_use("x"));
    }
}
