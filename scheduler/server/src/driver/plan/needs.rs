//! Who may rest and who is needed: rounds of parking.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dunlin_costs::{ModelDigest, Work};
use dunlin_protocol::{Inventory, NodeId, Residency, Resident};
use dunlin_scheduler_core::{Decision, Need, NodeId as Id, ParkAction, ParkRest, ParkState, Standing, Time};

use super::{
    super::{Driver, convert},
    demand::{Demand, Strictest},
    modes::costed,
};

/// A target that was missed calls for another node for so long.
const MISSED: Duration = Duration::from_secs(30);

/// Aliases of which it is remembered that a target was missed.
const MAX_MISSED: usize = 256;

/// What waits, and what was missed.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// By alias, since when requests have waited without a break.
    waits: BTreeMap<Arc<str>, Time>,
    missed: BTreeMap<Arc<str>, Missed>,
}

/// A request that was turned away, or placed where it misses its targets.
#[derive(Debug, Clone, Copy)]
struct Missed {
    at: Time,
    work: Work,
    targets: Strictest,
}

impl Driver {
    /// A placement, or that there was none, as far as parked nodes go.
    pub(in crate::driver) fn note_decision(&mut self, decision: &Decision) {
        if self.planning.parked.is_empty() || decision.chosen().is_some_and(|chosen| chosen.excess() <= 0.0) {
            return;
        }
        let (request, wanted) = (&decision.request, &mut self.planning.wanted);
        if wanted.missed.len() < MAX_MISSED || wanted.missed.contains_key(&request.model) {
            let work = Work {
                prompt_tokens: request.prompt_tokens,
                cached_tokens: 0,
                output_tokens: request.output_tokens,
            };
            let targets = Strictest::of(&request.terms.targets);
            wanted.missed.insert(request.model.clone(), Missed { at: decision.at, work, targets });
        }
    }

    /// What waits for a node that is parked gets one.
    pub(super) fn wake_who_is_needed(&mut self) {
        if self.planning.parked.is_empty() {
            return;
        }
        let time = self.now();
        self.note_waits(time);
        if self.planning.wanted.waits.is_empty() && self.planning.wanted.missed.is_empty() {
            return;
        }
        let (states, needs) = (self.park_states(time), self.needs());
        let due = self.planning.parks.wake(time, &states, &needs);
        for action in due {
            let ParkAction::Wake { node, need } = action else { continue };
            let Some(name) = self.names.name(node).cloned() else { continue };
            let alias = self.planning.aliases.get(need).map(|alias| alias.name.clone()).unwrap_or_default();
            tracing::info!(node = %name, model = %alias, "is needed, and woken");
            self.planning.wanted.missed.remove(&alias);
            self.wake(&name, None);
        }
    }

    fn note_waits(&mut self, time: Time) {
        let waiting: Vec<Arc<str>> = self.core.waiting().map(|(alias, _)| Arc::from(alias)).collect();
        let wanted = &mut self.planning.wanted;
        wanted.waits.retain(|alias, _| waiting.contains(alias));
        for alias in waiting {
            wanted.waits.entry(alias).or_insert(time);
        }
        wanted.missed.retain(|_, missed| time.since(missed.at) < MISSED);
    }

    /// A round: who has done nothing for long may rest.
    pub(super) fn plan_parking(&mut self) {
        let Some(rules) = self.planning.rules.parking else { return };
        let time = self.now();
        let (states, needs) = (self.park_states(time), self.needs());
        let due = self.planning.parks.park(time, &rules, &states, &needs);
        for action in due {
            let ParkAction::Park { node, level } = action else { continue };
            let Some(name) = self.names.name(node).cloned() else { continue };
            tracing::info!(node = %name, ?level, "has done nothing for {} s", rules.after.as_secs());
            self.park(&name, level, None);
        }
    }

    /// Nodes that work now. What comes and goes between two rounds is noted at its end.
    pub(super) fn note_work(&mut self) {
        if self.planning.rules.parking.is_none() {
            return;
        }
        let time = self.now();
        for (name, node) in &self.nodes {
            let works = self.names.known(name).is_some_and(|id| self.core.in_flight(id) > 0);
            if works || node.hold.is_some() || !self.planning.worked.contains_key(name) {
                self.planning.worked.insert(name.clone(), time);
            }
        }
    }

    fn park_states(&self, time: Time) -> Vec<ParkState> {
        let of_known = self.nodes.iter().map(|(name, node)| {
            let parked = self.planning.parked.get(name);
            let inventory = parked.map_or(&node.inventory, |parking| &parking.inventory);
            (name, inventory, node.is_connected && node.hold.is_none())
        });
        let unknown = self.planning.parked.iter().filter(|(name, _)| !self.nodes.contains_key(*name));
        let all = of_known.chain(unknown.map(|(name, parking)| (name, &*parking.inventory, false)));
        all.filter_map(|(name, inventory, is_free)| self.park_state(name, inventory, is_free, time)).collect()
    }

    fn park_state(
        &self,
        name: &NodeId,
        inventory: &Inventory,
        is_free: bool,
        time: Time,
    ) -> Option<ParkState> {
        let id = self.names.known(name)?;
        let parked = self.planning.parked.get(name);
        let level = parked.map_or_else(|| self.usual_level(name), |parking| parking.level);
        let is_idle = self.core.in_flight(id) == 0;
        let (down, up) = self.delays(name, level);
        let is_pinned =
            |of: &&Resident| inventory.models.iter().any(|model| model.digest == of.model && model.pinned);
        let residents: Vec<&Resident> =
            inventory.state.residents.iter().filter(|of| of.state == Residency::Ready).collect();
        Some(ParkState {
            node: id,
            rest: parked.map_or(ParkRest::Awake, super::parking::Parking::rest),
            is_ready: is_free && self.core.standing(id) == Some(Standing::Ready),
            idle_since: is_idle.then(|| self.planning.worked.get(name).copied().unwrap_or(time)),
            level,
            delays: down + up,
            stored: inventory.models.iter().map(|model| convert::digest(model.digest)).collect(),
            has_pinned: residents.iter().any(is_pinned),
            has_unpinned: !residents.iter().all(is_pinned),
            residents: residents.into_iter().map(|of| convert::digest(of.model)).collect(),
        })
    }

    fn needs(&self) -> Vec<Need> {
        let need = |alias: &dunlin_scheduler_core::Alias| {
            let variants: Vec<ModelDigest> = alias.variants.iter().map(|variant| variant.model).collect();
            let missed = self.planning.wanted.missed.get(&alias.name);
            Need {
                missed_by: missed.map(|missed| self.keepers(missed, &variants)).unwrap_or_default(),
                resident_on: alias.resident_on,
                waits_since: self.planning.wanted.waits.get(&alias.name).copied(),
                variants,
            }
        };
        self.planning.aliases.iter().map(need).collect()
    }

    /// Parked nodes that would have kept the targets, were they awake, with the model in memory and nothing else to do.
    fn keepers(&self, missed: &Missed, variants: &[ModelDigest]) -> Vec<Id> {
        let rows = self.rows.by_site();
        let keeps = |inventory: &Inventory, model: &ModelDigest| {
            let demand = Demand { model: *model, rate: 0.0, work: missed.work, strictest: missed.targets };
            let mode = &inventory.state.health.mode;
            costed(&rows, inventory, mode, &[demand], 1.0).is_some_and(|costed| costed.choice.strain <= 1.0)
        };
        let rests = self.planning.parked.iter().filter(|(_, parking)| {
            matches!(parking.rest(), ParkRest::Parked(_))
                && variants.iter().any(|model| keeps(&parking.inventory, model))
        });
        rests.filter_map(|(name, _)| self.names.known(name)).collect()
    }
}
