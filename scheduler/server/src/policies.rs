//! The policies of a fleet: those that come with Dunlin, those of files and of the catalog, by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dunlin_costs::DocumentError;
use dunlin_scheduler_core::{Circumstances, Policy, Targets, Terms, TimeOfDay};
use thiserror::Error;

/// What comes with Dunlin; `examples/policies` says what each is for.
const BUILTIN: [(&str, &str); 5] = [
    ("balanced", include_str!("../../../examples/policies/balanced.toml")),
    ("battery", include_str!("../../../examples/policies/battery.toml")),
    ("energy-first", include_str!("../../../examples/policies/energy-first.toml")),
    ("interactive", include_str!("../../../examples/policies/interactive.toml")),
    ("latency-first", include_str!("../../../examples/policies/latency-first.toml")),
];

/// In force where nobody chose another.
const DEFAULT: &str = "latency-first";

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    #[error("no policy is called {name:?}; there are {}", known.join(", "))]
    Unknown { name: String, known: Vec<String> },
    #[error("policy {name}: {error}")]
    Document { name: String, error: DocumentError },
}

/// What a policy says, and the text that says it.
type Kept = (Arc<Policy>, Arc<str>);

/// All policies that requests may name, and the one for those that name none.
#[derive(Debug, Clone)]
pub struct Policies {
    named: BTreeMap<String, Kept>,
    default: String,
}

/// What a policy is asked about.
#[derive(Debug)]
pub struct Asked<'a> {
    pub policy: Option<&'a str>,
    pub pipeline: &'a str,
    pub model: &'a str,
    pub tenant: &'a str,
    /// The lowest charge of a node that runs on battery, in percent.
    pub battery_pct: Option<u8>,
    /// Those of the request itself: they stand in the place of the policy's.
    pub targets: Targets,
    /// Of the request.
    pub labels: BTreeMap<String, String>,
}

impl Policies {
    /// Those that come with Dunlin.
    ///
    /// # Errors
    /// Never, as a test sees to.
    pub fn builtin() -> Result<Self, PolicyError> {
        let mut policies = Self { named: BTreeMap::new(), default: DEFAULT.to_owned() };
        for (name, text) in BUILTIN {
            policies.add(name, text)?;
        }
        Ok(policies)
    }

    /// Adds a policy, or replaces the one of this name.
    ///
    /// # Errors
    /// With line and column; what was in force stays.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), PolicyError> {
        let policy =
            Policy::parse(text).map_err(|error| PolicyError::Document { name: name.to_owned(), error })?;
        self.named.insert(name.to_owned(), (Arc::new(policy), Arc::from(text)));
        Ok(())
    }

    /// From now on requests that name no policy come under this one.
    ///
    /// # Errors
    /// If there is none.
    pub fn set_default(&mut self, name: &str) -> Result<(), PolicyError> {
        let (name, _) = self.find(name)?;
        self.default = name.to_owned();
        Ok(())
    }

    /// Of requests that name no policy and match no route.
    pub(crate) fn default_terms(&self) -> &Terms {
        // The default is one of them, as whoever sets it sees to.
        static NONE: std::sync::LazyLock<Terms> = std::sync::LazyLock::new(Terms::default);
        self.named.get(&self.default).map_or(&NONE, |(policy, _)| policy.default_terms())
    }

    pub fn default_name(&self) -> &str {
        &self.default
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// Its text.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn text(&self, name: &str) -> Result<&str, PolicyError> {
        self.find(name).map(|(_, (_, text))| &**text)
    }

    /// What the routes of a policy name and the fleet does not have: such routes match nothing, until it has it.
    ///
    /// # Errors
    /// If there is no policy of this name.
    pub fn unknown(
        &self,
        name: &str,
        models: &BTreeSet<&str>,
        pipelines: &BTreeSet<&str>,
    ) -> Result<Vec<DocumentError>, PolicyError> {
        let (_, (policy, _)) = self.find(name)?;
        let mut unknown = policy.unknown_models(models);
        unknown.extend(policy.unknown_pipelines(pipelines));
        Ok(unknown)
    }

    /// By its name, or by the beginning of it that no other has: `energy` for `energy-first`.
    fn find(&self, name: &str) -> Result<(&str, &Kept), PolicyError> {
        if let Some((name, policy)) = self.named.get_key_value(name) {
            return Ok((name, policy));
        }
        let mut longer = self.named.iter().filter(|(known, _)| known.starts_with(name) && !name.is_empty());
        match (longer.next(), longer.next()) {
            (Some((name, policy)), None) => Ok((name, policy)),
            _ => {
                let known = self.named.keys().cloned().collect();
                Err(PolicyError::Unknown { name: name.to_owned(), known })
            }
        }
    }

    /// What holds for a request, and what it is called: the policy, and its route where one matched.
    ///
    /// # Errors
    /// If the request names a policy that there is not.
    pub fn terms(&self, asked: &Asked<'_>) -> Result<(String, Terms), PolicyError> {
        let (name, (policy, _)) = self.find(asked.policy.unwrap_or(&self.default))?;
        let circumstances = Circumstances {
            pipeline: asked.pipeline,
            model: asked.model,
            tenant: asked.tenant,
            labels: &asked.labels,
            time_of_day: now(),
            battery_pct: asked.battery_pct,
        };
        let (terms, route) = policy.terms(&circumstances);
        let mut terms = terms.clone();
        let own = &asked.targets;
        let targets = &mut terms.targets;
        targets.ttft = own.ttft.or(targets.ttft);
        targets.tpot = own.tpot.or(targets.tpot);
        targets.deadline = own.deadline.or(targets.deadline);
        targets.joules_per_token = own.joules_per_token.or(targets.joules_per_token);
        targets.min_quality = own.min_quality.or(targets.min_quality);
        let name = route.map_or_else(|| name.to_owned(), |route| format!("{name}/{route}"));
        Ok((name, terms))
    }
}

/// Of this machine's time zone.
fn now() -> TimeOfDay {
    let now = jiff::Zoned::now();
    let (hour, minute) = (now.hour().unsigned_abs(), now.minute().unsigned_abs());
    TimeOfDay::new(hour.into(), minute.into()).unwrap_or(TimeOfDay::MIDNIGHT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dunlin_scheduler_core::Objective;

    use super::*;

    fn asked(policy: Option<&str>) -> Asked<'_> {
        Asked {
            policy,
            pipeline: "chat",
            model: "demo",
            tenant: "lab",
            battery_pct: None,
            targets: Targets::default(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn policies_are_found_by_name_and_by_its_beginning() {
        let mut policies = Policies::builtin().unwrap();
        let (name, terms) = policies.terms(&asked(None)).unwrap();
        assert_eq!((name.as_str(), terms.objective), ("latency-first", Objective::Latency));
        let (name, terms) = policies.terms(&asked(Some("energy"))).unwrap();
        assert_eq!((name.as_str(), terms.objective), ("energy-first", Objective::Energy));
        // Two begin with it.
        let error = policies.terms(&asked(Some("b"))).unwrap_err();
        assert!(
            error.to_string().starts_with("no policy is called \"b\"; there are balanced, battery"),
            "{error}"
        );
        policies.set_default("energy").unwrap();
        assert_eq!(policies.default_name(), "energy-first");
    }

    #[test]
    fn what_a_request_asks_stands_before_the_policy() {
        let policies = Policies::builtin().unwrap();
        let targets = Targets { tpot: Some(Duration::from_millis(50)), ..Targets::default() };
        let (_, terms) = policies.terms(&Asked { targets, ..asked(Some("interactive")) }).unwrap();
        assert_eq!(terms.targets.tpot, Some(Duration::from_millis(50)));
        let (_, terms) = policies.terms(&asked(Some("interactive"))).unwrap();
        assert_eq!(terms.targets.tpot, Some(Duration::from_millis(188)));
    }

    #[test]
    fn routes_look_at_the_labels_of_a_request() {
        let mut policies = Policies::builtin().unwrap();
        let text = "objective = \"energy\"\n[[route]]\nname = \"urgent\"\nobjective = \"latency\"\nmatch = { labels = { urgent = \"yes\" } }\n";
        policies.add("lab", text).unwrap();
        let with = |labels: &[(&str, &str)]| {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            policies.terms(&Asked { labels, ..asked(Some("lab")) }).unwrap()
        };
        let (name, terms) = with(&[("urgent", "yes"), ("room", "attic")]);
        assert_eq!((name.as_str(), terms.objective), ("lab/urgent", Objective::Latency));
        let (name, terms) = with(&[("urgent", "no")]);
        assert_eq!((name.as_str(), terms.objective), ("lab", Objective::Energy));
    }

    #[test]
    fn a_broken_policy_leaves_the_old_one_in_force() {
        let mut policies = Policies::builtin().unwrap();
        let error = policies.add("balanced", "objective = \"speed\"").unwrap_err();
        assert!(error.to_string().starts_with("policy balanced: "), "{error}");
        assert!(policies.text("balanced").unwrap().contains("balanced"));
    }
}
