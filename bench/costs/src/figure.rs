//! A figure: what was asked, what was measured.

use serde::Serialize;

/// One line of the result.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) asked: String,
    pub(crate) measured: String,
    pub(crate) holds: bool,
    /// What has to be known to read it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

impl Figure {
    /// Something that is to be at most so much, in the unit of both.
    pub(crate) fn at_most(what: impl Into<String>, limit: f64, value: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            asked: format!("<= {limit:.1} {unit}"),
            measured: format!("{value:.1} {unit}"),
            holds: value <= limit,
            note: String::new(),
        }
    }

    /// Something that is to be so much at least, in the unit of both.
    pub(crate) fn at_least(what: impl Into<String>, limit: f64, value: f64, unit: &str) -> Self {
        let figure = Self::at_most(what, limit, value, unit);
        Self { asked: format!(">= {limit:.1} {unit}"), holds: value >= limit, ..figure }
    }

    pub(crate) fn within(what: impl Into<String>, [low, high]: [f64; 2], value: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            asked: format!("{low:.0} to {high:.0} {unit}"),
            measured: format!("{value:.1} {unit}"),
            holds: (low..=high).contains(&value),
            note: String::new(),
        }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn print(&self) {
        let mark = if self.holds { "ok  " } else { "MISS" };
        println!("{mark}  {:<56} {:>14}  {:>12}", self.what, self.asked, self.measured);
        if !self.note.is_empty() {
            println!("      {}", self.note);
        }
    }
}
