//! How long something is, in tokens.

use std::{fmt, str::FromStr};

use fastrand::Rng;

/// Tokens of one prompt or answer.
const MAX: u64 = 10_000_000;

/// A number, or any of a range, each as likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    low: u64,
    high: u64,
}

impl Lengths {
    pub fn draw(self, rng: &mut Rng) -> u64 {
        rng.u64(self.low..=self.high)
    }
}

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (read(low), read(high.trim_start_matches('='))),
            None => (read(text), read(text)),
        };
        match (low, high) {
            (Some(low), Some(high)) if 0 < low && low <= high && high <= MAX => Ok(Self { low, high }),
            _ => Err(format!("write a number of tokens from 1 to {MAX}, or a range as in 128..512")),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}..{}", self.low, self.high)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_numbers_or_ranges() {
        for (text, shown) in [("128", "128"), ("1..9", "1..9"), ("5..=5", "5"), (" 1_000 ", "1000")] {
            assert_eq!(text.parse::<Lengths>().unwrap().to_string(), shown);
        }
        for text in ["", "0", "-1", "9..3", "a..b", "..", "1..", "99999999999"] {
            assert!(text.parse::<Lengths>().is_err(), "{text}");
        }
        let mut rng = Rng::with_seed(1);
        let lengths: Lengths = "3..5".parse().unwrap();
        assert!((0..50).all(|_| (3..=5).contains(&lengths.draw(&mut rng))));
    }
}
