//! Which engines hold which beginnings of prompts.

use std::collections::BTreeMap;

use super::{Engine, Slot};
use crate::ModelIndex;

/// Nodes remembered for one prefix.
pub const MAX_HOLDERS: usize = 4;

/// Prefixes remembered in all.
pub const MAX_HELD: usize = 131_072;

#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    holders: BTreeMap<(ModelIndex, u64), Vec<Slot>>,
}

impl Prefixes {
    pub(crate) fn holders(&self, model: ModelIndex, hash: u64) -> &[Slot] {
        self.holders.get(&(model, hash)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn hold(&mut self, slot: Slot, engine: &mut Engine, hash: u64) {
        let model = engine.model;
        if let Some(gone) = engine.hold_prefix(hash) {
            self.drop(model, gone, slot);
        }
        if self.holders.len() >= MAX_HELD && !self.holders.contains_key(&(model, hash)) {
            return;
        }
        let holders = self.holders.entry((model, hash)).or_default();
        holders.retain(|&holder| holder != slot);
        if holders.len() >= MAX_HOLDERS {
            holders.remove(0);
        }
        holders.push(slot);
    }

    pub(crate) fn drop(&mut self, model: ModelIndex, hash: u64, slot: Slot) {
        if let Some(holders) = self.holders.get_mut(&(model, hash)) {
            holders.retain(|&holder| holder != slot);
            if holders.is_empty() {
                self.holders.remove(&(model, hash));
            }
        }
    }

    /// What the node says, in the place of what was guessed.
    pub(crate) fn replace(&mut self, slot: Slot, engine: Option<&mut Engine>, hashes: &[u64]) {
        let Some(engine) = engine else { return };
        let model = engine.model;
        engine.take_prefixes().into_iter().for_each(|hash| self.drop(model, hash, slot));
        let latest = hashes.len().saturating_sub(super::MAX_PREFIXES_PER_ENGINE);
        hashes[latest..].iter().for_each(|&hash| self.hold(slot, engine, hash));
    }
}
