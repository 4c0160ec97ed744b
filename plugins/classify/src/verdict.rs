//! What the scores say.

use dunlin_guest::{Error, Scored};
use serde_json::{Map, Value, json};

/// The scores of all labels.
#[derive(Debug)]
pub(crate) struct Verdict<'a> {
    labels: &'a [String],
    /// One per label; in nats, however they were normalized.
    scores: Vec<f32>,
}

impl<'a> Verdict<'a> {
    /// # Errors
    /// If the engine did not score every label with a number.
    pub(crate) fn new(labels: &'a [String], scored: &[Scored]) -> Result<Self, Error> {
        let score = |index: usize| {
            scored.iter().find(|scored| scored.index as usize == index).map(|scored| scored.score)
        };
        let scores: Option<Vec<f32>> =
            (0..labels.len()).map(|index| score(index).filter(|score| !score.is_nan())).collect();
        let scores = scores.ok_or_else(|| Error::Backend("the engine did not score every choice".into()))?;
        Ok(Self { labels, scores })
    }

    /// Of those that fit alike, the first.
    pub(crate) fn label(&self) -> &'a str {
        &self.labels[self.best()]
    }

    pub(crate) fn json(&self, line: Option<usize>) -> String {
        let probabilities = self.probabilities();
        let by_label = |values: &[f32]| {
            self.labels.iter().cloned().zip(values.iter().map(|&value| rounded(value))).collect::<Map<_, _>>()
        };
        let mut json = Map::new();
        if let Some(line) = line {
            json.insert("line".into(), line.into());
        }
        json.insert("label".into(), self.label().into());
        json.insert("margin".into(), rounded(self.margin(&probabilities)));
        json.insert("probabilities".into(), by_label(&probabilities).into());
        json.insert("scores".into(), by_label(&self.scores).into());
        Value::from(json).to_string()
    }

    fn best(&self) -> usize {
        (1..self.scores.len())
            .fold(0, |best, index| if self.scores[index] > self.scores[best] { index } else { best })
    }

    /// The softmax of the scores: their shares among the choices.
    fn probabilities(&self) -> Vec<f32> {
        let best = self.scores[self.best()];
        if best == f32::NEG_INFINITY {
            return vec![1.0 / self.scores.len() as f32; self.scores.len()];
        }
        let shares: Vec<f32> = self.scores.iter().map(|score| (score - best).exp()).collect();
        let sum: f32 = shares.iter().sum();
        shares.into_iter().map(|share| share / sum).collect()
    }

    /// How far the best is before the second.
    fn margin(&self, probabilities: &[f32]) -> f32 {
        let best = self.best();
        let others = probabilities.iter().enumerate().filter(|(index, _)| *index != best);
        probabilities[best] - others.map(|(_, share)| *share).fold(0.0, f32::max)
    }
}

/// To four decimals; what is not finite is null.
fn rounded(value: f32) -> Value {
    json!((f64::from(value) * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scores: &[f32], label: &str, json: &str) {
        let labels = ["ok", "warning", "critical"].map(str::to_owned);
        let scored: Vec<Scored> = (0..)
            .zip(scores)
            .map(|(index, &score)| Scored { index, score, token_logprobs: Vec::new() })
            .collect();
        let verdict = Verdict::new(&labels, &scored).unwrap();
        assert_eq!((verdict.label(), verdict.json(None).as_str()), (label, json));
    }

    #[test]
    fn the_best_score_wins() {
        check(
            &[-3.0, -1.0, -2.0],
            "warning",
            r#"{"label":"warning","margin":0.4205,"probabilities":{"ok":0.09,"warning":0.6652,"critical":0.2447},"scores":{"ok":-3.0,"warning":-1.0,"critical":-2.0}}"#,
        );
    }

    #[test]
    fn of_equals_the_first_wins() {
        check(
            &[-1.0, -1.0, f32::NEG_INFINITY],
            "ok",
            r#"{"label":"ok","margin":0.0,"probabilities":{"ok":0.5,"warning":0.5,"critical":0.0},"scores":{"ok":-1.0,"warning":-1.0,"critical":null}}"#,
        );
    }

    #[test]
    fn scores_far_below_zero_still_have_shares() {
        check(
            &[-900.0, -901.0, -1000.0],
            "ok",
            r#"{"label":"ok","margin":0.4621,"probabilities":{"ok":0.7311,"warning":0.2689,"critical":0.0},"scores":{"ok":-900.0,"warning":-901.0,"critical":-1000.0}}"#,
        );
    }

    #[test]
    fn every_label_has_a_score_that_is_a_number() {
        let labels = ["a", "b"].map(str::to_owned);
        let scored = |score| Scored { index: 0, score, token_logprobs: Vec::new() };
        assert!(matches!(Verdict::new(&labels, &[scored(-1.0)]), Err(Error::Backend(_))));
        assert!(matches!(Verdict::new(&labels[..1], &[scored(f32::NAN)]), Err(Error::Backend(_))));
    }
}
