//! A cost table in CSV: a line for each row, a column for each of its parts, units in the names.
//!
//! An assumed figure is written `12.4 (7.8..16.9)`. What it rests on is only in TOML and JSON.

use dunlin_costs::{Row, Table};
use serde_json::{Map, Value, json};
use thiserror::Error;

/// What a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Figure,
}

/// Column, where it is in a row, and what it is. A number in a path is a place in a list.
const COLUMNS: [(&str, &str, Kind); 69] = [
    ("name", "name", Kind::Text),
    ("class", "key/class", Kind::Text),
    ("model", "key/model", Kind::Text),
    ("mode", "key/mode", Kind::Text),
    ("thermal", "key/thermal", Kind::Text),
    ("prefill_threads", "key/prefill_threads", Kind::Integer),
    ("decode_threads", "key/decode_threads", Kind::Integer),
    ("backend", "key/backend", Kind::Text),
    ("quantisation", "key/quantisation", Kind::Text),
    ("kv_type", "key/kv_type", Kind::Text),
    ("context_tokens", "key/context", Kind::Integer),
    ("firmware", "key/firmware", Kind::Text),
    ("runtime", "key/runtime", Kind::Text),
    ("origin", "provenance/origin", Kind::Text),
    ("method", "provenance/method", Kind::Text),
    ("grade", "provenance/grade", Kind::Text),
    ("source", "provenance/source", Kind::Text),
    ("date", "provenance/date", Kind::Text),
    ("load_cold_ms", "load/cold_ms", Kind::Figure),
    ("load_warm_ms", "load/warm_ms", Kind::Figure),
    ("load_cold_joules", "load/cold_joules", Kind::Figure),
    ("load_warm_joules", "load/warm_joules", Kind::Figure),
    ("weights_bytes", "memory/weights_bytes", Kind::Integer),
    ("kv_bytes_per_token", "memory/kv_bytes_per_token", Kind::Integer),
    ("load_peak_bytes", "memory/load_peak_bytes", Kind::Integer),
    ("prefill_peak_bytes", "memory/prefill_peak_bytes", Kind::Integer),
    ("decode_peak_bytes", "memory/decode_peak_bytes", Kind::Integer),
    ("p0_ms", "prefill/p0_ms", Kind::Figure),
    ("p1_ms_per_token", "prefill/p1_ms_per_token", Kind::Figure),
    ("p2_ms_per_token2", "prefill/p2_ms_per_token2", Kind::Figure),
    ("prompt_tokens_from", "prefill/measured/0", Kind::Integer),
    ("prompt_tokens_to", "prefill/measured/1", Kind::Integer),
    ("step_1_ms", "decode/batch_ms/0", Kind::Figure),
    ("step_2_ms", "decode/batch_ms/1", Kind::Figure),
    ("step_3_ms", "decode/between_ms/0", Kind::Figure),
    ("step_4_ms", "decode/batch_ms/2", Kind::Figure),
    ("step_6_ms", "decode/between_ms/1", Kind::Figure),
    ("step_8_ms", "decode/batch_ms/3", Kind::Figure),
    ("step_12_ms", "decode/between_ms/2", Kind::Figure),
    ("step_16_ms", "decode/batch_ms/4", Kind::Figure),
    ("step_24_ms", "decode/between_ms/3", Kind::Figure),
    ("step_32_ms", "decode/batch_ms/5", Kind::Figure),
    ("step_48_ms", "decode/between_ms/4", Kind::Figure),
    ("step_64_ms", "decode/batch_ms/6", Kind::Figure),
    ("step_96_ms", "decode/between_ms/5", Kind::Figure),
    ("step_128_ms", "decode/batch_ms/7", Kind::Figure),
    ("depth_ms_per_token", "decode/depth_ms_per_token", Kind::Figure),
    ("depth_shared", "decode/depth_shared", Kind::Figure),
    ("contention", "decode/contention", Kind::Figure),
    ("depth_tokens_to", "decode/measured_depth", Kind::Integer),
    ("power_scope", "power/scope", Kind::Text),
    ("idle_w", "power/idle_w", Kind::Figure),
    ("load_w", "power/load_w", Kind::Figure),
    ("prefill_w", "power/prefill_w", Kind::Figure),
    ("decode_w", "power/decode_w", Kind::Figure),
    ("correction", "power/correction/name", Kind::Text),
    ("correction_factor", "power/correction/factor", Kind::Figure),
    ("correction_offset_w", "power/correction/offset_w", Kind::Figure),
    ("perplexity", "quality/perplexity", Kind::Number),
    ("perplexity_of", "quality/perplexity_of", Kind::Text),
    ("accuracy", "quality/accuracy", Kind::Number),
    ("accuracy_of", "quality/accuracy_of", Kind::Text),
    ("prefill_mape_pct", "fit/prefill_mape_pct", Kind::Number),
    ("decode_mape_pct", "fit/decode_mape_pct", Kind::Number),
    ("cv_pct", "fit/cv_pct", Kind::Number),
    ("prefill_cv_pct", "fit/prefill_cv_pct", Kind::Number),
    ("decode_cv_pct", "fit/decode_cv_pct", Kind::Number),
    ("disturbed", "fit/disturbed", Kind::Number),
    ("residual_q90", "fit/residual_q90", Kind::Number),
];

/// Columns without which there is no row.
const NEEDED: [&str; 7] =
    ["class", "model", "mode", "prefill_threads", "decode_threads", "p1_ms_per_token", "step_1_ms"];
/// Watts that no board of a drawer draws: then they are milliwatts.
const MOST_WATTS: f64 = 1000.0;

/// Why some text is no table.
#[derive(Debug, Error)]
pub enum SheetError {
    #[error("{0}")]
    Csv(csv::Error),
    #[error("{0}")]
    Column(String),
    #[error("the column {0:?} is missing")]
    Missing(&'static str),
    #[error("line {line}, {column}: {problem}")]
    Cell { line: u64, column: &'static str, problem: String },
    #[error("line {line}: {problem}")]
    Row { line: u64, problem: String },
}

/// A table in CSV.
#[derive(Debug)]
pub struct Sheet;

impl Sheet {
    /// # Errors
    /// [`SheetError`] with line and column.
    pub fn parse(text: &str) -> Result<Table, SheetError> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns = columns(reader.headers().map_err(SheetError::Csv)?)?;
        let mut table = Table::default();
        for record in reader.records() {
            let record = record.map_err(SheetError::Csv)?;
            let line = record.position().map_or(0, csv::Position::line);
            drop(table.insert(row(&record, &columns, line)?));
        }
        Ok(table)
    }

    pub fn write(table: &Table) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut ok = writer.write_record(COLUMNS.map(|(name, ..)| name)).is_ok();
        for row in table.rows() {
            let value = serde_json::to_value(row).unwrap_or_default();
            ok &= writer.write_record(COLUMNS.map(|(_, path, _)| cell(at(&value, path)))).is_ok();
        }
        debug_assert!(ok, "memory takes all that is written");
        String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
    }
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('/').fold(value, |value, part| match part.parse::<usize>() {
        Ok(index) => value.get(index).unwrap_or(&Value::Null),
        Err(_) => value.get(part).unwrap_or(&Value::Null),
    })
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(figure) => match (figure.get("low"), figure.get("high")) {
            (Some(low), Some(high)) => format!("{} ({low}..{high})", figure["nominal"]),
            _ => figure["nominal"].to_string(),
        },
        other => other.to_string(),
    }
}

fn columns(headers: &csv::StringRecord) -> Result<Vec<usize>, SheetError> {
    let known = COLUMNS.map(|(name, ..)| name);
    let found = headers.iter().map(|header| {
        let header = header.trim().trim_start_matches('\u{feff}');
        let place = known.iter().position(|name| *name == header);
        place.ok_or_else(|| SheetError::Column(misnamed(header, &known)))
    });
    let found = found.collect::<Result<Vec<_>, _>>()?;
    let missing = NEEDED.into_iter().find(|needed| !found.iter().any(|at| known[*at] == *needed));
    missing.map_or(Ok(found), |missing| Err(SheetError::Missing(missing)))
}

/// A name that differs from a known one in its unit only is one of another unit.
fn misnamed(header: &str, known: &[&str]) -> String {
    const UNITS: [&str; 10] = ["_s", "_ms", "_us", "_ns", "_mw", "_w", "_kw", "_mj", "_j", "_joules"];
    let stem = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let unit = UNITS.iter().filter(|unit| lower.ends_with(*unit)).max_by_key(|unit| unit.len());
        unit.map(|unit| lower[..lower.len() - unit.len()].to_owned())
    };
    let other = known.iter().find(|name| stem(name).is_some() && stem(name) == stem(header));
    match other {
        Some(name) => format!("the column {header:?} is of another unit: tables have {name:?}"),
        None => dunlin_costs::document::unknown("column", header, known),
    }
}

fn row(record: &csv::StringRecord, columns: &[usize], line: u64) -> Result<Row, SheetError> {
    let mut row = defaults();
    for (text, &place) in record.iter().zip(columns) {
        let (column, path, kind) = COLUMNS[place];
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let value = value(text, kind).map_err(|problem| SheetError::Cell { line, column, problem })?;
        if column.ends_with("_w") && figure_of(&value) > MOST_WATTS {
            let problem = format!("{text} W is more than any board draws: are these milliwatts?");
            return Err(SheetError::Cell { line, column, problem });
        }
        put(&mut row, path, value);
    }
    serde_json::from_value(row).map_err(|error| SheetError::Row { line, problem: error.to_string() })
}

fn figure_of(value: &Value) -> f64 {
    value.get("nominal").unwrap_or(value).as_f64().unwrap_or(0.0)
}

/// What a short table need not say.
fn defaults() -> Value {
    json!({
        "name": "",
        "key": {
            "thermal": "cool", "backend": "cpu", "quantisation": "", "kv_type": "f16", "context": 4096,
            "firmware": "any", "runtime": "any",
        },
        "provenance": { "origin": "imported", "source": "a table in CSV" },
        "prefill": { "p0_ms": 0.0, "measured": [0, 0] },
        "decode": { "batch_ms": [], "between_ms": [] },
    })
}

fn value(text: &str, kind: Kind) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(text.into()),
        Kind::Integer => {
            text.parse::<u64>().map(Value::from).map_err(|_| format!("{text:?} is no whole number"))
        }
        Kind::Number => Ok(json!(number(text)?)),
        Kind::Figure => figure(text),
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if !value.is_finite() => Err(format!("{text} is no number that can be measured")),
        Ok(value) if value < 0.0 => Err(format!("{text} is less than nothing")),
        Ok(value) => Ok(value),
        Err(_) if text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            Err(format!("{text:?} has a unit of its own: the unit is in the column's name"))
        }
        Err(_) => Err(format!("{text:?} is no number, nor a range as in 12.4 (7.8..16.9)")),
    }
}

fn figure(text: &str) -> Result<Value, String> {
    let Some((nominal, range)) = text.split_once('(') else { return Ok(json!(number(text)?)) };
    let ends = range.trim_end().strip_suffix(')').and_then(|range| range.split_once(".."));
    let (low, high) = ends.ok_or_else(|| format!("{text:?} is no range as in 12.4 (7.8..16.9)"))?;
    let (nominal, low, high) = (number(nominal.trim())?, number(low.trim())?, number(high.trim())?);
    if !(low <= nominal && nominal <= high) {
        return Err(format!("{text:?} is no range: the value lies between its ends"));
    }
    Ok(json!({ "nominal": nominal, "low": low, "high": high }))
}

fn put(row: &mut Value, path: &str, value: Value) {
    let mut place = row;
    for part in path.split('/') {
        place = match part.parse::<usize>() {
            Ok(index) => {
                let Value::Array(list) = place else { return };
                // A column that is left empty ends the list: what comes after it has no place.
                if index > list.len() {
                    return;
                }
                if index == list.len() {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            Err(_) => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                &mut place[part]
            }
        };
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::reference;

    #[test]
    fn tables_survive_a_sheet_but_for_the_sources_of_ranges() {
        let table = reference().unwrap();
        let text = Sheet::write(&table);
        let read = Sheet::parse(&text).unwrap();
        assert_eq!(Sheet::write(&read), text);
        assert_eq!(read.len(), table.len());
        for (a, b) in read.rows().zip(table.rows()) {
            assert_eq!((&a.key, &a.provenance, a.steps()), (&b.key, &b.provenance, b.steps()));
        }
    }

    #[test]
    fn steps_between_powers_of_two_have_columns() {
        let columns = "class,model,mode,prefill_threads,decode_threads,p1_ms_per_token,step_1_ms,step_2_ms,step_3_ms,step_4_ms";
        let digest = format!("sha256:{}", "0".repeat(64));
        let table = Sheet::parse(&format!("{columns}\nb,{digest},m,1,1,2,5,12,19,17\n")).unwrap();
        let row = table.rows().next().unwrap();
        assert_eq!(row.decode.between_ms[0].nominal(), 19.0);
        let again = Sheet::parse(&Sheet::write(&table)).unwrap();
        assert_eq!(again.rows().next().unwrap().decode, row.decode);
    }

    fn check(header: &str, line: &str, expected: &Expect) {
        let error = Sheet::parse(&format!("{header}\n{line}\n")).unwrap_err();
        expected.assert_eq(&error.to_string());
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        const HEADER: &str =
            "class,model,mode,prefill_threads,decode_threads,p1_ms_per_token,step_1_ms,decode_w";
        const LINE: &str = "pi5-8g,emulated:demo,ondemand,4,2,12.4,88,5";
        assert!(Sheet::parse(&format!("{HEADER}\n{LINE}\n")).is_err(), "watts need a scope");
        let without = HEADER.trim_end_matches(",decode_w");
        assert_eq!(Sheet::parse(&format!("{without}\n{}\n", LINE.trim_end_matches(",5"))).unwrap().len(), 1);
        check(
            &HEADER.replace("step_1_ms", "step_1_s"),
            LINE,
            &expect![[r#"the column "step_1_s" is of another unit: tables have "step_1_ms""#]],
        );
        check(
            &HEADER.replace("decode_w", "decode_mw"),
            LINE,
            &expect![[r#"the column "decode_mw" is of another unit: tables have "decode_w""#]],
        );
        check(
            &HEADER.replace("p1_ms_per_token", "p1_ms_per_tok"),
            LINE,
            &expect![[r#"there is no column "p1_ms_per_tok"; did you mean "p1_ms_per_token"?"#]],
        );
        check(&HEADER.replace("mode,", ""), LINE, &expect![[r#"the column "mode" is missing"#]]);
        check(
            HEADER,
            &LINE.replace("12.4", "NaN"),
            &expect!["line 2, p1_ms_per_token: NaN is no number that can be measured"],
        );
        check(HEADER, &LINE.replace("88,5", "88,-5"), &expect!["line 2, decode_w: -5 is less than nothing"]);
        check(
            HEADER,
            &LINE.replace("88,5", "88,5300"),
            &expect!["line 2, decode_w: 5300 W is more than any board draws: are these milliwatts?"],
        );
        check(
            HEADER,
            &LINE.replace("88", "88ms"),
            &expect![[
                r#"line 2, step_1_ms: "88ms" has a unit of its own: the unit is in the column's name"#
            ]],
        );
        check(
            HEADER,
            &LINE.replace("12.4", "12.4 (13..14)"),
            &expect![[
                r#"line 2, p1_ms_per_token: "12.4 (13..14)" is no range: the value lies between its ends"#
            ]],
        );
        check(
            HEADER,
            &LINE.replace(",4,2,", ",4,two,"),
            &expect![[r#"line 2, decode_threads: "two" is no whole number"#]],
        );
        check(
            without,
            &LINE.replace("emulated:demo", "demo").replace(",5", ""),
            &expect![[
                r#"line 2: "demo" is no model digest: 64 hexadecimal digits, or emulated:NAME for a model of emulated boards"#
            ]],
        );
        check(
            HEADER,
            &LINE[..30],
            &expect![
                "CSV error: record 1 (line: 2, byte: 83): found record with 4 fields, but the previous record has 8 fields"
            ],
        );
    }
}
