//! Schemas that would like to take long.

use std::time::Duration;

use dunlin_bench_stand::{Figure, Programs, Stand, block_on};
use serde_json::{Map, Value, json};

use crate::http::{address, asked, timed};

const TRIES: usize = 5;

/// All of them through to a real engine, which has the last word.
pub(super) fn hostile(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::with_http(programs)?;
    stand.push_tiny()?;
    stand.join("ada", true, &["--threads", "1", "--no-probe"])?;
    block_on(async {
        stand.resident_on("tiny", 1).await?;
        let address = address(&stand)?;
        let warm = timed(&address, &asked("hello", 1, false)).await?;
        anyhow::ensure!(warm.0 == 200, "{}", warm.2);
        let (mut worst, mut accepted) = ((Duration::ZERO, ""), Vec::new());
        for (name, schema) in schemas() {
            let mut body = asked("hello", 1, false);
            let format = json!({ "name": "hostile", "schema": schema, "strict": true });
            body["response_format"] = json!({ "type": "json_schema", "json_schema": format });
            let (mut slowest, mut slowest_taken) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..TRIES {
                let (status, took, said) = timed(&address, &body).await?;
                match status {
                    400 | 413 => slowest = slowest.max(took),
                    200 => slowest_taken = slowest_taken.max(took),
                    _ => anyhow::bail!("{name} was answered with {status}: {said}"),
                }
            }
            if slowest_taken > Duration::ZERO {
                accepted.push(format!("{name} {:.0} ms", slowest_taken.as_secs_f64() * 1e3));
            }
            if slowest > worst.0 {
                worst = (slowest, name);
            }
        }
        let count = schemas().len();
        let mut note = format!("the slowest of {count} kinds, {TRIES} times each: {}", worst.1);
        if !accepted.is_empty() {
            note += &format!("; within all bounds, and answered: {}", accepted.join(", "));
        }
        Ok(vec![
            Figure::at_most("schemas: a hostile one is refused", 100.0, worst.0.as_secs_f64() * 1e3, "ms")
                .note(note),
        ])
    })
}

/// Those beyond the bounds of the door, and those that keep to each of them and are large together.
fn schemas() -> Vec<(&'static str, Value)> {
    let nested = |depth: usize, around: fn(Value) -> Value| {
        (0..depth).fold(json!({ "type": "string" }), |inner, _| around(inner))
    };
    let properties = |count: usize, of: fn(usize) -> Value| -> Map<String, Value> {
        (0..count).map(|number| (format!("p{number}"), of(number))).collect()
    };
    vec![
        ("deep objects", nested(60, |inner| json!({ "properties": { "a": inner } }))),
        ("deep lists", nested(1000, |inner| json!({ "items": inner }))),
        (
            "many properties",
            json!({ "type": "object", "properties": properties(20_000, |_| json!({ "type": "string" })) }),
        ),
        ("a large enum", json!({ "enum": (0..100_000).collect::<Vec<u32>>() })),
        (
            "a pattern that repeats",
            json!({ "type": "string", "pattern": "((((a{1,99}){1,99}){1,99}){1,99}){1,99}" }),
        ),
        ("a long pattern", json!({ "type": "string", "pattern": "(a|b)".repeat(10_000) })),
        ("stars of stars", json!({ "type": "string", "pattern": "((((a*)*)*)*)*b" })),
        ("a pattern that looks back", json!({ "type": "string", "pattern": "(a)\\1(?=b)" })),
        ("a repetition at its bound", json!({ "type": "string", "pattern": "(a|aa){1,99}(b|bb){1,99}" })),
        ("a long list", json!({ "type": "array", "minItems": 1_000_000_000 })),
        (
            "lists at their bound",
            json!({ "type": "array", "minItems": 99_999, "maxItems": 100_000, "items": { "type": "integer" } }),
        ),
        ("elsewhere", json!({ "$ref": "file:///etc/passwd" })),
        ("itself", json!({ "$ref": "#" })),
        (
            "round and round",
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        ),
        (
            "choices of choices",
            nested(
                12,
                |inner| json!({ "anyOf": [inner.clone(), { "type": "array", "items": { "type": "number" } }] }),
            ),
        ),
        (
            "all of all",
            json!({ "allOf": (0..40).map(|number| json!({ "properties": { format!("p{number}"): { "type": ["string", "null"] } } })).collect::<Vec<_>>() }),
        ),
        (
            "many patterns",
            json!({ "type": "object", "properties": properties(60, |number| json!({ "type": "string", "pattern": format!("^[a-z]{{1,90}}{number}$") })) }),
        ),
    ]
}
