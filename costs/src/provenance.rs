//! Where a row comes from, and how much it is worth.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The better founded come first: where two rows say something of one key, the first kind wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// On a node of this fleet.
    Measured,
    /// From a published measurement.
    Imported,
    /// Of a board that is only emulated. It never counts in figures of accuracy.
    Emulated,
    /// From a relation between the size of a model and its costs.
    Prior,
    /// A range that somebody declared.
    Assumed,
}

impl Origin {
    /// As it is written in a table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Imported => "imported",
            Self::Emulated => "emulated",
            Self::Prior => "prior",
            Self::Assumed => "assumed",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How figures came about, as far as their origin does not say it. Of one origin, the first are the better founded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// As is usual for the origin.
    #[default]
    Usual,
    /// By a short look at an engine that was just loaded.
    Probe,
    /// Measured on another board of the class.
    Lent,
    /// From the size of the file, by the bandwidth of the class.
    FileSize,
}

impl Method {
    const fn is_usual(&self) -> bool {
        matches!(self, Self::Usual)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::Probe => " (probe)",
            Self::Lent => " (other board)",
            Self::FileSize => " (file size)",
        }
    }
}

/// Of a published measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grade {
    /// Percentiles and power are published.
    A,
    /// Clean token rates.
    B,
    /// Doubtful: throttled, or of an odd build.
    C,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    pub origin: Origin,
    #[serde(default, skip_serializing_if = "Method::is_usual")]
    pub method: Method,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// The node, or the repository and file, or the paper and section.
    pub source: String,
    /// Of the measurement, as in `2026-05-29`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub date: String,
}

impl Provenance {
    /// Origin and method, as in `measured (probe)`.
    pub fn basis(&self) -> String {
        format!("{}{}", self.origin, self.method.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_says_how_it_came_about() {
        let check = |origin, method, expected: &str| {
            let (source, date) = Default::default();
            let provenance = Provenance { origin, method, grade: None, source, date };
            assert_eq!(provenance.basis(), expected);
        };
        check(Origin::Measured, Method::Usual, "measured");
        check(Origin::Measured, Method::Probe, "measured (probe)");
        check(Origin::Prior, Method::Lent, "prior (other board)");
        check(Origin::Assumed, Method::FileSize, "assumed (file size)");
    }
}
