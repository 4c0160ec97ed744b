//! Who is next: the earliest due first, within fair shares of the tenants.
//!
//! Shares are by virtual time (start-time fair queueing, Goyal, Vin and Cheng 1996): a tenant's clock runs by the work of
//! its requests over its share, and whose clock is least is served. Over time that is what deficit round robin gives,
//! without a quantum to choose and without turns spent on saving up.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use crate::{InvocationId, TenantId, Time};

/// Requests that wait, in all and of one tenant.
pub const MAX_QUEUED: usize = 16_384;
pub const MAX_QUEUED_PER_TENANT: usize = 4_096;

/// Requests for one model that one pass tries to place in vain, of one tenant and in all: those behind them wait for them.
pub const HEADS: usize = 4;
pub const LANE_HEADS: usize = 32;

/// Idle tenants whose clocks are remembered.
const MAX_IDLE_TENANTS: usize = 4_096;

/// Requests for one model queue together: a model without a free engine holds up no other.
pub(crate) type Lane = Arc<str>;

/// The place in a lane: what has begun goes first, then what is due first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) fresh: bool,
    pub(crate) due: Time,
    pub(crate) id: InvocationId,
}

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) tenant: TenantId,
    pub(crate) lane: Lane,
    pub(crate) turn: Turn,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    tenants: BTreeMap<TenantId, Tenant>,
    /// Tenants that have something here, by their clocks.
    order: BTreeSet<(u64, TenantId)>,
    shares: BTreeMap<TenantId, u32>,
    lanes: BTreeMap<Lane, usize>,
    /// The clock of the tenant that was served last.
    clock: u64,
    len: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    clock: u64,
    len: usize,
    lanes: BTreeMap<Lane, BTreeMap<Turn, u64>>,
}

/// One round of placing.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// That it goes over, and how often it has looked there in vain.
    lanes: BTreeMap<Lane, usize>,
    /// The same by tenant, and where it looked last.
    looked: BTreeMap<(TenantId, Lane), (usize, Turn)>,
}

impl Pass {
    pub(crate) fn over(lanes: BTreeSet<Lane>) -> Self {
        Self { lanes: lanes.into_iter().map(|lane| (lane, 0)).collect(), looked: BTreeMap::new() }
    }
}

impl Queue {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn len_of(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).map_or(0, |tenant| tenant.len)
    }

    pub(crate) fn lane_len(&self, lane: &str) -> usize {
        self.lanes.get(lane).copied().unwrap_or(0)
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.keys()
    }

    pub(crate) fn share_out(&mut self, shares: BTreeMap<TenantId, u32>) {
        self.shares = shares;
    }

    /// `work` is what it costs its tenant, in tokens.
    pub(crate) fn push(&mut self, ticket: Ticket, work: u64) {
        let Ticket { tenant: id, lane, turn } = ticket;
        let tenant = self.tenants.entry(id).or_default();
        if tenant.len == 0 {
            // Time spent without asking is not saved up.
            tenant.clock = tenant.clock.max(self.clock);
            self.order.insert((tenant.clock, id));
        }
        let replaced = tenant.lanes.entry(lane.clone()).or_default().insert(turn, work);
        if replaced.is_none() {
            tenant.len += 1;
            self.len += 1;
            *self.lanes.entry(lane).or_default() += 1;
        }
    }

    /// It goes away unserved.
    pub(crate) fn remove(&mut self, ticket: &Ticket) -> Option<u64> {
        let tenant = self.tenants.get_mut(&ticket.tenant)?;
        let lane = tenant.lanes.get_mut(&ticket.lane)?;
        let work = lane.remove(&ticket.turn)?;
        if lane.is_empty() {
            tenant.lanes.remove(&ticket.lane);
        }
        tenant.len -= 1;
        if tenant.len == 0 {
            self.order.remove(&(tenant.clock, ticket.tenant));
        }
        self.len -= 1;
        if let Some(waiting) = self.lanes.get_mut(&ticket.lane) {
            *waiting -= 1;
            if *waiting == 0 {
                self.lanes.remove(&ticket.lane);
            }
        }
        Some(work)
    }

    /// It is served: its tenant's clock moves on.
    pub(crate) fn take(&mut self, ticket: &Ticket) {
        let Some(work) = self.remove(ticket) else { return };
        let share = self.shares.get(&ticket.tenant).copied().unwrap_or(1).max(1);
        let Some(tenant) = self.tenants.get_mut(&ticket.tenant) else { return };
        self.clock = self.clock.max(tenant.clock);
        let before = tenant.clock;
        // In thousandths of a token.
        tenant.clock += (work.max(1) * 1000) / u64::from(share);
        if tenant.len > 0 {
            self.order.remove(&(before, ticket.tenant));
            self.order.insert((tenant.clock, ticket.tenant));
        }
        self.forget_idle();
    }

    /// The next that a pass has not looked at.
    pub(crate) fn next(&self, pass: &mut Pass) -> Option<Ticket> {
        if pass.lanes.is_empty() {
            return None;
        }
        let Some(ticket) = self.first(pass) else {
            *pass = Pass::default();
            return None;
        };
        let looked = pass.looked.entry((ticket.tenant, ticket.lane.clone())).or_insert((0, ticket.turn));
        *looked = (looked.0 + 1, ticket.turn);
        if let Some(looked) = pass.lanes.get_mut(&ticket.lane) {
            *looked += 1;
        }
        Some(ticket)
    }

    fn first(&self, pass: &Pass) -> Option<Ticket> {
        self.order.iter().find_map(|&(_, id)| {
            let lanes = &self.tenants.get(&id)?.lanes;
            let heads = lanes.iter().filter_map(|(lane, waiting)| {
                let turn = pass.head(id, lane, waiting)?;
                Some(Ticket { tenant: id, lane: lane.clone(), turn })
            });
            heads.min_by_key(|ticket| ticket.turn)
        })
    }

    fn forget_idle(&mut self) {
        if self.tenants.len() > MAX_IDLE_TENANTS {
            let clock = self.clock;
            self.tenants.retain(|_, tenant| tenant.len > 0 || tenant.clock > clock);
        }
    }
}

impl Pass {
    fn head(&self, tenant: TenantId, lane: &Lane, waiting: &BTreeMap<Turn, u64>) -> Option<Turn> {
        if self.lanes.get(lane).is_none_or(|&looked| looked >= LANE_HEADS) {
            return None;
        }
        match self.looked.get(&(tenant, lane.clone())) {
            None => waiting.keys().next().copied(),
            Some(&(looked, _)) if looked >= HEADS => None,
            Some(&(_, last)) => {
                let behind = (Bound::Excluded(last), Bound::Unbounded);
                waiting.range(behind).next().map(|(turn, _)| *turn)
            }
        }
    }

    /// What was looked at last has been placed: it does not count as one that holds up the lane.
    pub(crate) fn placed(&mut self, ticket: &Ticket) {
        if let Some((looked, _)) = self.looked.get_mut(&(ticket.tenant, ticket.lane.clone())) {
            *looked -= 1;
        }
        if let Some(looked) = self.lanes.get_mut(&ticket.lane) {
            *looked -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ticket(tenant: u64, lane: &str, due_s: u64, id: u128) -> Ticket {
        let due = Time::since_epoch(Duration::from_secs(due_s));
        Ticket {
            tenant: TenantId(tenant),
            lane: lane.into(),
            turn: Turn { fresh: true, due, id: InvocationId(id) },
        }
    }

    fn all_lanes(queue: &Queue) -> Pass {
        Pass::over(queue.lanes().cloned().collect())
    }

    /// Ids in the order in which they are served.
    fn serve(queue: &mut Queue, most: usize) -> Vec<u128> {
        let mut served = Vec::new();
        let mut pass = all_lanes(queue);
        while let Some(ticket) = queue.next(&mut pass).filter(|_| served.len() < most) {
            queue.take(&ticket);
            pass.placed(&ticket);
            served.push(ticket.turn.id.0);
        }
        served
    }

    #[test]
    fn the_earliest_due_of_a_tenant_goes_first() {
        let mut queue = Queue::default();
        for (due, id) in [(30, 1), (10, 2), (20, 3), (10, 4)] {
            queue.push(ticket(1, "m", due, id), 1);
        }
        let begun = Turn { fresh: false, ..ticket(1, "m", 90, 5).turn };
        queue.push(Ticket { turn: begun, ..ticket(1, "m", 90, 5) }, 1);
        assert_eq!(serve(&mut queue, 9), [5, 2, 4, 3, 1]);
        assert_eq!((queue.len(), queue.lane_len("m")), (0, 0));
    }

    #[test]
    fn a_tenant_with_many_does_not_hold_up_one_with_few() {
        let mut queue = Queue::default();
        (0..100).for_each(|id| queue.push(ticket(1, "m", 1, id), 10));
        (100..103).for_each(|id| queue.push(ticket(2, "m", 2, id), 10));
        assert_eq!(serve(&mut queue, 7), [0, 100, 1, 101, 2, 102, 3]);
    }

    #[test]
    fn shares_are_of_work_and_not_of_requests() {
        let mut queue = Queue::default();
        queue.share_out([(TenantId(2), 3)].into());
        (0..400).for_each(|id| queue.push(ticket(1, "m", 1, id), 30));
        (400..800).for_each(|id| queue.push(ticket(2, "m", 1, id), 10));
        let served = serve(&mut queue, 200);
        let of_first = served.iter().filter(|&&id| id < 400).count();
        assert_eq!(of_first, 20, "three times the share at a third of the work: nine for one");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut queue = Queue::default();
        (0..50).for_each(|id| queue.push(ticket(1, "m", 1, id), 10));
        assert_eq!(serve(&mut queue, 40).len(), 40);
        (100..110).for_each(|id| queue.push(ticket(2, "m", 1, id), 10));
        assert_eq!(serve(&mut queue, 6), [100, 40, 101, 41, 102, 42]);
    }

    #[test]
    fn a_pass_looks_at_a_few_of_each_lane_and_at_no_other_lanes() {
        let mut queue = Queue::default();
        (0..10).for_each(|id| queue.push(ticket(1, "blocked", 1, id), 1));
        queue.push(ticket(1, "free", 9, 20), 1);
        queue.push(ticket(1, "elsewhere", 0, 30), 1);
        let mut pass = Pass::over(["blocked".into(), "free".into()].into());
        let looked: Vec<_> =
            std::iter::from_fn(|| queue.next(&mut pass)).map(|ticket| ticket.turn.id.0).collect();
        assert_eq!(looked, [0, 1, 2, 3, 20]);
        (2..30).for_each(|tenant| queue.push(ticket(tenant, "blocked", 1, u128::from(tenant) * 100), 1));
        let mut pass = Pass::over(["blocked".into()].into());
        assert_eq!(std::iter::from_fn(|| queue.next(&mut pass)).count(), LANE_HEADS);
    }
}
