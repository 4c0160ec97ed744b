//! A line for each request, as CSV.

use std::time::Duration;

use crate::{report::ms, sample::Sample};

const COLUMNS: [&str; 18] = [
    "number",
    "intended_ms",
    "sent_ms",
    "answered_ms",
    "first_token_ms",
    "end_ms",
    "ttft_ms",
    "tpot_ms",
    "whole_ms",
    "prompt_tokens",
    "output_tokens",
    "pieces",
    "finish",
    "node",
    "emulated",
    "marginal_joules",
    "total_joules",
    "fault",
];

/// In the order of their numbers; times are milliseconds since the load began.
///
/// # Errors
/// None in practice: it is written into memory.
pub fn csv(samples: &[Sample]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    let mut samples: Vec<&Sample> = samples.iter().collect();
    samples.sort_by_key(|sample| sample.number);
    for sample in samples {
        writer.write_record(row(sample))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn row(sample: &Sample) -> [String; 18] {
    let time = |at: Duration| format!("{:.3}", ms(at));
    let maybe = |at: Option<Duration>| at.map(time).unwrap_or_default();
    let joules = sample.joules.as_ref();
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        sample.number.to_string(),
        time(sample.intended),
        time(sample.sent),
        maybe(sample.answered),
        maybe(sample.pieces.first().copied()),
        time(sample.end),
        maybe(sample.ttft()),
        maybe(sample.tpot()),
        time(sample.whole()),
        sample.usage.map(|usage| usage.prompt_tokens.to_string()).unwrap_or_default(),
        sample.output_tokens().to_string(),
        sample.piece_count.to_string(),
        sample.finish.clone().unwrap_or_default(),
        sample.node.clone().unwrap_or_default(),
        sample.is_emulated.to_string(),
        number(joules.and_then(|joules| joules.marginal)),
        number(joules.and_then(|joules| joules.total)),
        sample.fault.as_ref().map(ToString::to_string).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn each_request_is_a_line() {
        let ms = Duration::from_millis;
        let mut good = Sample::new(1, ms(10), ms(11));
        (good.pieces, good.piece_count, good.end) = (vec![ms(30), ms(40)], 2, ms(45));
        let mut bad = Sample::new(0, ms(0), ms(0));
        bad.fault = Some(Fault::Told("a, \"b\"".to_owned()));
        let text = String::from_utf8(csv(&[good, bad]).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "0,0.000,0.000,,,0.000,,,0.000,,0,0,,,false,,,\"the server broke off: a, \"\"b\"\"\"",
                "1,10.000,11.000,,30.000,45.000,20.000,15.000,35.000,,2,2,,,false,,,",
            ]
        );
    }
}
