//! The cost rows in force, numbered.

use std::{collections::BTreeMap, sync::Arc};

use dunlin_costs::{Row, RowKey};

/// A row's place in the core's tables. Keys keep theirs for as long as the scheduler lives, so calibrations outlast a
/// change of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(Default))]
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

#[cfg(test)]
pub(crate) mod tests {
    use dunlin_costs::{
        Backend, Decode, Figure, LoadCosts, Method, ModelDigest, Origin, Power, Prefill, Provenance,
        RowParts, Scope, Thermal,
    };
    use fastrand::Rng;

    use super::*;

    pub(crate) const fn index(row: u32) -> RowIndex {
        RowIndex(row)
    }

    /// Of no board that there is.
    pub(crate) fn any_row(rng: &mut Rng) -> Row {
        let mut up_to = |most: f64| Figure::known(most * rng.f64() + 1e-6);
        let mut step = 0.0;
        let batch_ms = (0..4).map(|_| {
            step += up_to(50.0).nominal();
            step.into()
        });
        let batch_ms: Vec<Figure> = batch_ms.collect();
        let between_ms = vec![up_to(100.0), up_to(200.0)];
        let decode = Decode { batch_ms, between_ms, contention: up_to(1.0), ..Decode::default() };
        let prefill = Prefill {
            p0_ms: up_to(20.0),
            p1_ms_per_token: up_to(20.0),
            p2_ms_per_token2: up_to(0.001),
            measured: [1, 4096],
        };
        let idle = up_to(5.0).nominal();
        let mut above_idle = || (idle + up_to(20.0).nominal()).into();
        let power = Power {
            scope: Scope::BoardInput,
            idle_w: idle.into(),
            load_w: above_idle(),
            prefill_w: above_idle(),
            decode_w: above_idle(),
            correction: None,
        };
        let load = LoadCosts { cold_ms: 4000.0.into(), warm_ms: 900.0.into(), ..LoadCosts::default() };
        let source = "made up".to_owned();
        let provenance = Provenance {
            origin: Origin::Assumed,
            method: Method::Usual,
            grade: None,
            source,
            date: String::new(),
        };
        let (memory, quality, fit) = Default::default();
        let (key, name) = (key(4), String::new());
        let power = Some(power);
        Row::try_from(RowParts { name, key, provenance, load, memory, prefill, decode, power, quality, fit })
            .unwrap()
    }

    fn key(threads: u16) -> RowKey {
        RowKey {
            class: "board".into(),
            model: ModelDigest::new([1; 32]),
            mode: "high".into(),
            thermal: Thermal::Cool,
            prefill_threads: threads,
            decode_threads: threads,
            backend: Backend::Cpu,
            quantisation: "Q4_0".into(),
            kv_type: "f16".into(),
            context: 4096,
            firmware: String::new(),
            runtime: String::new(),
        }
    }

    fn row(rng: &mut Rng, threads: u16) -> Arc<Row> {
        let parts = RowParts { key: key(threads), ..any_row(rng).into() };
        Arc::new(parts.try_into().unwrap())
    }

    #[test]
    fn rows_keep_their_numbers_and_tell_what_changed() {
        let mut rng = Rng::with_seed(1);
        let (first, second, third) = (row(&mut rng, 1), row(&mut rng, 2), row(&mut rng, 3));
        let mut rows = Rows::default();
        assert_eq!(rows.replace(vec![first.clone(), second.clone()]), []);
        let other = row(&mut rng, 2);
        assert_eq!(rows.replace(vec![third, other.clone(), first]), [index(1)]);
        assert_eq!(rows.row(index(1)), Some(&other));
        assert_eq!(rows.replace(vec![other]), [index(0), index(2)]);
        assert_eq!(rows.iter().map(|(at, _)| at).collect::<Vec<_>>(), [index(1)]);
    }
}
