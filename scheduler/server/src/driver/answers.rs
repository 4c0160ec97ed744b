//! Questions that are answered from what the driver knows.

use std::time::Duration;

use dunlin_protocol::{
    Answer, Ask, Candidate, Counted, Explanation, Failure, FailureCode, FleetSummary, InvocationId,
    ModelSummary, NodeId, Order, Page, Residency, Variant, VariantSummary,
    limits::{MAX_DECISIONS, MAX_PAGE},
};
use dunlin_scheduler_core::{self as core, Decision, Input, Stage, Verdict};

use super::{
    Driver, Record, convert,
    look::{Invocation, Which},
    nodes::unix_millis,
};
use crate::catalog;

/// Every verdict, for counts.
const VERDICTS: [Verdict; Verdict::COUNT] = [
    Verdict::Fits,
    Verdict::Chosen,
    Verdict::BelowQuality,
    Verdict::LateFirstToken,
    Verdict::SlowTokens,
    Verdict::LateEnd,
    Verdict::TooManyJoules,
    Verdict::UnknownJoules,
    Verdict::PushesOthers,
    Verdict::NoSlot,
    Verdict::NoMemory,
    Verdict::LoadFailed,
    Verdict::FilteredOut,
    Verdict::NotGranted,
    Verdict::Avoided,
    Verdict::Alike,
    Verdict::Outdone,
    Verdict::Unavailable,
];

impl Driver {
    pub(super) fn answer(&mut self, ask: Ask, tenant: Option<&str>) -> Answer {
        match ask {
            Ask::Fleet => Answer::Fleet(self.summary()),
            Ask::Nodes { after } => {
                let nodes =
                    self.joined().filter(|node| after.as_ref().is_none_or(|after| node.name > *after));
                Answer::Nodes(Page::of(nodes))
            }
            Ask::Models { after } => {
                let models = self.models();
                let later = |model: &ModelSummary| after.as_ref().is_none_or(|after| model.alias > *after);
                Answer::Models(Page::of(models.into_iter().filter(later)))
            }
            Ask::Invocations { live } => {
                let which =
                    Which { tenant: tenant.map(str::to_owned), only: None, live, limit: MAX_PAGE + 1 };
                let invocations = self.invocations(&which).into_iter().map(Invocation::listed);
                Answer::Invocations(Page::of(invocations))
            }
            Ask::Explain { invocation } => match self.explain(invocation, tenant) {
                Some(explanation) => Answer::Explanation(Box::new(explanation)),
                None => Answer::Failed(unknown(invocation)),
            },
            Ask::Cancel { invocation } => {
                let is_own = |record: &Record| tenant.is_none_or(|tenant| tenant == record.tenant);
                if !self.records.get(&invocation).is_some_and(is_own) {
                    return Answer::Failed(unknown(invocation));
                }
                self.handle(Input::Cancel(convert::invocation(invocation)));
                Answer::Done
            }
            Ask::Drain { node, within_ms } => {
                let within = Duration::from_millis(within_ms);
                let drain = move |node| Input::Drain { node, within };
                self.stand(&node, drain, Some(Order::Drain { within_ms }))
            }
            Ask::Cordon { node, cordoned: true } => {
                self.stand(&node, Input::Cordon, Some(Order::Cordon { cordoned: true }))
            }
            Ask::Cordon { node, cordoned: false } => {
                self.stand(&node, Input::Uncordon, Some(Order::Cordon { cordoned: false }))
            }
            Ask::Pin { model, node, pinned } => self.pin(model, node, pinned),
            other => Answer::Failed(Failure::new(
                FailureCode::Unsupported,
                format!("{other:?} is not answered here"),
            )),
        }
    }

    fn stand(
        &mut self,
        name: &NodeId,
        input: impl FnOnce(core::NodeId) -> Input,
        order: Option<Order>,
    ) -> Answer {
        let Some(node) = self.names.known(name) else { return Answer::Failed(self.no_node(name)) };
        let input = input(node);
        // One that is parked stands so once it is awake.
        if !self.stands_when_awake(name, matches!(input, Input::Uncordon(_))) {
            self.handle(input);
        }
        if let Some(order) = order {
            self.order(node, order);
        }
        Answer::Done
    }

    pub(super) fn no_node(&self, name: &NodeId) -> Failure {
        let known: Vec<String> = self.nodes.keys().map(ToString::to_string).collect();
        let text = format!("no node is called {name}; there are {}", known.join(", "));
        Failure::new(FailureCode::NotFound, text)
    }

    fn pin(&mut self, model: dunlin_protocol::ModelDigest, node: Option<NodeId>, pinned: bool) -> Answer {
        let holds = |name: &NodeId| {
            let of = self.nodes.get(name);
            of.is_some_and(|of| of.inventory.models.iter().any(|stored| stored.digest == model))
        };
        let names: Vec<NodeId> = match node {
            Some(node) => vec![node],
            None => self.nodes.keys().filter(|name| holds(name)).cloned().collect(),
        };
        if names.is_empty() {
            return Answer::Failed(Failure::new(
                FailureCode::NotFound,
                format!("no node has the model {model}"),
            ));
        }
        for name in names {
            if let Some(node) = self.names.known(&name) {
                self.order(node, Order::Pin { model, pinned });
            }
        }
        Answer::Done
    }

    pub(super) fn summary(&self) -> FleetSummary {
        let load = self.core.load();
        FleetSummary {
            fleet: self.fleet.clone(),
            build: self.build.clone(),
            nodes: self.nodes.len() as u32,
            connected: self.nodes.values().filter(|node| node.is_connected).count() as u32,
            running: load.invocations.saturating_sub(load.queued) as u32,
            queued: load.queued as u32,
        }
    }

    /// Aliases of the catalog, and models of nodes that go by their own names.
    pub(super) fn models(&self) -> Vec<ModelSummary> {
        let mut models: Vec<ModelSummary> = Vec::new();
        for alias in &self.catalog.aliases {
            let variants = alias.variants.iter().map(|variant| {
                let catalog::Variant { digest, name, bytes, quality } = variant.clone();
                self.variant(Variant { model: digest, name, bytes, quality })
            });
            models.push(ModelSummary { alias: alias.name.clone(), variants: variants.collect() });
        }
        for stored in self.inventories().flat_map(|inventory| &inventory.models) {
            let variant = || {
                self.variant(Variant {
                    model: stored.digest,
                    name: stored.quantization.clone(),
                    bytes: stored.bytes,
                    quality: None,
                })
            };
            match models.iter_mut().find(|model| model.alias == stored.name) {
                Some(model) if model.variants.iter().any(|known| known.variant.model == stored.digest) => {}
                Some(model) => model.variants.push(variant()),
                None => {
                    let alias = stored.name.clone();
                    models.push(ModelSummary { alias, variants: vec![variant()] });
                }
            }
        }
        models.sort_by(|a, b| a.alias.cmp(&b.alias));
        models
    }

    fn variant(&self, variant: Variant) -> VariantSummary {
        let nodes = self.nodes.values().filter(|node| node.is_connected);
        let (mut stored, mut resident) = (0, 0);
        for node in nodes {
            let inventory = &node.inventory;
            stored += u32::from(inventory.models.iter().any(|model| model.digest == variant.model));
            resident +=
                u32::from(
                    inventory.state.residents.iter().any(|resident| {
                        resident.model == variant.model && resident.state == Residency::Ready
                    }),
                );
        }
        VariantSummary { variant, stored, resident }
    }

    fn explain(&self, invocation: InvocationId, tenant: Option<&str>) -> Option<Explanation> {
        let record = self.records.get(&invocation)?;
        if tenant.is_some_and(|tenant| tenant != record.tenant) {
            return None;
        }
        let now = unix_millis();
        let mut decisions: Vec<dunlin_protocol::Decision> = record
            .decisions
            .iter()
            .map(|(decision, at)| {
                let actual = record.ended.get(&decision.attempt.number).map(|(ended, _)| ended.usage.clone());
                let recomputed = decision.recomputed();
                let same = recomputed.chosen().map(|chosen| (chosen.node, chosen.model()))
                    == decision.chosen().map(|chosen| (chosen.node, chosen.model()));
                self.decision(
                    decision,
                    now.saturating_sub(at.elapsed().as_millis() as u64),
                    actual,
                    Some(same),
                )
            })
            .collect();
        // One that waits: what would be decided now.
        if let Some(decision) = self.core.consider(convert::invocation(invocation)) {
            let mut waiting = self.decision(&decision, now, None, None);
            waiting.attempt = None;
            decisions.push(waiting);
        }
        // The last ones, where there are more than a message has room for.
        decisions.drain(..decisions.len().saturating_sub(MAX_DECISIONS));
        let state = match self.core.invocation(convert::invocation(invocation)).map(|view| view.stage) {
            Some(Stage::Queued) => "queued",
            Some(Stage::Backoff) => "waiting to be tried again",
            Some(Stage::Placed { .. }) => "placed",
            Some(Stage::Running { .. }) => "running",
            None => "ended",
        };
        let objective = record.decisions.first().map(|(decision, _)| decision.manner.objective);
        Some(Explanation {
            invocation,
            pipeline: record.submit.pipeline.clone(),
            policy: record.policy.clone(),
            objective: objective.map(|objective| format!("{objective:?}").to_lowercase()).unwrap_or_default(),
            state: state.to_owned(),
            decisions,
        })
    }

    fn decision(
        &self,
        decision: &Decision,
        unix_millis: u64,
        actual: Option<dunlin_protocol::Usage>,
        recomputed: Option<bool>,
    ) -> dunlin_protocol::Decision {
        let candidates = decision.candidates.iter().filter_map(|candidate| {
            let node = self.names.name(candidate.node)?.clone();
            Some(Candidate {
                node,
                point: convert::point_of(&candidate.point()),
                model: Some(convert::digest_of(candidate.model())),
                variant: format!("{} {}", candidate.row.name, candidate.row.key.quantisation),
                emulated: candidate.prediction.flags.emulated,
                chosen: candidate.verdict == Verdict::Chosen,
                predicted: Some(convert::predicted(&candidate.prediction)),
                origin: candidate.row.provenance.basis(),
                verdict: convert::verdict(candidate.verdict).to_owned(),
            })
        });
        let others = VERDICTS.iter().filter_map(|&verdict| {
            let count = decision.rest.of(verdict);
            (count > 0).then(|| Counted { verdict: convert::verdict(verdict).to_owned(), count })
        });
        dunlin_protocol::Decision {
            attempt: Some(decision.attempt.number),
            unix_millis,
            candidates: candidates.collect(),
            others: others.collect(),
            actual,
            recomputed,
        }
    }
}

fn unknown(invocation: InvocationId) -> Failure {
    let text = format!("no invocation {invocation} is known; they are kept for ten minutes after their end");
    Failure::new(FailureCode::NotFound, text)
}
