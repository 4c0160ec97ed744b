//! The modes of nodes: what each would take, and the changes that are due.

use std::collections::BTreeMap;

use dunlin_costs::{Bound, Calibration, Mode, ModelDigest, Row, Situation, TYPICAL, Work};
use dunlin_protocol::{Inventory, NodeId, Order, Residency};
use dunlin_scheduler_core::{Input, ModeChange, ModeChoice, ModeState, NodeView, Standing};
use tokio::time::{Duration, Instant};

use super::{
    super::{Driver, convert, hold::Waits, nodes::Connected, rows::BySite},
    demand::{Demand, Strictest},
};

/// What runs on a node that changes its mode may take so long to end there; then it goes on elsewhere.
const DRAIN: Duration = Duration::from_secs(30);

/// A request of which nothing is known.
const USUAL: Work = TYPICAL[0];

/// What is known of the modes of a node, at what it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Modes {
    pub(super) choices: Vec<Costed>,
    /// Requests a second.
    pub(super) rate: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Costed {
    pub(super) choice: ModeChoice,
    /// The watts rest on what is assumed.
    pub(super) assumed: bool,
}

impl Driver {
    /// A round.
    pub(super) fn plan_modes(&mut self, now: Instant) {
        let Some(rules) = self.planning.rules.modes else { return };
        let states = self.mode_states(now);
        let (time, objective) = (self.now(), self.policies.default_terms().objective);
        let due = self.planning.modes.round(time, &rules, objective, &states);
        for ModeChange { node, mode, gain } in due {
            let Some(name) = self.names.name(node).cloned() else { continue };
            tracing::info!(node = %name, to = %mode, "changes its mode, which {gain}");
            let drain = |node| Input::Drain { node, within: DRAIN };
            self.hold(&name, drain, Order::Mode { mode: mode.to_string() }, Waits::Plan);
        }
    }

    fn mode_states(&mut self, now: Instant) -> Vec<ModeState> {
        let (mut states, mut notes, mut seen) = (Vec::new(), Vec::new(), BTreeMap::new());
        let rows = self.rows.by_site();
        for (name, node) in &self.nodes {
            let Some(view) = self.names.known(name).and_then(|id| self.core.node(id)) else { continue };
            let offered: Vec<&str> = node.inventory.points.iter().map(|point| point.mode.as_str()).collect();
            if let Some(note) = self.planning.rules.unknown_mode(name.as_str(), &offered) {
                notes.push(format!("{name}: {note}"));
            }
            // What it goes back to is not planned while it rests.
            if self.parked_state(name).is_some() {
                continue;
            }
            let modes = self.modes_of(name, &node.inventory, &rows, view.slowness, now);
            states.push(state(node, &view, &modes));
            seen.insert(name.clone(), modes);
        }
        self.planning.seen = seen;
        notes.into_iter().for_each(|note| self.planning.note_once(note));
        states
    }

    fn modes_of(
        &self,
        name: &NodeId,
        node: &Inventory,
        rows: &BySite<'_>,
        slowness: f64,
        now: Instant,
    ) -> Modes {
        let demand = self.demand(name, node, rows, now);
        let current = &node.state.health.mode;
        let offered = node.points.iter().map(|point| &point.mode);
        let mut names: Vec<&String> = offered
            .filter(|mode| *mode == current || self.planning.rules.allows(name.as_str(), mode))
            .collect();
        names.sort();
        names.dedup();
        let choices = names.into_iter().filter_map(|mode| costed(rows, node, mode, &demand, slowness));
        Modes { choices: choices.collect(), rate: demand.iter().map(|of| of.rate).sum() }
    }

    /// The one that draws least when it is idle, of those that the plan may choose; the one of now where that is not known.
    pub(super) fn lowest_mode(&self, name: &NodeId) -> String {
        let Some(node) = self.nodes.get(name) else { return String::new() };
        let rows = self.rows.by_site();
        let idle = |name: &NodeId, node: &Inventory| {
            let models = node.models.iter().map(|model| convert::digest(model.digest));
            let demand = |model| Demand { model, rate: 0.0, work: USUAL, strictest: Strictest::NONE };
            let offered = node.points.iter().map(|point| &point.mode);
            let allowed = offered.filter(|mode| self.planning.rules.allows(name.as_str(), mode));
            let watts = |mode: &String| {
                let costed =
                    models.clone().find_map(|model| costed(&rows, node, mode, &[demand(model)], 1.0));
                Some((costed?.choice.watts?, mode.clone()))
            };
            allowed.filter_map(watts).min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)))
        };
        let lowest = idle(name, &node.inventory).map(|(_, mode)| mode);
        lowest.unwrap_or_else(|| node.inventory.state.health.mode.clone())
    }

    /// What a node is asked for; where that is nothing, a usual request of a model that it has a row of.
    fn demand(&self, name: &NodeId, node: &Inventory, rows: &BySite<'_>, now: Instant) -> Vec<Demand> {
        let asked = self.planning.demands.of(name, now);
        if !asked.is_empty() {
            return asked;
        }
        let resident = node.state.residents.iter().map(|resident| resident.model);
        let models = resident.chain(node.models.iter().map(|model| model.digest)).map(convert::digest);
        let has_row = |model: &ModelDigest| !rows.of(node, *model, &node.state.health.mode).is_empty();
        let strictest = Strictest::of(&self.policies.default_terms().targets);
        let usual = |model| Demand { model, rate: 0.0, work: USUAL, strictest };
        models.into_iter().find(has_row).map(usual).into_iter().collect()
    }
}

fn state(node: &Connected, view: &NodeView, modes: &Modes) -> ModeState {
    let residents = node.inventory.state.residents.iter().filter(|of| of.state == Residency::Ready);
    ModeState {
        node: view.id,
        mode: Mode::new(&node.inventory.state.health.mode),
        choices: modes.choices.iter().map(|of| of.choice.clone()).collect(),
        residents: residents.map(|of| convert::digest(of.model)).collect(),
        is_ready: node.is_connected
            && view.connected
            && view.standing == Standing::Ready
            && node.hold.is_none(),
        is_idle: view.in_flight == 0,
        changes: node.hold.is_some(),
    }
}

/// `None` where a model that is asked for has no row in this mode. `slowness`: as was learned of the node in the mode that
/// it is in; it is the same board in others.
pub(super) fn costed(
    rows: &BySite<'_>,
    node: &Inventory,
    mode: &str,
    demand: &[Demand],
    slowness: f64,
) -> Option<Costed> {
    let (mut idle, mut joules, mut assumed) = (None, Some(0.0), false);
    let (mut busy, mut seconds, mut strain) = (0.0, 0.0, 0.0f64);
    let total: f64 = demand.iter().map(|of| of.rate).sum();
    for of in demand {
        let predict = |row: &Row| row.predict(&of.work, &Situation::default(), &Calibration::default());
        let taken = |row: &Row| predict(row).completion.mean;
        let rows = rows.of(node, of.model, mode);
        let row = rows.iter().min_by(|a, b| taken(a).total_cmp(&taken(b)))?;
        let prediction = predict(row);
        let watts = row.power.as_ref().and_then(|power| power.board(Bound::Nominal).ok());
        idle = idle.or(watts.map(|watts| watts.idle));
        joules = joules.zip(prediction.joules).map(|(sum, each)| sum + of.rate * slowness * each.marginal);
        assumed |= prediction.flags.assumed_joules || prediction.flags.assumed;
        let each = slowness * prediction.completion.mean;
        busy += of.rate * each;
        seconds += each * if total > 0.0 { of.rate / total } else { 1.0 };
        strain = strain.max(slowness * of.strictest.strain(&prediction));
    }
    let watts = idle.zip(joules).map(|(idle, joules)| idle + joules);
    let choice = ModeChoice { mode: Mode::new(mode), watts, busy, seconds, strain };
    (!demand.is_empty()).then_some(Costed { choice, assumed })
}
