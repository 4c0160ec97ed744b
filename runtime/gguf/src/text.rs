use std::fmt;

use serde::Serialize;

/// Characters of a foreign name that a sentence repeats.
const MAX_SHOWN: usize = 72;

/// A name out of a file, cut and escaped for a sentence: what a file says never reaches a terminal raw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quoted(String);

impl Quoted {
    pub(crate) fn new(name: &str) -> Self {
        let mut shown: String = name.chars().take(MAX_SHOWN).collect();
        if shown.len() < name.len() {
            shown.push('…');
        }
        Self(shown)
    }

    pub(crate) fn from_bytes(name: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(&name[..name.len().min(4 * MAX_SHOWN)]))
    }
}

impl From<&str> for Quoted {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_debug())
    }
}

/// A number with its thousands set apart: `91,234,112`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let lead = digits.len() % 3;
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && index % 3 == lead {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A size for a person: `812 MB`, `1.24 GB`; decimal, as disks and model cards count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
        for (unit, name) in UNITS {
            if self.0 >= unit {
                let value = self.0 as f64 / unit as f64;
                let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
                return write!(f, "{value:.digits$} {name}");
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// The dimensions of a tensor as llama.cpp writes them: `[896, 151936]`, fastest first.
pub(crate) fn dimensions(dims: &[u64]) -> String {
    let shown: Vec<String> = dims.iter().map(u64::to_string).collect();
    format!("[{}]", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_in_threes() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (91_234_112, "91,234,112")] {
            assert_eq!(Grouped(number).to_string(), shown);
        }
    }

    #[test]
    fn sizes_read_as_on_a_model_card() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1_500, "1.50 kB"),
            (81_250_000, "81.2 MB"),
            (812_000_000, "812 MB"),
            (1_240_000_000, "1.24 GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn names_are_cut_and_escaped() {
        assert_eq!(Quoted::new("a\u{1b}[31m\0").to_string(), r#""a\u{1b}[31m\0""#);
        assert_eq!(Quoted::new(&"x".repeat(1_000)).to_string().chars().count(), MAX_SHOWN + 3);
    }
}
