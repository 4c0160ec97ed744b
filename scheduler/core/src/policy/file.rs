//! A policy as it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_costs::DocumentError;
use serde::Deserialize;
use toml::Spanned;

use super::{
    Condition, Hours, MAX_ROUTES, Pattern, Policy, Route,
    value::{JoulesPerToken, OneOrMany, Percent, QualityShare, Share, Target},
};
use crate::{NodeFilter, Objective, Targets, Terms, WhenNothingFits};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    /// For people.
    #[serde(rename = "description")]
    _description: Option<String>,
    objective: Option<Objective>,
    when_nothing_fits: Option<WhenNothingFits>,
    #[serde(default)]
    targets: TargetsFile,
    #[serde(default)]
    nodes: NodesFile,
    #[serde(default)]
    shares: BTreeMap<String, Share>,
    #[serde(default)]
    route: Vec<Spanned<RouteFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    name: Spanned<String>,
    #[serde(rename = "match", default)]
    condition: ConditionFile,
    objective: Option<Objective>,
    when_nothing_fits: Option<WhenNothingFits>,
    #[serde(default)]
    targets: TargetsFile,
    #[serde(default)]
    nodes: NodesFile,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TargetsFile {
    ttft_ms: Option<Target<Duration>>,
    tpot_ms: Option<Target<Duration>>,
    deadline_ms: Option<Target<Duration>>,
    joules_per_token: Option<Target<JoulesPerToken>>,
    min_quality: Option<Target<QualityShare>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NodesFile {
    labels: Option<BTreeMap<String, String>>,
    min_battery_pct: Option<Percent>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConditionFile {
    pipeline: Option<Spanned<OneOrMany<String>>>,
    model: Option<Spanned<OneOrMany<String>>>,
    tenant: Option<Spanned<OneOrMany<String>>>,
    hours: Option<Spanned<OneOrMany<Hours>>>,
    battery_below_pct: Option<Percent>,
    labels: BTreeMap<String, String>,
}

impl PolicyFile {
    pub(super) fn build(self, text: &str) -> Result<Policy, DocumentError> {
        if let Some(excess) = self.route.get(MAX_ROUTES) {
            let problem = format!("a policy has at most {MAX_ROUTES} routes");
            return Err(DocumentError::at(text, excess.span().start, problem));
        }
        let terms =
            overlaid(&Terms::default(), self.objective, self.when_nothing_fits, &self.targets, self.nodes);
        let mut routes = Vec::with_capacity(self.route.len());
        let mut names = BTreeSet::new();
        let mut all: Option<String> = None;
        for route in self.route {
            let at = route.span().start;
            let route = route.into_inner();
            if let Some(all) = &all {
                let problem = format!("no request comes here: the route {all:?} above matches all of them");
                return Err(DocumentError::at(text, at, problem));
            }
            if !names.insert(route.name.get_ref().clone()) {
                let problem = format!("there is a route {:?} already", route.name.get_ref());
                return Err(DocumentError::at(text, route.name.span().start, problem));
            }
            let route = route.build(&terms, text)?;
            all = route.condition.is_empty().then(|| route.name.clone());
            routes.push(route);
        }
        let shares = self.shares.into_iter().map(|(tenant, share)| (tenant, share.0)).collect();
        Ok(Policy { terms, routes, shares })
    }
}

impl RouteFile {
    fn build(self, terms: &Terms, text: &str) -> Result<Route, DocumentError> {
        let terms = overlaid(terms, self.objective, self.when_nothing_fits, &self.targets, self.nodes);
        Ok(Route { name: self.name.into_inner(), condition: self.condition.build(text)?, terms })
    }
}

impl ConditionFile {
    fn build(self, text: &str) -> Result<Condition, DocumentError> {
        let patterns = |listed| {
            let listed = OneOrMany::flatten(listed).into_iter();
            listed.map(|(name, at)| pattern(name, at, text)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Condition {
            pipelines: patterns(self.pipeline)?,
            models: patterns(self.model)?,
            tenants: patterns(self.tenant)?,
            hours: OneOrMany::flatten(self.hours).into_iter().map(|(hours, _)| hours).collect(),
            battery_below_pct: self.battery_below_pct.map(|percent| percent.0),
            labels: self.labels,
        })
    }
}

fn pattern(name: String, at: usize, text: &str) -> Result<Pattern, DocumentError> {
    let beginning = name.strip_suffix('*').unwrap_or(&name);
    if name.is_empty() || beginning.contains('*') {
        let problem = format!("{name:?} is no name, nor the beginning of names and a `*`");
        return Err(DocumentError::at(text, at, problem));
    }
    let place = DocumentError::at(text, at, "");
    Ok(Pattern::new(name, place.line, place.column))
}

fn overlaid(
    below: &Terms,
    objective: Option<Objective>,
    when_nothing_fits: Option<WhenNothingFits>,
    targets: &TargetsFile,
    nodes: NodesFile,
) -> Terms {
    let nodes = NodeFilter {
        labels: nodes.labels.unwrap_or_else(|| below.nodes.labels.clone()),
        min_battery_pct: nodes.min_battery_pct.map(|percent| percent.0).or(below.nodes.min_battery_pct),
    };
    Terms {
        objective: objective.unwrap_or(below.objective),
        when_nothing_fits: when_nothing_fits.unwrap_or(below.when_nothing_fits),
        targets: targets.over(&below.targets),
        nodes,
    }
}

impl TargetsFile {
    fn over(&self, below: &Targets) -> Targets {
        fn given<T: Copy>(target: Option<Target<T>>, below: Option<T>) -> Option<T> {
            target.map_or(below, Target::value)
        }
        let joules = below.joules_per_token.map(JoulesPerToken);
        let quality = below.min_quality.map(QualityShare);
        Targets {
            ttft: given(self.ttft_ms, below.ttft),
            tpot: given(self.tpot_ms, below.tpot),
            deadline: given(self.deadline_ms, below.deadline),
            joules_per_token: given(self.joules_per_token, joules).map(|joules| joules.0),
            min_quality: given(self.min_quality, quality).map(|quality| quality.0),
        }
    }
}
