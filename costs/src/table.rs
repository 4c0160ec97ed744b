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
        self.rows.values().filter(move |row| row.key.class == *class && row.key.model == model)
    }

    /// The best founded row that fits; of several, the one with the first key.
    pub fn find(&self, class: &NodeClass, model: ModelDigest, query: &Query) -> Option<&Row> {
        let fitting = self.rows().filter(|row| row.key.class == *class && row.key.model == model);
        fitting.filter(|row| query.fits(&row.key)).min_by(|a, b| standing(a, b))
    }

    /// Adds a row unless a better founded one of the same key is there. Returns the one that is left out.
    pub fn insert(&mut self, row: Row) -> Option<Row> {
        let Some(present) = self.rows.get_mut(&row.key) else {
            self.rows.insert(row.key.clone(), row);
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
    let (a, b) = (&a.provenance, &b.provenance);
    (a.origin, a.method).cmp(&(b.origin, b.method)).then_with(|| b.date.cmp(&a.date))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::{Class, Method, Origin, RowParts};

    const ROW: &str = r#"
[[row]]
name = "Llama-3.2-1B"

[row.key]
class = "pi5-8g"
model = "emulated:llama-3.2-1b"
mode = "ondemand"
thermal = "cool"
prefill_threads = 4
decode_threads = 2
backend = "cpu"
quantisation = "Q4_K_M"
kv_type = "f16"
context = 4096
firmware = "any"
runtime = "llama.cpp"

[row.provenance]
origin = "measured"
source = "node pi-3"
date = "2026-11-20"

[row.prefill]
p0_ms = 40
p1_ms_per_token = 11.5
measured = [16, 512]

[row.decode]
batch_ms = [88.5, { nominal = 110, low = 95, high = 170, source = "assumed" }]
"#;

    fn check(change: (&str, &str), expected: &Expect) {
        assert!(ROW.contains(change.0));
        let error = Table::parse(&ROW.replacen(change.0, change.1, 1)).unwrap_err();
        expected.assert_eq(&error.to_string());
    }

    #[test]
    fn errors_point_to_what_is_wrong() {
        check(
            ("p1_ms_per_token", "p1_ms_per_tok"),
            &expect![[
                r#"line 26, column 1: there is no key "p1_ms_per_tok"; did you mean "p1_ms_per_token"?"#
            ]],
        );
        check(
            ("[row.prefill]", "[row.prefil]"),
            &expect![[r#"line 24, column 6: there is no key "prefil"; did you mean "prefill"?"#]],
        );
        check(("[[row]]", "[[rows]]"), &expect!["line 5, column 2: invalid type: map, expected a sequence"]);
        check(
            ("\"cool\"", "\"cold\""),
            &expect![[r#"line 9, column 11: there is no value "cold"; did you mean "cool"?"#]],
        );
        check(
            ("11.5", "-11.5"),
            &expect![
                "line 26, column 19: invalid value: floating point `-11.5`, expected a number >= 0, or { nominal, low, high, source } where it is assumed"
            ],
        );
        check(("11.5", "0"), &expect!["line 2, column 1: prefill.p1_ms_per_token must be more than 0"]);
        check(
            ("11.5", "\"fast\""),
            &expect![[
                r#"line 26, column 19: invalid type: string "fast", expected a number >= 0, or { nominal, low, high, source } where it is assumed"#
            ]],
        );
        check(("88.5, ", "0, "), &expect!["line 2, column 1: decode.batch_ms must be more than 0"]);
        let batch = "[88.5, { nominal = 110, low = 95, high = 170, source = \"assumed\" }]";
        check(
            (batch, "[]"),
            &expect![
                "line 2, column 1: decode.batch_ms is empty: it takes the milliseconds of a step for 1, 2, 4 ... sequences, at least for 1"
            ],
        );
        check(
            ("low = 95", "low = 195"),
            &expect!["line 30, column 19: expected 0 <= low <= nominal <= high"],
        );
        check(
            ("low = 95", "lowest = 95"),
            &expect![[r#"line 30, column 19: there is no key "lowest"; did you mean "low"?"#]],
        );
        check(("low = 95, ", ""), &expect!["line 30, column 19: a range needs both `low` and `high`"]);
        check(
            ("[16, 512]", "[512, 16]"),
            &expect![
                "line 2, column 1: prefill.measured goes from 512 to 16 tokens: the shortest prompt comes first"
            ],
        );
        check(
            ("emulated:llama-3.2-1b", "llama-3.2-1b"),
            &expect![[
                r#"line 7, column 9: "llama-3.2-1b" is no model digest: 64 hexadecimal digits, or emulated:NAME for a model of emulated boards"#
            ]],
        );
        check(("mode = \"ondemand\"\n", ""), &expect![[r#"line 5, column 1: the key "mode" is missing"#]]);
    }

    #[test]
    fn tables_survive_the_disk() {
        let check = |table: &Table| assert_eq!(Table::parse(&table.to_toml().unwrap()).as_ref(), Ok(table));
        check(&Table::default());
        check(&Table::parse(ROW).unwrap());
        for name in Class::names() {
            check(&Class::find(name).unwrap().table);
        }
    }

    #[test]
    fn a_short_look_does_not_replace_a_whole_profile() {
        let profiled = row(Origin::Measured, "2026-11-01", 2);
        let mut parts = RowParts::from(row(Origin::Measured, "2026-11-20", 2));
        parts.provenance.method = Method::Probe;
        let probed = Row::try_from(parts).unwrap();
        for pair in [[&profiled, &probed], [&probed, &profiled]] {
            let table: Table = pair.into_iter().cloned().collect();
            assert_eq!(table.rows().collect::<Vec<_>>(), [&profiled]);
        }
        let text = [probed.clone()].into_iter().collect::<Table>().to_toml().unwrap();
        assert_eq!(Table::parse(&text).unwrap().rows().next(), Some(&probed));
    }

    fn row(origin: Origin, date: &str, threads: u16) -> Row {
        let parts = RowParts::from(Table::parse(ROW).unwrap().rows().next().unwrap().clone());
        let mut parts = RowParts { name: format!("{origin:?} {date}"), ..parts };
        parts.provenance.origin = origin;
        parts.provenance.date = date.to_owned();
        parts.key.decode_threads = threads;
        Row::try_from(parts).unwrap()
    }

    #[test]
    fn the_best_founded_row_stays() {
        let standing = [
            (Origin::Measured, "2026-11-20"),
            (Origin::Measured, "2026-11-01"),
            (Origin::Imported, "2026-11-20"),
            (Origin::Emulated, ""),
            (Origin::Prior, ""),
            (Origin::Assumed, ""),
        ];
        for (at, better) in standing.iter().enumerate() {
            for worse in &standing[at..] {
                let [better, worse] = [better, worse].map(|(origin, date)| row(*origin, date, 2));
                for pair in [[&better, &worse], [&worse, &better]] {
                    let mut table = Table::default();
                    table.merge(pair.into_iter().take(1).cloned().collect());
                    table.merge(pair.into_iter().skip(1).cloned().collect());
                    assert_eq!(table.rows().collect::<Vec<_>>(), [&better]);
                }
            }
        }
    }

    #[test]
    fn a_search_takes_the_best_founded_of_what_fits() {
        let table: Table = [row(Origin::Assumed, "", 2), row(Origin::Measured, "", 3)].into_iter().collect();
        let class = NodeClass::new("pi5-8g");
        let model = ModelDigest::emulated("Llama-3.2-1B");
        let check = |query: Query, expected: Option<u16>| {
            let found = table.find(&class, model, &query);
            assert_eq!(found.map(|row| row.key.decode_threads), expected);
        };
        check(Query::default(), Some(3));
        check(Query { decode_threads: Some(2), ..Query::default() }, Some(2));
        check(Query { mode: Some("powersave".into()), ..Query::default() }, None);
        check(Query { thermal: Some(Thermal::Throttled), ..Query::default() }, None);
        assert_eq!(table.of(&class, model).count(), 2);
        assert_eq!(table.of(&"pi5".into(), model).count(), 0);
    }
}
