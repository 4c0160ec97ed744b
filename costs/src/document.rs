//! TOML that people write: what is wrong with it is said with line, column, and what was probably meant.

use std::fmt;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Two names are taken for the same, misspelt, from this likeness on (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// Why some text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}{problem}", place = Place(*line, *column))]
pub struct DocumentError {
    /// From 1; 0 if the place is not known.
    pub line: usize,
    /// From 1, in characters; 0 if the place is not known.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub problem: String,
}

struct Place(usize, usize);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(0, _) => Ok(()),
            Self(line, column) => write!(f, "line {line}, column {column}: "),
        }
    }
}

impl DocumentError {
    /// At a byte of the text.
    pub fn at(text: &str, byte: usize, problem: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, problem: problem.into() }
    }

    /// Of the whole text.
    pub fn whole(problem: impl Into<String>) -> Self {
        Self { line: 0, column: 0, problem: problem.into() }
    }
}

/// Reads TOML of at most `most` bytes. A type that refuses unknown fields has the nearest known one named.
///
/// # Errors
/// [`DocumentError`], with the place where the parser knows it.
pub fn read<T: DeserializeOwned>(text: &str, most: usize) -> Result<T, DocumentError> {
    if text.len() > most {
        return Err(DocumentError::whole(format!(
            "it has {} bytes, at most {most} are possible",
            text.len()
        )));
    }
    toml::from_str(text).map_err(|error| {
        let problem = explain(error.message());
        match error.span() {
            Some(span) => DocumentError::at(text, span.start, problem),
            None => DocumentError::whole(problem),
        }
    })
}

/// The known name that was probably meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(name, known);
    let near = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(near) >= ALIKE).then_some(near)
}

/// `there is no NAME; did you mean NEAR?`, or what there is.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("there is no {what} {name:?}; did you mean {near:?}?"),
        None if known.is_empty() => format!("there is no {what} {name:?}, nor any other"),
        None => format!("there is no {what} {name:?}; there are {}", known.join(", ")),
    }
}

/// In our words, what serde says.
fn explain(message: &str) -> String {
    for (start, what) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        let Some(rest) = message.strip_prefix(start) else { continue };
        let Some((name, rest)) = rest.split_once('`') else { continue };
        // The known ones are quoted: every second part.
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return unknown(what, name, &known);
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("the key {key:?} is missing");
    }
    match message {
        // Of an enum.
        "wanted string or table" => "expected a name in quotes".to_owned(),
        _ => message.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Board {
        #[expect(dead_code, reason = "only read for its errors")]
        watts: f64,
        #[expect(dead_code, reason = "only read for its errors")]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Small,
        Large,
    }

    fn check(text: &str, expected: &Expect) {
        expected.assert_eq(&read::<Board>(text, 100).unwrap_err().to_string());
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        check(
            "watts = 3\nwats = 4",
            &expect![[r#"line 2, column 1: there is no key "wats"; did you mean "watts"?"#]],
        );
        check(
            "  zebra = 4",
            &expect![[r#"line 1, column 3: there is no key "zebra"; there are watts, kind"#]],
        );
        check(
            "watts = 3\nkind = \"larg\"",
            &expect![[r#"line 2, column 8: there is no value "larg"; did you mean "large"?"#]],
        );
        check(
            "# ä\nwatts = \"3\"",
            &expect![[r#"line 2, column 9: invalid type: string "3", expected f64"#]],
        );
        check(
            "watts = ",
            &expect!["line 1, column 9: string values must be quoted, expected literal string"],
        );
        check("kind = \"small\"", &expect![[r#"line 1, column 1: the key "watts" is missing"#]]);
        check(&"#".repeat(101), &expect!["it has 101 bytes, at most 100 are possible"]);
    }
}
