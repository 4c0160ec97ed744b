//! What was measured on this machine, by `dunlin profile`: which of those rows are of this node, and how they are told.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use dunlin_costs::{MAX_TABLE_BYTES, Method, ModelDigest, Origin, Row, RowKey, Table};
use dunlin_protocol::limits::MAX_DOCUMENT;

use crate::AgentOptions;

/// Rows that a node tells: of more, the last are left out.
const MAX_OWN_ROWS: usize = 1024;
/// Reasons that are told one by one.
const MAX_REASONS: usize = 8;

/// The file of rows, looked at again whenever it changes.
#[derive(Debug)]
pub(crate) struct OwnCosts {
    path: PathBuf,
    node: Kind,
    seen: Option<(SystemTime, u64)>,
}

/// What a row must be of.
#[derive(Debug, Clone)]
struct Kind {
    class: String,
    firmware: String,
    build: String,
    /// Of its rows: an emulated board measures nothing, but finds out.
    origin: Origin,
}

/// What came of a look at the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OwnRows {
    /// Those of this node.
    pub rows: Vec<Row>,
    /// Why others are not used, and how many.
    pub unused: BTreeMap<String, usize>,
}

impl OwnCosts {
    pub(crate) fn of(options: &AgentOptions) -> Self {
        let node = Kind {
            class: options.class.clone(),
            firmware: options.firmware.clone(),
            build: options.build.clone(),
            origin: if options.emulation.is_some() { Origin::Emulated } else { Origin::Measured },
        };
        Self { path: options.costs.clone(), node, seen: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The rows, if the file is another one than at the last look. No file is no rows.
    ///
    /// # Errors
    /// Why the file cannot be used. It is looked at again when it has changed.
    pub(crate) fn changed(&mut self) -> Option<Result<OwnRows, String>> {
        let stamp = stamp(&self.path);
        if stamp == self.seen {
            return None;
        }
        self.seen = stamp;
        stamp.map(|_| self.now())
    }

    /// All rows of this node that are there now.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub(crate) fn now(&self) -> Result<OwnRows, String> {
        Ok(self.node.sort(&read(&self.path)?))
    }
}

/// The rows of a file; none where there is no file.
///
/// # Errors
/// Why the file cannot be used.
pub(crate) fn read(path: &Path) -> Result<Table, String> {
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Table::default()),
        found => found.map_err(|error| error.to_string())?.len(),
    };
    if bytes > MAX_TABLE_BYTES as u64 {
        return Err(format!("it has {bytes} bytes, at most {MAX_TABLE_BYTES} are possible"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Table::parse(&text).map_err(|error| error.to_string())
}

/// In the place of what is there, whole or not at all.
///
/// # Errors
/// Of the file system.
pub(crate) fn write(table: &Table, path: &Path) -> Result<(), String> {
    let text = table.to_toml().map_err(|error| error.to_string())?;
    dunlin_profiler::replace(path, text.as_bytes())
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

impl Kind {
    fn sort(&self, table: &Table) -> OwnRows {
        let mut own = OwnRows::default();
        let mut context = BTreeMap::<ModelDigest, u32>::new();
        let of_node = |row: &&Row| self.stranger(row).is_none();
        for row in table.rows().filter(of_node) {
            let longest = context.entry(row.key.model).or_default();
            *longest = (*longest).max(row.key.context);
        }
        for row in table.rows() {
            // A model is loaded with one context: rows of two would compete for it.
            let shorter = || {
                let longest = context.get(&row.key.model).copied().unwrap_or_default();
                (row.key.context < longest)
                    .then(|| format!("of a context of {} tokens, not {longest}", row.key.context))
            };
            let full = || (own.rows.len() >= MAX_OWN_ROWS).then(|| format!("beyond {MAX_OWN_ROWS} rows"));
            match self.stranger(row).or_else(shorter).or_else(full) {
                Some(reason) => *own.unused.entry(reason).or_default() += 1,
                None => own.rows.push(row.clone()),
            }
        }
        own
    }

    /// Why a row is not of this node.
    fn stranger(&self, row: &Row) -> Option<String> {
        let RowKey { class, firmware, runtime, .. } = &row.key;
        if row.provenance.origin != self.origin {
            return Some(format!("not measured here ({})", row.provenance.origin));
        }
        [
            ("class", class.as_str(), &self.class),
            ("machine", firmware.as_str(), &self.firmware),
            ("build", runtime.as_str(), &self.build),
        ]
        .into_iter()
        .find(|(_, of_row, of_node)| of_row != of_node)
        .map(|(what, of_row, of_node)| format!("of another {what} ({of_row}; this is {of_node})"))
    }
}

impl OwnRows {
    /// Whether there is a row of a model in this mode, by these threads for reading and for writing, that a look would not make
    /// better: of an earlier look that others disturbed, it would.
    pub(crate) fn has(&self, model: &ModelDigest, mode: &str, threads: (u32, u32)) -> bool {
        let is_of = |key: &RowKey| {
            key.model == *model
                && key.mode.as_str() == mode
                && (u32::from(key.prefill_threads), u32::from(key.decode_threads)) == threads
        };
        let is_good = |row: &Row| row.provenance.method != Method::Probe || row.fit.disturbed.is_none();
        self.rows.iter().any(|row| is_of(&row.key) && is_good(row))
    }

    /// Rows of models that are not among `here`: they count once such a model is.
    pub fn elsewhere(&self, here: &[ModelDigest]) -> usize {
        self.rows.iter().filter(|row| !here.contains(&row.key.model)).count()
    }

    /// In TOML, as many as a message holds in each.
    pub(crate) fn documents(&self) -> Vec<String> {
        let mut documents = vec![String::new()];
        for row in &self.rows {
            let Ok(toml) = std::iter::once(row.clone()).collect::<Table>().to_toml() else { continue };
            if toml.len() > MAX_DOCUMENT {
                continue;
            }
            let fits = documents.last().is_some_and(|last| last.len() + toml.len() < MAX_DOCUMENT);
            if !fits {
                documents.push(String::new());
            }
            if let Some(last) = documents.last_mut() {
                last.push_str(&toml);
                last.push('\n');
            }
        }
        documents.retain(|document| !document.is_empty());
        documents
    }
}

impl fmt::Display for OwnRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |count: usize| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        write!(f, "{} measured on this machine", rows(self.rows.len()))?;
        for (reason, count) in self.unused.iter().take(MAX_REASONS) {
            write!(f, "; not used: {} {reason}", rows(*count))?;
        }
        let further: usize = self.unused.values().skip(MAX_REASONS).sum();
        if further > 0 {
            write!(f, "; not used for other reasons: {}", rows(further))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dunlin_costs::RowParts;

    use super::*;

    const ROW: &str = r#"
[[row]]
name = "demo"
key = { class = "generic", model = "emulated:demo", mode = "default", thermal = "cool", prefill_threads = 2, decode_threads = 2, backend = "cpu", quantisation = "Q8_0", kv_type = "f16", context = 4096, firmware = "cpu, 2/2 threads", runtime = "0.1.0" }
provenance = { origin = "measured", source = "here" }
prefill = { p0_ms = 1, p1_ms_per_token = 1, measured = [16, 512] }
decode = { batch_ms = [10] }
"#;

    fn row(change: impl Fn(&mut RowParts)) -> Row {
        let table = Table::parse(ROW).unwrap();
        let mut parts = RowParts::from(table.rows().next().unwrap().clone());
        change(&mut parts);
        Row::try_from(parts).unwrap()
    }

    fn kind() -> Kind {
        Kind {
            class: "generic".to_owned(),
            firmware: "cpu, 2/2 threads".to_owned(),
            build: "0.1.0".to_owned(),
            origin: Origin::Measured,
        }
    }

    #[test]
    fn rows_of_another_machine_build_origin_or_context_are_not_used_and_it_is_said() {
        let own = kind().sort(
            &[
                row(|_| ()),
                row(|parts| parts.key.firmware = "cpu, 1/1 threads".to_owned()),
                row(|parts| parts.key.runtime = "0.0.9".to_owned()),
                row(|parts| parts.key.class = "pi5-8g".into()),
                row(|parts| parts.key.context = 512),
                row(|parts| {
                    parts.key.mode = "other".into();
                    parts.provenance.origin = Origin::Imported;
                }),
            ]
            .into_iter()
            .collect(),
        );
        assert_eq!((own.rows.len(), own.unused.values().sum::<usize>()), (1, 5));
        let said = own.to_string();
        for words in [
            "1 row measured on this machine",
            "of another build (0.0.9; this is 0.1.0)",
            "of another machine (cpu, 1/1 threads; this is cpu, 2/2 threads)",
            "of another class (pi5-8g; this is generic)",
            "of a context of 512 tokens, not 4096",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(own.elsewhere(&[]), 1);
        assert_eq!(own.elsewhere(&[ModelDigest::emulated("demo")]), 0);
    }

    #[test]
    fn no_message_is_longer_than_it_may_be_and_none_is_lost() {
        let rows: Vec<Row> =
            (1..=300).map(|threads| row(|parts| parts.key.decode_threads = threads)).collect();
        let own = OwnRows { rows: rows.clone(), unused: BTreeMap::new() };
        let documents = own.documents();
        assert!(documents.len() > 1 && documents.iter().all(|document| document.len() <= MAX_DOCUMENT));
        let told: Table = documents
            .iter()
            .flat_map(|text| Table::parse(text).unwrap().rows().cloned().collect::<Vec<_>>())
            .collect();
        assert_eq!(told, rows.into_iter().collect());
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("costs.toml");
        let mut costs = OwnCosts { path: path.clone(), node: kind(), seen: None };
        assert_eq!(costs.changed(), None);
        fs::write(&path, ROW).unwrap();
        assert_eq!(costs.changed().unwrap().unwrap().rows.len(), 1);
        assert_eq!(costs.changed(), None);
        fs::write(&path, &ROW[..ROW.len() / 2]).unwrap();
        assert!(costs.changed().unwrap().unwrap_err().starts_with("line "));
        assert_eq!(costs.changed(), None);
    }
}
