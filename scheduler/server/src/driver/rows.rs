//! The cost rows of the fleet: measured ones from nodes and files, those of embedded classes, and guesses for the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dunlin_costs::{
    Class, DocumentError, Mode, ModelDigest, ModelFacts, NodeClass, Quantisation, Row, RowKey, RowParts,
    Table,
};
use dunlin_protocol::{Inventory, StoredModel};

/// Class, firmware, engine build, mode, threads of both phases, and model.
type Kind = (String, String, String, String, u16, u16, [u8; 32]);

/// What the core is given.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Measured and imported.
    table: Table,
    guessed: Table,
    /// Kinds of nodes and models that were looked at.
    seen: BTreeSet<Kind>,
    classes: BTreeMap<String, Option<Arc<Class>>>,
}

impl Rows {
    /// Rows in TOML; true if that changes anything.
    ///
    /// # Errors
    /// With line and column.
    pub(crate) fn add(&mut self, toml: &str) -> Result<bool, DocumentError> {
        let table = Table::parse(toml)?;
        let before = self.table.clone();
        self.table.merge(table);
        Ok(self.table != before)
    }

    /// Sees that there is a row for each model of a node; true if new ones were needed.
    pub(crate) fn learn(&mut self, node: &Inventory) -> bool {
        let mut changed = false;
        for model in &node.models {
            let (prefill, decode) = threads(node);
            let kind = (
                node.class.clone(),
                node.firmware.clone(),
                node.engine_build.clone(),
                node.state.health.mode.clone(),
                prefill,
                decode,
                model.digest.0,
            );
            if self.seen.insert(kind) {
                changed |= self.guess(node, model);
            }
        }
        changed
    }

    pub(crate) fn all(&self) -> Vec<Arc<Row>> {
        let mut table = self.guessed.clone();
        table.merge(self.table.clone());
        table.rows().cloned().map(Arc::new).collect()
    }

    /// The load point that rows of a model are of on a class.
    pub(crate) fn load_point(
        &self,
        class: &NodeClass,
        model: ModelDigest,
    ) -> Option<dunlin_scheduler_core::LoadPoint> {
        let row = self.table.of(class, model).chain(self.guessed.of(class, model)).next()?;
        Some(dunlin_scheduler_core::LoadPoint::of(&row.key))
    }

    /// Rows of the node's class under the node's own names; of a class that is not known, those of any computer.
    fn guess(&mut self, node: &Inventory, model: &StoredModel) -> bool {
        let Some(class) = self.class(&node.class) else { return false };
        let digest = ModelDigest::new(model.digest.0);
        let facts = ModelFacts {
            name: model.name.clone(),
            digest,
            quantisation: Quantisation::new(&model.quantization),
            file_bytes: model.bytes,
            kv_bytes_per_token: model.kv_bytes_per_token,
        };
        let published: Vec<Row> = class.rows(digest).cloned().collect();
        let rows = match (&class.prior, published.is_empty()) {
            (_, false) => published,
            (Some(prior), true) => prior.rows(&facts),
            (None, true) => Vec::new(),
        };
        let mode = &node.state.health.mode;
        let is_of_class = class.name.as_str() == node.class;
        let own = rows.into_iter().filter_map(|row| of_node(row, node, is_of_class.then_some(mode.as_str())));
        let before = self.guessed.len();
        self.guessed.extend(own);
        self.guessed.len() > before
    }

    fn class(&mut self, name: &str) -> Option<Arc<Class>> {
        let find = |name: &str| Class::find(name).ok().map(Arc::new);
        self.classes.entry(name.to_owned()).or_insert_with(|| find(name).or_else(|| find("generic"))).clone()
    }
}

/// The row as this node would have it: its class, its software, its mode and threads. Rows of other modes of its class are
/// left as they are.
fn of_node(row: Row, node: &Inventory, mode: Option<&str>) -> Option<Row> {
    let mut parts = RowParts::from(row);
    let (prefill, decode) = threads(node);
    let key = &parts.key;
    let own_mode = mode.is_none_or(|mode| mode == key.mode.as_str());
    parts.key = RowKey {
        class: NodeClass::new(&node.class),
        firmware: node.firmware.clone(),
        runtime: node.engine_build.clone(),
        mode: if mode.is_none() { Mode::new(&node.state.health.mode) } else { key.mode.clone() },
        prefill_threads: if own_mode && prefill > 0 { prefill } else { key.prefill_threads },
        decode_threads: if own_mode && decode > 0 { decode } else { key.decode_threads },
        ..key.clone()
    };
    Row::try_from(parts).ok()
}

fn threads(node: &Inventory) -> (u16, u16) {
    node.points.first().map_or((0, 0), |point| (point.prefill_threads, point.decode_threads))
}
