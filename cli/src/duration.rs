//! Spans of time, as people write and read them.

use std::time::Duration;

/// `500ms`, `30s`, `1.5m`, `2h`; a number alone is seconds.
///
/// # Errors
/// Says how it is written.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{unit:?} is no unit; there are ms, s, m and h")),
    };
    let number: f64 = number.trim().parse().map_err(|_| "write it as in 30s, 500ms or 2m".to_owned())?;
    let duration =
        Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("it must be longer than nothing".into()) } else { Ok(duration) }
}

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
