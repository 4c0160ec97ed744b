//! What makes rows alike: the kind of machine, the model and the mode.

use std::collections::BTreeMap;

use dunlin_costs::{Mode, ModelDigest, Row};
use dunlin_protocol::Inventory;

/// Class, firmware, engine build: rows of one are of machines alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Software(pub(super) String, pub(super) String, pub(super) String);

impl Software {
    pub(super) fn of_node(node: &Inventory) -> Self {
        Self(node.class.clone(), node.firmware.clone(), node.engine_build.clone())
    }

    pub(super) fn of_row(row: &Row) -> Self {
        let key = &row.key;
        Self(key.class.to_string(), key.firmware.clone(), key.runtime.clone())
    }
}

/// What only one kind of row is needed of: software, model, mode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site(pub(super) Software, pub(super) ModelDigest, pub(super) Mode);

impl Site {
    pub(super) fn of(row: &Row) -> Self {
        Self(Software::of_row(row), row.key.model, row.key.mode.clone())
    }
}

/// Rows that are used, by software, model and mode.
#[derive(Debug)]
pub(crate) struct BySite<'a>(BTreeMap<Site, Vec<&'a Row>>);

impl<'a> BySite<'a> {
    pub(super) fn new(rows: impl Iterator<Item = &'a Row>) -> Self {
        let mut sites: BTreeMap<Site, Vec<&Row>> = BTreeMap::new();
        rows.for_each(|row| sites.entry(Site::of(row)).or_default().push(row));
        Self(sites)
    }

    /// Those that a model has on a node in a mode.
    pub(crate) fn of(&self, node: &Inventory, model: ModelDigest, mode: &str) -> &[&'a Row] {
        let site = Site(Software::of_node(node), model, Mode::new(mode));
        self.0.get(&site).map_or(&[], Vec::as_slice)
    }
}
