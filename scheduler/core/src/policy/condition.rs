//! Which requests a route is for.

use std::collections::BTreeMap;

use super::{Circumstances, TimeOfDay};

/// All that is given has to hold; an empty list, or `None`, is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    pub pipelines: Vec<Pattern>,
    pub models: Vec<Pattern>,
    pub tenants: Vec<Pattern>,
    pub hours: Vec<Hours>,
    /// Some node on battery has less than this.
    pub battery_below_pct: Option<u8>,
    /// Of the request, by value.
    pub labels: BTreeMap<String, String>,
}

/// A name, or the beginning of names and `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// Where the policy says so.
    pub line: usize,
    pub column: usize,
}

/// From a time of day to another, which may be tomorrow's. The end is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    pub from: TimeOfDay,
    pub to: TimeOfDay,
}

impl Condition {
    pub fn holds(&self, on: &Circumstances<'_>) -> bool {
        let any = |patterns: &[Pattern], name: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
        };
        any(&self.pipelines, on.pipeline)
            && any(&self.models, on.model)
            && any(&self.tenants, on.tenant)
            && (self.hours.is_empty() || self.hours.iter().any(|hours| hours.contain(on.time_of_day)))
            && self.battery_below_pct.is_none_or(|limit| on.battery_pct.is_some_and(|charge| charge < limit))
            && self.labels.iter().all(|(name, value)| on.labels.get(name) == Some(value))
    }

    /// Whether there is nothing that a request could fail.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Pattern {
    pub(crate) fn new(text: String, line: usize, column: usize) -> Self {
        Self { text, line, column }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, name: &str) -> bool {
        match self.text.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.text == name,
        }
    }
}

impl Hours {
    pub fn contain(&self, time: TimeOfDay) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        }
    }
}
