//! The cost rows of the fleet: measured ones from nodes and files, those of embedded classes, and guesses for the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dunlin_costs::{
    Class, DocumentError, Mode, ModelDigest, ModelFacts, NodeClass, Origin, Quantisation, Row, RowKey,
    RowParts, Table,
};
use dunlin_protocol::{Inventory, StoredModel};
use thiserror::Error;

/// Class, firmware, engine build, mode, threads of both phases, and model.
type Kind = (String, String, String, String, u16, u16, [u8; 32]);

/// Rows that nodes tell, of all of them together.
const MAX_ROWS: usize = 32_768;

/// Why rows of a node are not taken.
#[derive(Debug, Error)]
pub(crate) enum RowsError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("{0} of them are of another class, machine or build than the node, or were not measured")]
    Foreign(usize),
    #[error("the node is emulated: it has measured nothing")]
    Emulated,
    #[error("the scheduler keeps {MAX_ROWS} rows, and takes no more")]
    Full,
}

/// Class, firmware, engine build: rows of one are of machines alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Software(String, String, String);

impl Software {
    fn of_node(node: &Inventory) -> Self {
        Self(node.class.clone(), node.firmware.clone(), node.engine_build.clone())
    }

    fn of_row(row: &Row) -> Self {
        let key = &row.key;
        Self(key.class.to_string(), key.firmware.clone(), key.runtime.clone())
    }
}

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

    /// Rows that a node measured; true if they change anything. Those of other nodes are not its to tell.
    ///
    /// # Errors
    /// Why none of them is taken.
    pub(crate) fn add_of(&mut self, node: &Inventory, toml: &str) -> Result<bool, RowsError> {
        let table = Table::parse(toml)?;
        let software = Software::of_node(node);
        let origin = if node.emulated { Origin::Emulated } else { Origin::Measured };
        if node.emulated && table.rows().any(|row| row.provenance.origin != origin) {
            return Err(RowsError::Emulated);
        }
        let own = |row: &&Row| Software::of_row(row) == software && row.provenance.origin == origin;
        let foreign = table.rows().filter(|row| !own(row)).count();
        if foreign > 0 {
            return Err(RowsError::Foreign(foreign));
        }
        if self.table.len() + table.len() > MAX_ROWS {
            return Err(RowsError::Full);
        }
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
        // What was measured leaves no room for guesses of the same: a placement would choose among both.
        let site = |row: &Row| (Software::of_row(row), row.key.model, row.key.mode.clone());
        let measured: BTreeSet<_> = self.table.rows().map(site).collect();
        let guessed = self.guessed.rows().filter(|row| !measured.contains(&site(row)));
        self.table.rows().chain(guessed).cloned().map(Arc::new).collect()
    }

    /// The load point that rows of a model are of on a node: its own rows first, then those of its class.
    pub(crate) fn load_point(
        &self,
        node: &Inventory,
        model: ModelDigest,
    ) -> Option<dunlin_scheduler_core::LoadPoint> {
        let class = NodeClass::new(&node.class);
        let mode = node.state.health.mode.as_str();
        let software = Software::of_node(node);
        let closeness = |row: &Row| (Software::of_row(row) == software, row.key.mode.as_str() == mode);
        let known = self.guessed.of(&class, model).chain(self.table.of(&class, model));
        let row = known.max_by_key(|row| closeness(row))?;
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

#[cfg(test)]
mod tests {
    use dunlin_protocol::{Incarnation, OperatingPoint, Report};

    use super::*;

    const ROW: &str = r#"
[[row]]
name = "demo"
key = { class = "generic", model = "MODEL", mode = "default", thermal = "cool", prefill_threads = 2, decode_threads = 1, backend = "cpu", quantisation = "Q8_0", kv_type = "f16", context = 512, firmware = "cpu", runtime = "0.1.0" }
provenance = { origin = "measured", source = "here" }
prefill = { p0_ms = 1, p1_ms_per_token = 1, measured = [16, 512] }
decode = { batch_ms = [10] }
"#;

    fn row() -> String {
        ROW.replace("MODEL", &ModelDigest::new([7; 32]).to_string())
    }

    fn node(emulated: bool) -> Inventory {
        let model = StoredModel {
            digest: dunlin_protocol::ModelDigest([7; 32]),
            name: "demo".to_owned(),
            quantization: "Q8_0".to_owned(),
            bytes: 1 << 20,
            memory_bytes: 1 << 21,
            kv_bytes_per_token: 100,
            pinned: false,
            cached: true,
        };
        let point = OperatingPoint { prefill_threads: 2, decode_threads: 2, ..OperatingPoint::default() };
        let mut state = Report::default();
        state.health.mode = "default".to_owned();
        Inventory {
            incarnation: Incarnation(1),
            class: "generic".to_owned(),
            firmware: "cpu".to_owned(),
            engine_build: "0.1.0".to_owned(),
            emulated,
            models: vec![model],
            points: vec![point],
            state,
            ..Inventory::default()
        }
    }

    fn origins(rows: &Rows) -> Vec<Origin> {
        rows.all().iter().map(|row| row.provenance.origin).collect()
    }

    #[test]
    fn what_was_measured_takes_the_place_of_guesses() {
        let (mut rows, node) = (Rows::default(), node(false));
        let model = ModelDigest::new([7; 32]);
        assert!(rows.learn(&node));
        assert_eq!(origins(&rows), [Origin::Assumed]);
        assert_eq!(rows.load_point(&node, model).unwrap().context, 4096);
        assert!(rows.add_of(&node, &row()).unwrap());
        assert!(!rows.add_of(&node, &row()).unwrap());
        assert_eq!(origins(&rows), [Origin::Measured]);
        assert_eq!(rows.load_point(&node, model).unwrap().context, 512);
        // A machine of the same class with another processor is still guessed.
        let other = Inventory { firmware: "another cpu".to_owned(), ..node };
        assert!(rows.learn(&other));
        assert_eq!(origins(&rows), [Origin::Measured, Origin::Assumed]);
        assert_eq!(rows.load_point(&other, model).unwrap().context, 4096);
    }

    #[test]
    fn a_node_tells_of_itself_only() {
        let check = |node: &Inventory, toml: &str, words: &str| {
            let mut rows = Rows::default();
            let error = rows.add_of(node, toml).unwrap_err().to_string();
            assert!(error.contains(words) && rows.all().is_empty(), "{error}");
        };
        check(&node(true), &row(), "the node is emulated");
        check(
            &node(false),
            &row().replace("\"cpu\", runtime", "\"gpu\", runtime"),
            "1 of them are of another",
        );
        check(&node(false), &row().replace("measured\"", "imported\""), "were not measured");
        check(&node(false), &row().replace("batch_ms = [10]", "batch_ms = [nan]"), "line 7");
        check(&node(false), &row()[..200], "line ");
    }
}
