//! Numbers that parameters can be.

use std::str::FromStr;

/// A number, and how a person writes it.
pub trait Number: FromStr + PartialOrd {
    fn written(&self) -> String;
}

impl Number for u32 {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Number for u64 {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Number for f32 {
    /// To three decimals; std's own way to write floats would be a tenth of a small component.
    fn written(&self) -> String {
        let thousandths = (self * 1000.0).round() as i64;
        let written = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        written.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_short_as_they_are() {
        for (float, written) in [(0.0_f32, "0"), (0.01, "0.01"), (0.75, "0.75"), (2.0, "2"), (100.0, "100")] {
            assert_eq!(float.written(), written);
        }
    }
}
