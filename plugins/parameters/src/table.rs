//! The parameters of a pipeline, for it and for those who call it.

use dunlin_guest::Error;

/// Changes of one letter by which a name may differ from the one that is suggested for it.
const MAX_TYPOS: usize = 2;

/// One parameter: what it is called, what holds where it is not given, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub fallback: Fallback,
    pub help: &'static str,
}

/// What holds where a parameter is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    Required,
    Nothing,
    /// As if this had been given.
    Value(&'static str),
}

pub const MODEL: Parameter =
    Parameter::optional("model", "alias of the model; needed where several are granted");
pub const LINES: Parameter =
    Parameter::with_default("lines", "false", "take each line of the input for itself");
pub const JSON: Parameter =
    Parameter::with_default("json", "false", "answer with JSON, and with all there is to tell");

impl Parameter {
    pub const fn required(name: &'static str, help: &'static str) -> Self {
        Self { name, fallback: Fallback::Required, help }
    }

    pub const fn optional(name: &'static str, help: &'static str) -> Self {
        Self { name, fallback: Fallback::Nothing, help }
    }

    pub const fn with_default(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, fallback: Fallback::Value(value), help }
    }
}

/// Refuses a name that is not in the table.
pub(crate) fn check_name(name: &str, table: &[Parameter]) -> Result<(), Error> {
    if table.iter().any(|parameter| parameter.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = table.iter().map(|parameter| parameter.name).collect();
    let meant = nearest(name, &names).map(|meant| format!(" did you mean {meant:?}?")).unwrap_or_default();
    Err(Error::invalid(format!("there is no parameter {name:?};{meant} there are {}", names.join(", "))))
}

/// The one that was most likely meant, if any is near enough.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let (typos, nearest) = names.iter().map(|known| (distance(name, known), *known)).min()?;
    (typos <= MAX_TYPOS && typos < name.chars().count()).then_some(nearest)
}

/// Letters to insert, delete, replace or swap with their neighbour, to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let letters = |name: &str| name.to_lowercase().replace('-', "_").chars().collect::<Vec<_>>();
    let (from, to) = (letters(from), letters(to));
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let above = &rows[i - 1];
            let mut least = (row[j - 1] + 1).min(above[j] + 1);
            least = least.min(above[j - 1] + usize::from(from[i - 1] != to[j - 1]));
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, said: &str) {
        let table = [MODEL, LINES, Parameter::with_default("max_tokens", "256", "")];
        match check_name(name, &table) {
            Err(Error::InvalidArgument(reason)) => assert_eq!(reason, said),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_one() {
        check(
            "max_tokns",
            r#"there is no parameter "max_tokns"; did you mean "max_tokens"? there are model, lines, max_tokens"#,
        );
        check(
            "max-tokens",
            r#"there is no parameter "max-tokens"; did you mean "max_tokens"? there are model, lines, max_tokens"#,
        );
        check(
            "lnies",
            r#"there is no parameter "lnies"; did you mean "lines"? there are model, lines, max_tokens"#,
        );
        check("temperature", r#"there is no parameter "temperature"; there are model, lines, max_tokens"#);
        check("n", r#"there is no parameter "n"; there are model, lines, max_tokens"#);
    }

    #[test]
    fn typos_are_counted() {
        for (from, to, typos) in
            [("", "abc", 3), ("abc", "abc", 0), ("acb", "abc", 1), ("xabc", "ab", 2), ("TOP-P", "top_p", 0)]
        {
            assert_eq!(distance(from, to), typos, "{from} {to}");
        }
    }
}
