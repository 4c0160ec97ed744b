//! The cost rows in force, numbered.

use std::{collections::BTreeMap, sync::Arc};

use dunlin_costs::{Row, RowKey};

/// A row's place in the core's tables. Keys keep theirs for as long as the scheduler lives, so calibrations outlast a
/// change of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowIndex(u32);

/// Rows that are ever known: of more, the last are left out.
pub const MAX_ROWS: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<Option<Arc<Row>>>,
    index: BTreeMap<RowKey, RowIndex>,
}

impl Rows {
    /// Tells which rows are gone, or say something else than before.
    pub(crate) fn replace(&mut self, rows: Vec<Arc<Row>>) -> Vec<RowIndex> {
        let before = self.rows.clone();
        self.rows.iter_mut().for_each(|row| *row = None);
        for row in rows {
            if let Some(index) = self.number(&row.key) {
                self.rows[index.0 as usize] = Some(row);
            }
        }
        let changed = before.iter().zip(&self.rows).zip(0..).filter(|((before, row), _)| before != row);
        changed.map(|(_, index)| RowIndex(index)).collect()
    }

    fn number(&mut self, key: &RowKey) -> Option<RowIndex> {
        if let Some(&index) = self.index.get(key) {
            return Some(index);
        }
        if self.rows.len() >= MAX_ROWS {
            return None;
        }
        let index = RowIndex(self.rows.len() as u32);
        self.rows.push(None);
        self.index.insert(key.clone(), index);
        Some(index)
    }

    pub(crate) fn row(&self, index: RowIndex) -> Option<&Arc<Row>> {
        self.rows[index.0 as usize].as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RowIndex, &Arc<Row>)> {
        self.rows.iter().zip(0..).filter_map(|(row, index)| Some((RowIndex(index), row.as_ref()?)))
    }
}
