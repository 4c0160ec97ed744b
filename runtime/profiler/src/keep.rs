//! New rows beside those that are there.

use std::collections::BTreeMap;

use dunlin_costs::{KvType, ModelDigest, Quality, Row, RowParts, Table};

/// Adds rows to a table. Quality is the model's and not the machine's: what the new rows know of it counts for all rows of the
/// model with such a cache, and what they do not know is kept from those.
pub fn keep(table: &mut Table, rows: &[Row]) {
    let mut known: BTreeMap<(ModelDigest, KvType), Quality> = BTreeMap::new();
    let of = |row: &Row| (row.key.model, row.key.kv_type.clone());
    for row in rows {
        let quality = known.entry(of(row)).or_default();
        *quality = std::mem::take(quality).or(&row.quality);
    }
    for row in table.rows() {
        if let Some(quality) = known.get_mut(&of(row)) {
            *quality = std::mem::take(quality).or(&row.quality);
        }
    }
    table.extend(rows.iter().cloned());
    let judged: Vec<Row> = table
        .rows()
        .filter_map(|row| {
            let quality = known.get(&of(row)).filter(|quality| **quality != row.quality)?;
            let parts = RowParts { quality: quality.clone(), ..RowParts::from(row.clone()) };
            Row::try_from(parts).ok()
        })
        .collect();
    table.extend(judged);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"
[[row]]
key = { class = "generic", model = "emulated:demo", mode = "default", thermal = "cool", prefill_threads = 2, decode_threads = 2, backend = "cpu", quantisation = "Q8_0", kv_type = "f16", context = 4096, firmware = "", runtime = "0.1.0" }
provenance = { origin = "measured", source = "here" }
prefill = { p0_ms = 1, p1_ms_per_token = 1, measured = [16, 512] }
decode = { batch_ms = [10] }
"#;

    fn row(change: impl Fn(&mut RowParts)) -> Row {
        let mut parts = RowParts::from(Table::parse(ROW).unwrap().rows().next().unwrap().clone());
        change(&mut parts);
        Row::try_from(parts).unwrap()
    }

    #[test]
    fn quality_is_of_the_model_and_survives_a_profile_without_it() {
        let judged = |accuracy, threads| {
            row(|parts| {
                parts.key.decode_threads = threads;
                parts.quality.accuracy = accuracy;
                parts.quality.accuracy_of = accuracy.map(|_| "set".to_owned());
            })
        };
        let other = row(|parts| parts.key.model = ModelDigest::emulated("other"));
        let mut table: Table = [judged(None, 1), other].into_iter().collect();
        let told = |table: &Table| table.rows().map(|row| row.quality.accuracy).collect::<Vec<_>>();
        keep(&mut table, &[judged(Some(0.5), 2)]);
        assert_eq!(told(&table).iter().flatten().count(), 2, "{table:?}");
        keep(&mut table, &[judged(None, 2), judged(None, 3)]);
        assert_eq!(told(&table).iter().flatten().count(), 3, "{table:?}");
        keep(&mut table, &[judged(Some(0.7), 3)]);
        assert_eq!(told(&table).iter().filter(|accuracy| **accuracy == Some(0.7)).count(), 3);
        assert_eq!(
            told(&table).iter().filter(|accuracy| accuracy.is_none()).count(),
            1,
            "of the other model"
        );
    }
}
