//! A policy: how the places of requests are chosen, by what they are and when they come.
//!
//! It is TOML, parsed into checked types once. [`Policy::terms`] is what the core needs of it; the time of day and the
//! state of batteries are arguments.

mod condition;
mod file;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use dunlin_costs::{DocumentError, document};

use crate::Terms;
pub use condition::{Condition, Hours, Pattern};
pub use value::TimeOfDay;

/// Bytes of a policy.
pub const MAX_POLICY_BYTES: usize = 64 << 10;

/// Routes of a policy.
pub const MAX_ROUTES: usize = 256;

/// The rules of a fleet, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    terms: Terms,
    routes: Vec<Route>,
    shares: BTreeMap<String, u32>,
}

/// Other terms for some requests. The first route that matches decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// For people; unique in a policy.
    pub name: String,
    pub condition: Condition,
    /// Those of the policy, with what the route says in their place.
    pub terms: Terms,
}

/// What routes look at.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub pipeline: &'a str,
    /// The alias of the model.
    pub model: &'a str,
    pub tenant: &'a str,
    /// Of the request.
    pub labels: &'a BTreeMap<String, String>,
    /// Where the fleet is.
    pub time_of_day: TimeOfDay,
    /// The lowest charge of a node that runs on battery, in percent; `None` if none does.
    pub battery_pct: Option<u8>,
}

impl Policy {
    /// # Errors
    /// [`DocumentError`], with line, column, and what was expected; unknown keys with the nearest known one.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        document::read::<file::PolicyFile>(text, MAX_POLICY_BYTES)?.build(text)
    }

    /// For a request, and the name of the route that says so; `None` if those are the terms of the policy itself.
    pub fn terms(&self, circumstances: &Circumstances<'_>) -> (&Terms, Option<&str>) {
        match self.routes.iter().find(|route| route.condition.holds(circumstances)) {
            Some(route) => (&route.terms, Some(&route.name)),
            None => (&self.terms, None),
        }
    }

    /// Of requests that no route matches.
    pub const fn default_terms(&self) -> &Terms {
        &self.terms
    }

    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Parts of the fleet when it is short, by tenant; those that are not named have one.
    pub const fn shares(&self) -> &BTreeMap<String, u32> {
        &self.shares
    }

    /// Names of models in routes that the fleet does not have, each with its place. They match nothing.
    pub fn unknown_models(&self, known: &BTreeSet<&str>) -> Vec<DocumentError> {
        let patterns = self.routes.iter().flat_map(|route| &route.condition.models);
        unknown(patterns, "model", known)
    }

    /// As [`Self::unknown_models`], of pipelines.
    pub fn unknown_pipelines(&self, known: &BTreeSet<&str>) -> Vec<DocumentError> {
        let patterns = self.routes.iter().flat_map(|route| &route.condition.pipelines);
        unknown(patterns, "pipeline", known)
    }
}

fn unknown<'a>(
    patterns: impl Iterator<Item = &'a Pattern>,
    what: &str,
    known: &BTreeSet<&str>,
) -> Vec<DocumentError> {
    let names: Vec<&str> = known.iter().copied().collect();
    let missing = patterns.filter(|pattern| !known.iter().any(|name| pattern.matches(name)));
    let error = |pattern: &Pattern| {
        let problem = document::unknown(what, pattern.as_str(), &names);
        DocumentError { problem, line: pattern.line, column: pattern.column }
    };
    missing.map(error).collect()
}

#[cfg(test)]
mod tests;
