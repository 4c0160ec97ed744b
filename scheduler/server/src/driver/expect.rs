//! What requests of one pipeline usually take: how many tokens they read, and how many they write.

use std::collections::BTreeMap;

/// Before anything was seen.
const PRIOR_OUTPUT: f64 = 64.0;
/// Of usual English text and a vocabulary of 32,000 to 128,000 (a rule of thumb: four characters a token).
const PRIOR_BYTES_PER_TOKEN: f64 = 3.5;
/// What a pipeline adds to what it is given: instructions, a template.
const PRIOR_OVERHEAD: f64 = 48.0;
/// Weight of the newest.
const GAIN: f64 = 0.1;
/// Above the mean, so that most requests take no more.
const MARGIN: f64 = 1.3;
/// Pipelines that are remembered.
const MAX_PIPELINES: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Expectations(BTreeMap<String, Usual>);

#[derive(Debug, Clone, Copy)]
struct Usual {
    /// Prompt tokens beyond what the input comes to.
    overhead: f64,
    output: f64,
}

impl Default for Usual {
    fn default() -> Self {
        Self { overhead: PRIOR_OVERHEAD, output: PRIOR_OUTPUT }
    }
}

impl Expectations {
    /// Prompt and output tokens of a request of so many bytes.
    pub(crate) fn of(&self, pipeline: &str, bytes: usize, max_output: Option<u64>) -> (u32, u32) {
        let usual = self.0.get(pipeline).copied().unwrap_or_default();
        let prompt = bytes as f64 / PRIOR_BYTES_PER_TOKEN + usual.overhead;
        let output = (usual.output * MARGIN).min(max_output.map_or(f64::INFINITY, |max| max as f64));
        (prompt.clamp(1.0, 1e9) as u32, output.clamp(1.0, 1e9) as u32)
    }

    /// What one took.
    pub(crate) fn learn(&mut self, pipeline: &str, bytes: usize, prompt: u32, output: u32) {
        if !self.0.contains_key(pipeline) && self.0.len() >= MAX_PIPELINES {
            return;
        }
        let usual = self.0.entry(pipeline.to_owned()).or_default();
        let overhead = (f64::from(prompt) - bytes as f64 / PRIOR_BYTES_PER_TOKEN).max(0.0);
        usual.overhead += GAIN * (overhead - usual.overhead);
        usual.output += GAIN * (f64::from(output) - usual.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_expected() {
        let mut expectations = Expectations::default();
        assert_eq!(expectations.of("chat", 350, None), (148, 83));
        for _ in 0..100 {
            expectations.learn("chat", 350, 400, 10);
        }
        assert_eq!(expectations.of("chat", 350, None), (399, 13));
        assert_eq!(expectations.of("chat", 350, Some(5)).1, 5);
        assert_eq!(expectations.of("other", 0, None), (48, 83));
    }
}
