//! Operating points that are worth having: those that no other one beats in everything.

use crate::{Calibration, Prediction, Row, Situation, Work};

/// Requests that rows are compared on: short and long prompts and answers.
pub const TYPICAL: [Work; 4] = [
    Work { prompt_tokens: 128, cached_tokens: 0, output_tokens: 64 },
    Work { prompt_tokens: 128, cached_tokens: 0, output_tokens: 256 },
    Work { prompt_tokens: 512, cached_tokens: 0, output_tokens: 128 },
    Work { prompt_tokens: 2048, cached_tokens: 0, output_tokens: 64 },
];

/// Rows of one model, without those that another one beats: at least as good in time to the first token, in time to
/// the last, and in total joules, on each of `works`, and better in something.
///
/// Joules are total ones here. Marginal ones leave out the idle draw, which is paid longer in a slow mode, and which is
/// only assumed for most boards.
pub fn pareto_front<'a>(rows: impl IntoIterator<Item = &'a Row>, works: &[Work]) -> Vec<&'a Row> {
    let situation = Situation::default();
    let calibration = Calibration::default();
    let on_all = |row: &Row| {
        let costs = works.iter().flat_map(|work| costs(&row.predict(work, &situation, &calibration)));
        costs.collect::<Vec<f64>>()
    };
    let rated: Vec<(&Row, Vec<f64>)> = rows.into_iter().map(|row| (row, on_all(row))).collect();
    let beaten = |of: &[f64]| rated.iter().any(|(_, by)| beats(by, of));
    rated.iter().filter(|(_, costs)| !beaten(costs)).map(|(row, _)| *row).collect()
}

fn costs(prediction: &Prediction) -> [f64; 3] {
    // Nothing is known of the joules: then nothing beats the row, and it beats nothing.
    let joules = prediction.joules.map_or(f64::NAN, |joules| joules.total);
    [prediction.ttft.mean, prediction.completion.mean, joules]
}

fn beats(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}
