//! The cost rows of the fleet: measured ones from nodes and files, those of embedded classes, and guesses for the rest.

mod site;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dunlin_costs::{
    Class, DocumentError, Method, Mode, ModelDigest, ModelFacts, NodeClass, Origin, Quantisation, Row,
    RowKey, RowParts, Table,
};
use dunlin_protocol::{Inventory, StoredModel};
use thiserror::Error;

pub(crate) use self::site::BySite;
use self::site::{Site, Software};

/// Class, firmware, engine build, mode, threads of both phases, and model.
type Kind = (String, String, String, String, u16, u16, [u8; 32]);

/// Rows that nodes tell, of all of them together.
const MAX_ROWS: usize = 32_768;

/// The class of machines of which nothing is known.
const ANY_CLASS: &str = "generic";

/// One request in ten takes so much longer, in log space, than another board of the class says.
const LENT_RESIDUAL: f64 = 0.3;

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

/// What the core is given.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Measured and imported.
    table: Table,
    guessed: Table,
    /// Measured on other boards of the class, for nodes that have no rows of their own.
    lent: Table,
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
        Ok(self.merge(table))
    }

    fn merge(&mut self, table: Table) -> bool {
        let before = self.table.clone();
        self.table.merge(table);
        let changed = self.table != before;
        if changed {
            self.lend();
        }
        changed
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
        Ok(self.merge(table))
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
        if changed {
            self.lend();
        }
        changed
    }

    pub(crate) fn all(&self) -> Vec<Arc<Row>> {
        self.used().cloned().map(Arc::new).collect()
    }

    fn used(&self) -> impl Iterator<Item = &Row> {
        // What was measured leaves no room for guesses of the same: a placement would choose among both.
        let measured: BTreeSet<Site> = self.table.rows().map(Site::of).collect();
        let lent: BTreeSet<Site> = self.lent.rows().map(Site::of).collect();
        let is_open = move |row: &&Row| !measured.contains(&Site::of(row)) && !lent.contains(&Site::of(row));
        self.table.rows().chain(self.lent.rows()).chain(self.guessed.rows().filter(is_open))
    }

    /// Where there are only guesses, what another board of the class has measured is worth more: of several, one of the same
    /// firmware, then one of the same build.
    fn lend(&mut self) {
        let measured: BTreeSet<Site> = self.table.rows().map(Site::of).collect();
        let wanted: BTreeSet<Site> = self.guessed.rows().map(Site::of).collect();
        self.lent = wanted.difference(&measured).flat_map(|site| self.lent_to(site)).collect();
    }

    fn lent_to(&self, site: &Site) -> Vec<Row> {
        let Site(Software(class, firmware, build), model, mode) = site;
        // Machines of no known class have nothing in common.
        if class == ANY_CLASS {
            return Vec::new();
        }
        let class = NodeClass::new(class);
        let rows = self.table.of(&class, *model).filter(|row| row.key.mode == *mode);
        let rows: Vec<&Row> = rows.filter(|row| row.provenance.origin == Origin::Measured).collect();
        let closeness = |row: &&&Row| (row.key.firmware == *firmware, row.key.runtime == *build);
        let Some(closest) = rows.iter().max_by_key(closeness).map(|row| Software::of_row(row)) else {
            return Vec::new();
        };
        let lenders = rows.into_iter().filter(|row| Software::of_row(row) == closest);
        lenders.filter_map(|row| lent(row, firmware, build)).collect()
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
        let guessed = self.guessed.of(&class, model).chain(self.lent.of(&class, model));
        let known = guessed.chain(self.table.of(&class, model));
        let row = known.max_by_key(|row| closeness(row))?;
        Some(dunlin_scheduler_core::LoadPoint::of(&row.key))
    }

    /// The same, for whoever asks for many of them.
    pub(crate) fn by_site(&self) -> BySite<'_> {
        BySite::new(self.used())
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

/// With the quality that any of them knows of a model: its answers are as good on one board as on another.
pub(crate) fn judged(rows: Vec<Arc<Row>>) -> Vec<Arc<Row>> {
    let known = rows.iter().filter(|row| row.quality.accuracy.is_some());
    let known: BTreeMap<ModelDigest, Arc<Row>> = known.map(|row| (row.key.model, row.clone())).collect();
    let of = |row: Arc<Row>| match known.get(&row.key.model) {
        Some(other) if row.quality.accuracy.is_none() => Arc::new(Arc::unwrap_or_clone(row).judged_as(other)),
        _ => row,
    };
    rows.into_iter().map(of).collect()
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

/// A row of another board, as one that this software may go by until it has its own.
fn lent(row: &Row, firmware: &str, build: &str) -> Option<Row> {
    let mut parts = RowParts::from(row.clone());
    parts.key.firmware = firmware.to_owned();
    parts.key.runtime = build.to_owned();
    parts.provenance.origin = Origin::Prior;
    parts.provenance.method = Method::Lent;
    parts.provenance.source = format!("another board of its class: {}", row.provenance.source);
    for residual in [&mut parts.fit.prefill_residual_q90, &mut parts.fit.decode_residual_q90] {
        *residual = residual.map(|known| known.max(LENT_RESIDUAL));
    }
    parts.fit.residual_q90 = parts.fit.residual_q90.max(LENT_RESIDUAL);
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
    fn a_board_without_rows_goes_by_those_of_another_of_its_class() {
        let pi = |firmware: &str| {
            let mut node = node(false);
            (node.class, node.firmware) = ("pi5-8g".to_owned(), firmware.to_owned());
            node.state.health.mode = "performance".to_owned();
            node
        };
        let of_pi = |firmware: &str| {
            let row = row().replace("\"generic\"", "\"pi5-8g\"").replace("\"default\"", "\"performance\"");
            row.replace("\"cpu\", runtime", &format!("\"{firmware}\", runtime"))
        };
        let (mut rows, first, second) = (Rows::default(), pi("1"), pi("2"));
        assert!(rows.learn(&first) && rows.learn(&second));
        assert!(origins(&rows).iter().all(|origin| *origin == Origin::Assumed));
        assert!(rows.add_of(&first, &of_pi("1")).unwrap());
        let bases = |rows: &Rows| -> Vec<String> {
            let of_second =
                |row: &&Arc<Row>| row.key.firmware == "2" && row.key.mode.as_str() == "performance";
            rows.all().iter().filter(of_second).map(|row| row.provenance.basis()).collect()
        };
        assert_eq!(bases(&rows), ["prior (other board)"]);
        let lent = rows.all().into_iter().find(|row| row.provenance.origin == Origin::Prior).unwrap();
        assert!(lent.fit.residual_q90 >= LENT_RESIDUAL && lent.provenance.source.ends_with(": here"));
        assert_eq!(rows.load_point(&second, ModelDigest::new([7; 32])).unwrap().context, 512);
        assert!(rows.add_of(&second, &of_pi("2")).unwrap());
        assert_eq!(bases(&rows), ["measured"]);
        // A machine of no known class takes none.
        let (mut rows, other) =
            (Rows::default(), Inventory { firmware: "another cpu".to_owned(), ..node(false) });
        rows.add_of(&node(false), &row()).unwrap();
        rows.learn(&other);
        assert_eq!(origins(&rows), [Origin::Measured, Origin::Assumed]);
    }

    #[test]
    fn the_quality_that_one_node_has_measured_is_that_of_the_model_on_all() {
        let (mut rows, one) = (Rows::default(), node(false));
        let other = Inventory { firmware: "another cpu".to_owned(), ..node(false) };
        assert!(rows.learn(&one) && rows.learn(&other));
        let row = format!("{}quality = {{ accuracy = 0.7 }}\n", row());
        assert!(rows.add_of(&one, &row).unwrap());
        let told = judged(rows.all());
        assert_eq!(origins(&rows), [Origin::Measured, Origin::Assumed]);
        assert!(told.iter().all(|row| row.quality.accuracy == Some(0.7)), "{told:?}");
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
