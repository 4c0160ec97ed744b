//! What is remembered of invocations, and how much of it.

use std::{
    collections::{BTreeMap, VecDeque},
    mem::size_of,
    time::Duration,
};

use dunlin_protocol::{Emission, InvocationId, Submit};
use dunlin_scheduler_core::{Candidate, Decision};
use tokio::time::Instant;

use super::{Log, Record};

/// How long an invocation can be followed and explained after its end, where there is room for it.
pub(super) const KEPT: Duration = Duration::from_mins(10);

/// Invocations that are remembered, those that have ended included.
pub(super) const MAX_RECORDS: usize = 20_000;

/// Bytes of all that is remembered: what was asked, what was said, why it ran where it ran. Beyond it, what ended first is
/// forgotten before its time; and where nothing has ended, nothing new is taken.
pub(super) const MAX_BYTES: usize = 128 << 20;

/// Bytes of what one invocation may say: twice what a node lets it emit.
pub(super) const MAX_SAID: usize = 32 << 20;

/// Records by id and by key, and the bytes of them all.
#[derive(Debug, Default)]
pub(super) struct Records {
    all: BTreeMap<InvocationId, Record>,
    keys: BTreeMap<(String, String), InvocationId>,
    ended: VecDeque<(Instant, InvocationId)>,
    bytes: usize,
}

impl Records {
    /// Whether another one can be remembered, of so many bytes.
    pub(super) fn have_room(&self, bytes: usize) -> bool {
        !self.ended.is_empty() || (self.all.len() < MAX_RECORDS && self.bytes + bytes <= MAX_BYTES)
    }

    pub(super) fn insert(&mut self, id: InvocationId, record: Record) {
        if let Some(key) = record.submit.idempotency_key.clone() {
            self.keys.insert((record.tenant.clone(), key), id);
        }
        self.bytes += bytes(&record);
        self.all.insert(id, record);
    }

    pub(super) fn get(&self, id: &InvocationId) -> Option<&Record> {
        self.all.get(id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Record> {
        self.all.values()
    }

    pub(super) fn get_mut(&mut self, id: &InvocationId) -> Option<&mut Record> {
        self.all.get_mut(id)
    }

    pub(super) fn contains_key(&self, id: &InvocationId) -> bool {
        self.all.contains_key(id)
    }

    /// The one that a tenant submitted under a key.
    pub(super) fn of_key(&self, tenant: &str, key: &str) -> Option<&Record> {
        self.all.get(self.keys.get(&(tenant.to_owned(), key.to_owned()))?)
    }

    /// Tells whether it has just said more than it may.
    pub(super) fn deliver(&mut self, id: InvocationId, emissions: impl Iterator<Item = Emission>) -> bool {
        let Some(record) = self.all.get_mut(&id) else { return false };
        let before = record.log.bytes();
        let said = record.log.deliver(emissions);
        self.bytes += said - before;
        let overflows = said > MAX_SAID && !record.overflows;
        record.overflows |= overflows;
        overflows
    }

    pub(super) fn decided(&mut self, id: InvocationId, decision: Box<Decision>) {
        let Some(record) = self.all.get_mut(&id) else { return };
        self.bytes += decision_bytes(&decision);
        record.decisions.push((decision, Instant::now()));
    }

    /// It has ended; it is remembered for a while.
    pub(super) fn ended(&mut self, id: InvocationId, now: Instant) {
        self.ended.push_back((now, id));
    }

    /// Lets go of what nobody asks for any more, and of more where there is too much.
    pub(super) fn tidy(&mut self, now: Instant) {
        while let Some(&(ended, id)) = self.ended.front() {
            let fits = self.all.len() <= MAX_RECORDS && self.bytes <= MAX_BYTES;
            if now.duration_since(ended) < KEPT && fits {
                return;
            }
            self.ended.pop_front();
            self.forget(id);
        }
    }

    fn forget(&mut self, id: InvocationId) {
        let Some(record) = self.all.remove(&id) else { return };
        self.bytes = self.bytes.saturating_sub(bytes(&record));
        if let Some(key) = record.submit.idempotency_key {
            let key = (record.tenant, key);
            if self.keys.get(&key) == Some(&id) {
                self.keys.remove(&key);
            }
        }
    }
}

/// About what a record takes; what attempts say at their ends is small.
fn bytes(record: &Record) -> usize {
    let decisions: usize = record.decisions.iter().map(|(decision, _)| decision_bytes(decision)).sum();
    size_of::<Record>() + size_of::<Log>() + asked_bytes(&record.submit) + record.log.bytes() + decisions
}

/// What a submission takes in memory.
pub(super) fn asked_bytes(submit: &Submit) -> usize {
    let params = submit.request.params.iter().chain(&submit.models).chain(&submit.labels);
    let grants = submit.grants.environment.iter().map(|variable| variable.value.len()).sum::<usize>()
        + submit.grants.public_prefixes.iter().map(|prefix| prefix.0.len()).sum::<usize>();
    let params: usize = params.map(|param| param.name.len() + param.value.len()).sum();
    submit.request.body.len() + params + grants
}

fn decision_bytes(decision: &Decision) -> usize {
    size_of::<Decision>() + decision.candidates.capacity() * size_of::<Candidate>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dunlin_protocol::ByteBuf;

    use super::*;

    fn record(id: u128, body: usize, key: Option<&str>) -> Record {
        let submit = Submit {
            pipeline: "chat".into(),
            request: dunlin_protocol::Request { body: ByteBuf::from(vec![0; body]), ..Default::default() },
            models: Vec::new(),
            idempotency_key: key.map(str::to_owned),
            policy: None,
            targets: Default::default(),
            grants: Default::default(),
            limits: Default::default(),
            seed: None,
            labels: Vec::new(),
            trace: None,
        };
        Record::new(submit, "ann".into(), Arc::new(Log::new(InvocationId(id))))
    }

    #[test]
    fn what_ended_first_makes_room() {
        let (mut records, now) = (Records::default(), Instant::now());
        let body = MAX_BYTES / 4;
        for id in 0..3 {
            records.insert(InvocationId(id), record(id, body, None));
        }
        assert!(records.have_room(1000) && !records.have_room(body));
        records.ended(InvocationId(1), now);
        assert!(records.have_room(body));
        records.tidy(now);
        assert!(records.contains_key(&InvocationId(1)), "there is room still");
        records.insert(InvocationId(3), record(3, body, None));
        records.tidy(now);
        assert!(!records.contains_key(&InvocationId(1)) && records.contains_key(&InvocationId(0)));
        records.ended(InvocationId(0), now);
        records.tidy(now + KEPT);
        assert!(!records.contains_key(&InvocationId(0)));
    }

    #[test]
    fn what_is_said_counts_and_is_bounded() {
        let mut records = Records::default();
        records.insert(InvocationId(1), record(1, 0, Some("k")));
        let before = records.bytes;
        let text = |length: usize| std::iter::once(Emission::Text("x".repeat(length)));
        assert!(!records.deliver(InvocationId(1), text(1000)));
        assert!(records.bytes > before + 1000);
        assert!(records.deliver(InvocationId(1), text(MAX_SAID)));
        assert!(!records.deliver(InvocationId(1), text(1)), "it is said once");
        assert!(records.of_key("ann", "k").is_some() && records.of_key("bob", "k").is_none());
        records.ended(InvocationId(1), Instant::now());
        records.tidy(Instant::now() + KEPT);
        assert_eq!((records.bytes, records.keys.len()), (0, 0));
    }
}
