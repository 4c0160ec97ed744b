//! Which models an alias stands for.

use std::{collections::BTreeMap, sync::Arc};

use dunlin_costs::ModelDigest;
use serde::{Deserialize, Serialize};

/// Variants of one alias that count.
pub const MAX_VARIANTS: usize = 16;

/// Models of a fleet: of more, those of the last aliases are unknown.
pub const MAX_MODELS: usize = 1024;

/// A name of a model, as requests use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    pub name: Arc<str>,
    pub variants: Vec<Variant>,
    /// On so many nodes one of its variants, the first that fits, is kept resident.
    #[serde(default)]
    pub resident_on: u32,
}

/// One model of an alias: a size, a quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    pub model: ModelDigest,
    /// Of the file: `degrade` goes to smaller ones.
    pub bytes: u64,
    /// As [`Targets::min_quality`](crate::Targets::min_quality) counts it, where the cost row does not say.
    pub quality: Option<f64>,
}

/// A model's place in the core's tables. Digests keep theirs for as long as the scheduler lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct ModelIndex(u16);

impl ModelIndex {
    pub(crate) const fn slot(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    aliases: BTreeMap<Arc<str>, Alias>,
    models: Vec<ModelDigest>,
    index: BTreeMap<ModelDigest, ModelIndex>,
}

impl Catalog {
    pub(crate) fn replace(&mut self, aliases: Vec<Alias>) {
        self.aliases.clear();
        for mut alias in aliases {
            alias.variants.truncate(MAX_VARIANTS);
            for variant in &alias.variants {
                self.learn(variant.model);
            }
            self.aliases.insert(alias.name.clone(), alias);
        }
    }

    fn learn(&mut self, model: ModelDigest) {
        if self.models.len() < MAX_MODELS && !self.index.contains_key(&model) {
            self.index.insert(model, ModelIndex(self.models.len() as u16));
            self.models.push(model);
        }
    }

    pub(crate) fn alias(&self, name: &str) -> Option<&Alias> {
        self.aliases.get(name)
    }

    pub(crate) fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.aliases.values()
    }

    pub(crate) fn index(&self, model: &ModelDigest) -> Option<ModelIndex> {
        self.index.get(model).copied()
    }

    pub(crate) fn digest(&self, model: ModelIndex) -> ModelDigest {
        self.models[model.slot()]
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = (ModelIndex, ModelDigest)> {
        self.models.iter().enumerate().map(|(slot, &digest)| (ModelIndex(slot as u16), digest))
    }
}
