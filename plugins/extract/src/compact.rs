//! JSON on one line, digit for digit as it was.

use serde::de::IgnoredAny;

/// Takes the white space out from between the values.
///
/// # Errors
/// If it is not one JSON value.
pub(crate) fn compact(json: &str) -> Result<String, String> {
    serde_json::from_str::<IgnoredAny>(json).map_err(|error| error.to_string())?;
    let mut compact = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_string {
            in_string = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        compact.push(c);
    }
    Ok(compact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_values_stay() {
        let spread = "{ \"a b\" :\n [1.0, 12345678901234567890, \"x \\\" y\\\\\" ] ,\t\"n\": null }";
        assert_eq!(compact(spread).unwrap(), r#"{"a b":[1.0,12345678901234567890,"x \" y\\"],"n":null}"#);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        assert_eq!(compact(r#"{"a": "#).unwrap_err(), "EOF while parsing a value at line 1 column 6");
        assert_eq!(compact("{} {}").unwrap_err(), "trailing characters at line 1 column 4");
    }
}
