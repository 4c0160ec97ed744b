//! How tokens are drawn: the parameters that all pipelines share which generate freely.

use dunlin_guest::{Error, Logprob, Sampling, TokenInfo};
use serde_json::{Value, json};

use crate::{Asked, Parameter, asked};

/// Tokens that a repetition is looked for in.
const REPEAT_LAST_N: u32 = 64;

/// Tokens that may be favoured or held back.
const MAX_BIASES: usize = 1024;

/// Alternatives to a token that are told.
const MAX_LOGPROBS: u32 = 20;

pub const TEMPERATURE: Parameter = Parameter::with_default(
    "temperature",
    "0.7",
    "how freely to draw; 0 takes the likeliest token each time",
);
pub const TOP_P: Parameter =
    Parameter::with_default("top_p", "1", "draw among the likeliest tokens that together have this share");
pub const TOP_K: Parameter =
    Parameter::with_default("top_k", "0", "draw among this many of the likeliest tokens; 0 among all");
pub const MIN_P: Parameter =
    Parameter::with_default("min_p", "0.05", "leave out tokens less likely than this share of the likeliest");
pub const REPEAT_PENALTY: Parameter =
    Parameter::with_default("repeat_penalty", "1", "more than 1 holds back tokens that came lately");
pub const FREQUENCY_PENALTY: Parameter =
    Parameter::with_default("frequency_penalty", "0", "hold back tokens the more, the more often they came");
pub const PRESENCE_PENALTY: Parameter =
    Parameter::with_default("presence_penalty", "0", "hold back tokens that came at all");
pub const LOGIT_BIAS: Parameter =
    Parameter::optional("logit_bias", "JSON: what to add to the logit of a token, by its number");
pub const SEED: Parameter =
    Parameter::optional("seed", "the same seed draws the same; of the invocation, if none is given");
pub const STOP: Parameter =
    Parameter::optional("stop", "text that ends the answer; may be given several times");
pub const LOGPROBS: Parameter =
    Parameter::optional("logprobs", "tell how likely each token was, and so many others; at most 20");

impl Asked<'_> {
    /// # Errors
    /// Names the parameter that is not as it should be.
    pub fn sampling(&self) -> Result<Sampling, Error> {
        let repeat_penalty = self.number(&REPEAT_PENALTY, 0.1..=10.0)?;
        let frequency_penalty = self.number(&FREQUENCY_PENALTY, -2.0..=2.0)?;
        let presence_penalty = self.number(&PRESENCE_PENALTY, -2.0..=2.0)?;
        let looks_back = repeat_penalty != 1.0 || frequency_penalty != 0.0 || presence_penalty != 0.0;
        Ok(Sampling {
            temperature: self.number(&TEMPERATURE, 0.0..=5.0)?,
            top_p: self.number(&TOP_P, 0.0..=1.0)?,
            top_k: self.number(&TOP_K, 0..=1_000_000)?,
            min_p: self.number(&MIN_P, 0.0..=1.0)?,
            repeat_penalty,
            repeat_last_n: if looks_back { REPEAT_LAST_N } else { 0 },
            frequency_penalty,
            presence_penalty,
            logit_bias: self.value(&LOGIT_BIAS).map_or(Ok(Vec::new()), biases)?,
            seed: self.number_if_given(&SEED, 0..=u64::MAX)?,
        })
    }

    /// What ends the answer.
    pub fn stops(&self) -> Vec<String> {
        self.values(&STOP).into_iter().filter(|stop| !stop.is_empty()).map(str::to_owned).collect()
    }

    /// Alternatives to tell, where log-probabilities are wanted.
    ///
    /// # Errors
    /// If it is no number in its range.
    pub fn top_logprobs(&self) -> Result<Option<u32>, Error> {
        self.number_if_given(&LOGPROBS, 0..=MAX_LOGPROBS)
    }
}

/// How likely a token was, as OpenAI tells it.
pub fn logprob(info: &TokenInfo) -> Value {
    let told = |of: &Logprob| {
        let token = String::from_utf8_lossy(&of.bytes);
        json!({ "token": token, "logprob": of.logprob, "bytes": of.bytes })
    };
    let mut document = told(&info.chosen);
    document["top_logprobs"] = info.top.iter().map(told).collect();
    document
}

/// `{"17": -1.5}`; read by hand, since few pipelines have another use for JSON.
fn biases(text: &str) -> Result<Vec<(u32, f32)>, Error> {
    let refuse = || asked::refuse(&LOGIT_BIAS, text, "it is JSON like {\"17\": -1.5}, at most 1024 of them");
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(refuse)?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let bias = |entry: &str| {
        let (token, bias) = entry.split_once(':')?;
        let token = token.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
        let bias: f32 = bias.trim().parse().ok()?;
        (-100.0..=100.0).contains(&bias).then_some((token, bias))
    };
    let biases: Vec<_> = inner.split(',').map(bias).collect::<Option<_>>().ok_or_else(refuse)?;
    if biases.len() > MAX_BIASES { Err(refuse()) } else { Ok(biases) }
}

#[cfg(test)]
mod tests {
    use dunlin_guest::Request;

    use super::*;

    const TABLE: &[Parameter] = &[
        TEMPERATURE,
        TOP_P,
        TOP_K,
        MIN_P,
        REPEAT_PENALTY,
        FREQUENCY_PENALTY,
        PRESENCE_PENALTY,
        LOGIT_BIAS,
        SEED,
    ];

    fn sampling(params: &[(&str, &str)]) -> Result<Sampling, String> {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Request { content_type: String::new(), body: Vec::new(), params };
        Asked::new(&request, TABLE).unwrap().sampling().map_err(|error| match error {
            Error::InvalidArgument(why) => why,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn penalties_look_back_and_nothing_else_does() {
        assert_eq!(sampling(&[]).unwrap().repeat_last_n, 0);
        assert_eq!(sampling(&[("presence_penalty", "0.5")]).unwrap().repeat_last_n, 64);
        assert!(sampling(&[("presence_penalty", "3")]).unwrap_err().ends_with("a number from -2 to 2"));
    }

    #[test]
    fn biases_are_of_tokens() {
        let read = |text| sampling(&[("logit_bias", text)]).map(|sampling| sampling.logit_bias);
        assert_eq!(read("{}").unwrap(), []);
        assert_eq!(read(r#"{"17": -1.5, "2":100}"#).unwrap(), [(17, -1.5), (2, 100.0)]);
        for broken in ["", "[]", r#"{"a": 1}"#, r#"{"1": 101}"#, r#"{"1": nan}"#, r#"{17: 1}"#] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
