//! Spans of time, as people write and read them.

use std::time::Duration;

pub(crate) use dunlin_host::parse_duration as parse;

/// Three digits and a unit: `840 µs`, `41.2 ms`, `3.20 s`, `2 min 5 s`.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        ..1e-3 => digits(seconds * 1e6, "µs"),
        ..0.9995 => digits(seconds * 1e3, "ms"),
        ..99.95 => digits(seconds, "s"),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

fn digits(value: f64, unit: &str) -> String {
    let places = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.places$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let check = |text: &str, ms: u64| assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        check("30s", 30_000);
        check("500ms", 500);
        check("1.5m", 90_000);
        check("2 h", 7_200_000);
        check("7", 7_000);
        for text in ["", "s", "-3s", "0", "3d", "1e400s", "NaN"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_three_digits() {
        let check = |us: u64, shown: &str| assert_eq!(show(Duration::from_micros(us)), shown);
        check(840, "840 µs");
        check(8_949, "8.95 ms");
        check(41_234, "41.2 ms");
        check(412_345, "412 ms");
        check(3_200_000, "3.20 s");
        check(125_000_000, "2 min 5 s");
    }
}
