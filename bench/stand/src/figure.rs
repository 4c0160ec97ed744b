//! A figure: what was asked, what was measured.

use serde::Serialize;

/// One line of the result.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub what: String,
    pub asked: String,
    pub measured: String,
    /// Absent where nothing is asked.
    pub holds: Option<bool>,
    /// What has to be known to read it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Figure {
    /// Something that is to be at most so much, in the unit of both.
    pub fn at_most(what: impl Into<String>, limit: f64, value: f64, unit: &str) -> Self {
        let text = |value: f64| format!("{} {unit}", rounded(value));
        Self {
            what: what.into(),
            asked: format!("<= {}", text(limit)),
            measured: text(value),
            holds: Some(value <= limit),
            note: String::new(),
        }
    }

    pub fn at_least(what: impl Into<String>, limit: f64, value: f64, unit: &str) -> Self {
        let text = |value: f64| format!("{} {unit}", rounded(value));
        Self {
            what: what.into(),
            asked: format!(">= {}", text(limit)),
            measured: text(value),
            holds: Some(value >= limit),
            note: String::new(),
        }
    }

    /// Something that is only to be known.
    pub fn plain(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            asked: String::new(),
            measured: measured.into(),
            holds: None,
            note: String::new(),
        }
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub fn print(&self) {
        let mark = match self.holds {
            Some(true) => "ok  ",
            Some(false) => "MISS",
            None => "    ",
        };
        println!("{mark}  {:<62} {:>14}  {:>14}", self.what, self.asked, self.measured);
        if !self.note.is_empty() {
            println!("      {}", self.note);
        }
    }
}

/// Three digits that matter.
pub fn rounded(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Of values that are sorted here.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_whether_they_hold() {
        let fits = Figure::at_most("a", 50.0, 49.96, "us");
        assert_eq!(
            (fits.holds, fits.asked.as_str(), fits.measured.as_str()),
            (Some(true), "<= 50.0 us", "50.0 us")
        );
        assert_eq!(Figure::at_least("b", 5000.0, 58_123.4, "/s").measured, "58123 /s");
        assert_eq!(Figure::at_least("b", 5000.0, 4999.0, "/s").holds, Some(false));
        let mut values = vec![3.0, 1.0, 2.0];
        assert_eq!((quantile(&mut values, 0.5), quantile(&mut values, 0.99)), (2.0, 3.0));
    }
}
