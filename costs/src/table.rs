//! A cost table: rows by what they are of, the best founded one of each.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{DocumentError, Mode, ModelDigest, NodeClass, Row, RowKey, Thermal, document};

/// Bytes of a table on disk.
pub const MAX_TABLE_BYTES: usize = 16 << 20;

/// Cost rows, one of each [`RowKey`]: the best founded, and of two alike the newer one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    rows: BTreeMap<RowKey, Row>,
}

/// What to look for. What is left out may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    pub mode: Option<Mode>,
    pub prefill_threads: Option<u16>,
    pub decode_threads: Option<u16>,
    pub thermal: Option<Thermal>,
}

/// On disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    #[serde(default)]
    row: Vec<Row>,
}

impl Table {
    /// Reads `[[row]]`s of TOML.
    ///
    /// # Errors
    /// [`DocumentError`] with line and column; unknown keys are refused with the nearest known one.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let file: TableFile = document::read(text, MAX_TABLE_BYTES)?;
        Ok(file.row.into_iter().collect())
    }

    /// As [`Self::parse`] reads it.
    ///
    /// # Errors
    /// Never for rows that were parsed or checked.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&TableFile { row: self.rows.values().cloned().collect() })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn get(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// In the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// Rows of a model on a class of node, by mode, thermal state, threads.
    pub fn of<'a, 'b>(
        &'a self,
        class: &'b NodeClass,
        model: ModelDigest,
    ) -> impl Iterator<Item = &'a Row> + use<'a, 'b> {
        self.rows.values().filter(move |row| row.key().class == *class && row.key().model == model)
    }

    /// The best founded row that fits; of several, the one with the first key.
    pub fn find(&self, class: &NodeClass, model: ModelDigest, query: &Query) -> Option<&Row> {
        let fitting = self.rows().filter(|row| row.key().class == *class && row.key().model == model);
        fitting.filter(|row| query.fits(row.key())).min_by(|a, b| standing(a, b))
    }

    /// Adds a row unless a better founded one of the same key is there. Returns the one that is left out.
    pub fn insert(&mut self, row: Row) -> Option<Row> {
        let Some(present) = self.rows.get_mut(row.key()) else {
            self.rows.insert(row.key().clone(), row);
            return None;
        };
        if standing(&row, present) == Ordering::Greater {
            return Some(row);
        }
        Some(std::mem::replace(present, row))
    }

    pub fn merge(&mut self, other: Self) {
        self.extend(other.rows.into_values());
    }
}

impl Extend<Row> for Table {
    fn extend<T: IntoIterator<Item = Row>>(&mut self, rows: T) {
        for row in rows {
            self.insert(row);
        }
    }
}

impl FromIterator<Row> for Table {
    fn from_iter<T: IntoIterator<Item = Row>>(rows: T) -> Self {
        let mut table = Self::default();
        table.extend(rows);
        table
    }
}

impl Query {
    fn fits(&self, key: &RowKey) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        same(self.mode.as_ref(), &key.mode)
            && same(self.prefill_threads.as_ref(), &key.prefill_threads)
            && same(self.decode_threads.as_ref(), &key.decode_threads)
            && same(self.thermal.as_ref(), &key.thermal)
    }
}

/// The better founded first, then the newer. Dates compare as text.
fn standing(a: &Row, b: &Row) -> Ordering {
    let (a, b) = (&a.parts().provenance, &b.parts().provenance);
    a.origin.cmp(&b.origin).then_with(|| b.date.cmp(&a.date))
}
