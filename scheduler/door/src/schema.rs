//! JSON schemas of strangers: bounded before anything compiles them.

use serde_json::Value;

use crate::{
    error::{Answered, ApiError},
    limits::{MAX_PATTERN, MAX_PATTERNS, MAX_SCHEMA, MAX_SCHEMA_DEPTH},
};

/// Its text.
///
/// # Errors
/// If it is no schema, or too much of one; `param` is the field that it stands in.
pub(crate) fn checked(schema: &Value, param: &str) -> Answered<String> {
    let refuse = |why: String| {
        Err(ApiError::invalid_field(param, format!("Invalid schema for '{param}': {why}"))
            .with_code("invalid_schema"))
    };
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        return refuse("a schema is an object".to_owned());
    }
    let text = schema.to_string();
    if text.len() > MAX_SCHEMA {
        return refuse(format!("it has {} bytes, at most {MAX_SCHEMA} are taken", text.len()));
    }
    let mut patterns = 0;
    match look(schema, 0, &mut patterns) {
        Ok(()) => Ok(text),
        Err(why) => refuse(why),
    }
}

fn look(schema: &Value, depth: usize, patterns: &mut usize) -> Result<(), String> {
    if depth > MAX_SCHEMA_DEPTH {
        return Err(format!("it is nested deeper than {MAX_SCHEMA_DEPTH} levels"));
    }
    match schema {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            match (name.as_str(), value) {
                ("pattern", Value::String(pattern)) => check_pattern(pattern, patterns)?,
                ("patternProperties", Value::Object(by)) => {
                    by.keys().try_for_each(|pattern| check_pattern(pattern, patterns))?;
                }
                ("minLength" | "maxLength" | "minItems" | "maxItems", Value::Number(count))
                    if count.as_f64().is_none_or(|count| !(0.0..=100_000.0).contains(&count)) =>
                {
                    return Err(format!("'{name}' is {count}: it is from 0 to 100000"));
                }
                ("$ref", Value::String(reference)) if !reference.starts_with('#') => {
                    return Err(format!("'$ref' is {reference:?}: only what is within the schema is read"));
                }
                _ => {}
            }
            look(value, depth + 1, patterns)
        }),
        Value::Array(items) => items.iter().try_for_each(|item| look(item, depth + 1, patterns)),
        _ => Ok(()),
    }
}

/// Patterns are matched without going back, but repetitions of repetitions are large.
fn check_pattern(pattern: &str, patterns: &mut usize) -> Result<(), String> {
    *patterns += pattern.len();
    if pattern.len() > MAX_PATTERN || *patterns > MAX_PATTERNS {
        return Err(format!(
            "its patterns are long: one has at most {MAX_PATTERN} bytes, all at most {MAX_PATTERNS}"
        ));
    }
    // What each brace says, multiplied over all of them: an upper bound of how often something is repeated.
    let counts = pattern.split('{').skip(1).filter_map(|rest| {
        let inside = rest.split('}').next().unwrap_or_default();
        inside.split(',').filter_map(|count| count.trim().parse::<u64>().ok()).max()
    });
    let repeated = counts.fold(1_u64, |product, count| product.saturating_mul(count.max(1)));
    if repeated > 10_000 {
        return Err(format!("the pattern {pattern:?} repeats too much"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, why: Option<&str>) {
        let refused = checked(schema, "schema").err();
        let message = refused.as_ref().map(|error| error.message.as_str());
        match (message, why) {
            (None, None) => {}
            (Some(message), Some(why)) => assert!(message.contains(why), "{message}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hostile_schemas_are_refused() {
        check(
            &json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "^[a-z]{1,8}$" } } }),
            None,
        );
        let mut deep = json!({});
        for _ in 0..30 {
            deep = json!({ "items": deep });
        }
        check(&deep, Some("nested deeper"));
        check(&json!({ "enum": ["x".repeat(70_000)] }), Some("bytes"));
        check(&json!({ "pattern": "(a{1,200}){1,200}" }), Some("repeats too much"));
        check(&json!({ "pattern": "a".repeat(600) }), Some("patterns are long"));
        check(&json!({ "$ref": "https://example.org/schema" }), Some("only what is within"));
        check(&json!({ "maxItems": 1e9 }), Some("from 0 to 100000"));
        check(&json!("object"), Some("is an object"));
    }
}
