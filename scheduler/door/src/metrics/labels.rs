//! Values of labels: the first of each are told apart, since each combination of them is kept for good.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

const MAX_MODELS: usize = 64;
const MAX_PIPELINES: usize = 64;
const MAX_CLASSES: usize = 32;
const MAX_POLICIES: usize = 32;

/// What comes after.
const OTHER: &str = "other";

#[derive(Debug, Default)]
pub(super) struct Labels {
    models: Values,
    pipelines: Values,
    classes: Values,
    policies: Values,
}

#[derive(Debug, Default)]
struct Values(Mutex<BTreeSet<String>>);

impl Labels {
    pub(super) fn model(&self, value: &str) -> String {
        self.models.bounded(value, MAX_MODELS)
    }

    pub(super) fn pipeline(&self, value: &str) -> String {
        self.pipelines.bounded(value, MAX_PIPELINES)
    }

    pub(super) fn class(&self, value: &str) -> String {
        self.classes.bounded(value, MAX_CLASSES)
    }

    /// With its route, if it had one.
    pub(super) fn policy(&self, value: &str) -> String {
        self.policies.bounded(value, MAX_POLICIES)
    }
}

impl Values {
    fn bounded(&self, value: &str, most: usize) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(value) {
            if known.len() >= most {
                return OTHER.to_owned();
            }
            known.insert(value.to_owned());
        }
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_not_told_apart() {
        let values = Values::default();
        assert_eq!(["a", "b", "c", "a"].map(|value| values.bounded(value, 2)), ["a", "b", "other", "a"]);
    }
}
