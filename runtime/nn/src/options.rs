//! Options of a guest, as JSON with the keys of the GGML guests, and what an engine is asked for them.

mod keys;

use dunlin_engine_handle::{Constraint, ModelInfo, Sampling};
use serde_json::Value;

use self::keys::Keys;
use crate::{Fault, gbnf};

/// Largest JSON of options, in bytes.
pub const MAX_OPTIONS_BYTES: usize = 512 << 10;

/// Options that would give another answer if they were understood, and are not. Each is refused unless it is empty.
const REFUSED: [&str; 2] = ["mmproj", "image"];

/// Added to the logits of tokens that must not come.
const NEVER: f32 = -1e9;

/// What a guest wants of a model. The defaults are those of llama.cpp, on which these guests rely.
///
/// Keys that are not known are ignored: guests send keys of their own, and many of llama.cpp's say how a model is
/// loaded, which is not for a guest to say here.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Compute an embedding, no text.
    pub embedding: bool,
    /// The host writes the text to the guest's stdout as it comes.
    pub stream_stdout: bool,
    /// Longest answer in tokens; below 0: as long as the context has room.
    pub n_predict: i64,
    /// Longest sequence in tokens, if it is to be shorter than the model's.
    pub ctx_size: Option<u32>,
    /// Longest text of an embedding, in tokens.
    pub batch_size: Option<u32>,
    /// Ends the answer.
    pub reverse_prompt: Option<String>,
    pub temp: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    /// Locally typical sampling; 1 is off.
    pub typ_p: f32,
    pub xtc_probability: f32,
    pub xtc_threshold: f32,
    pub dynatemp_range: f32,
    pub dynatemp_exponent: f32,
    pub repeat_penalty: f32,
    /// Tokens that `repeat_penalty` looks back at.
    pub last_n_penalty: u32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// `None`: the host chooses.
    pub seed: Option<u64>,
    pub ignore_eos: bool,
    /// In GBNF.
    pub grammar: Option<String>,
    pub json_schema: Option<String>,
    /// Keys of options that are on, and have no effect here.
    pub ignored: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            embedding: false,
            stream_stdout: false,
            n_predict: -1,
            ctx_size: None,
            batch_size: None,
            reverse_prompt: None,
            temp: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typ_p: 1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            repeat_penalty: 1.0,
            last_n_penalty: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            ignore_eos: false,
            grammar: None,
            json_schema: None,
            ignored: Vec::new(),
        }
    }
}

impl Options {
    /// Takes over what the JSON says; what it does not say stays as it is. After an error nothing has changed.
    ///
    /// # Errors
    /// [`Fault::InvalidEncoding`] for what is no JSON object, [`Fault::InvalidArgument`] for a value of the wrong kind,
    /// [`Fault::Unsupported`] for images, [`Fault::TooLarge`] beyond [`MAX_OPTIONS_BYTES`].
    pub fn merge(&mut self, json: &[u8]) -> Result<(), Fault> {
        if json.len() > MAX_OPTIONS_BYTES {
            return Err(Fault::TooLarge(format!(
                "options of {} bytes, at most {MAX_OPTIONS_BYTES} are read",
                json.len()
            )));
        }
        let value = serde_json::from_slice(json)
            .map_err(|error| Fault::InvalidEncoding(format!("the options are not JSON: {error}")))?;
        let Value::Object(map) = value else {
            return Err(Fault::InvalidEncoding("the options are no JSON object".into()));
        };
        *self = self.clone().merged(&Keys(&map))?;
        Ok(())
    }

    fn merged(mut self, keys: &Keys<'_>) -> Result<Self, Fault> {
        if let Some(key) = REFUSED.into_iter().find(|key| keys.names_something(key)) {
            return Err(Fault::Unsupported(format!("the option {key}: models read text here, no images")));
        }
        keys.flag("embedding", &mut self.embedding)?;
        keys.flag("stream-stdout", &mut self.stream_stdout)?;
        keys.flag("ignore-eos", &mut self.ignore_eos)?;
        if let Some(tokens) = keys.integer("n-predict")? {
            self.n_predict = tokens;
        }
        // 0 asks for what the model has.
        if let Some(tokens) = keys.integer("ctx-size")? {
            self.ctx_size = Some(clamped(tokens)).filter(|&tokens| tokens > 0);
        }
        if let Some(tokens) = keys.integer("batch-size")? {
            self.batch_size = Some(clamped(tokens)).filter(|&tokens| tokens > 0);
        }
        if let Some(seed) = keys.integer("seed")? {
            // -1, and the largest that llama.cpp knows, ask for any.
            self.seed = u64::try_from(seed).ok().filter(|&seed| seed != u64::from(u32::MAX));
        }
        if let Some(count) = keys.integer("top-k")? {
            self.top_k = clamped(count);
        }
        if let Some(count) = keys.integer("last-n-penalty")?.or(keys.integer("repeat-last-n")?) {
            self.last_n_penalty = clamped(count);
        }
        keys.number("temp", &mut self.temp)?;
        keys.number("top-p", &mut self.top_p)?;
        keys.number("min-p", &mut self.min_p)?;
        keys.number("typ-p", &mut self.typ_p)?;
        keys.number("xtc-probability", &mut self.xtc_probability)?;
        keys.number("xtc-threshold", &mut self.xtc_threshold)?;
        keys.number("dynatemp-range", &mut self.dynatemp_range)?;
        keys.number("dynatemp-exponent", &mut self.dynatemp_exponent)?;
        keys.number("repeat-penalty", &mut self.repeat_penalty)?;
        keys.number("presence-penalty", &mut self.presence_penalty)?;
        keys.number("frequency-penalty", &mut self.frequency_penalty)?;
        keys.text("reverse-prompt", &mut self.reverse_prompt)?;
        keys.text("grammar", &mut self.grammar)?;
        keys.schema(&mut self.json_schema)?;
        keys.note_ignored(&mut self.ignored);
        Ok(self)
    }

    /// Longest sequence with this model, in tokens.
    pub fn context(&self, model: &ModelInfo) -> u32 {
        self.ctx_size.unwrap_or(u32::MAX).min(model.context_length)
    }

    /// What the engine takes them for. Values beyond what it knows are taken to its bounds, as llama.cpp does.
    pub fn sampling(&self, model: &ModelInfo) -> Sampling {
        let never = if self.ignore_eos { &model.end_of_turn[..] } else { &[] };
        Sampling {
            temperature: self.temp.max(0.0),
            top_k: self.top_k,
            top_p: self.top_p.clamp(0.0, 1.0),
            min_p: self.min_p.clamp(0.0, 1.0),
            typical_p: self.typ_p.clamp(0.0, 1.0),
            xtc_probability: self.xtc_probability.clamp(0.0, 1.0),
            xtc_threshold: self.xtc_threshold.clamp(0.0, 1.0),
            dynamic_temperature_range: self.dynatemp_range.max(0.0),
            dynamic_temperature_exponent: self.dynatemp_exponent.max(0.0),
            repeat_penalty: if self.repeat_penalty > 0.0 { self.repeat_penalty } else { 1.0 },
            repeat_last_n: self.last_n_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: never.iter().map(|&token| (token, NEVER)).collect(),
        }
    }

    /// What the text must look like; a schema goes before a grammar.
    ///
    /// # Errors
    /// A grammar that cannot be read.
    pub fn constraint(&self) -> Result<Option<Constraint>, Fault> {
        match (&self.json_schema, &self.grammar) {
            (Some(schema), _) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            (None, Some(grammar)) => match gbnf::to_lark(grammar) {
                Ok(lark) => Ok(Some(Constraint::Lark(lark))),
                Err(error) => Err(Fault::InvalidArgument(format!("the grammar cannot be read: {error}"))),
            },
            (None, None) => Ok(None),
        }
    }
}

/// Negative counts are none.
fn clamped(count: i64) -> u32 {
    count.clamp(0, u32::MAX.into()) as u32
}

#[cfg(test)]
mod tests {
    use dunlin_engine_handle::fake::Fake;

    use super::*;

    fn merged(json: &str) -> Result<Options, Fault> {
        let mut options = Options::default();
        options.merge(json.as_bytes()).map(|()| options)
    }

    #[test]
    fn what_guests_send_is_taken() {
        let options = merged(
            r#"{"n-predict": 12, "ctx-size": 1024.0, "temp": 0.1, "top-p": 0.0, "n-gpu-layers": 100, "grammar": "",
                "reverse-prompt": "USER:", "llama3": false, "include_usage": true, "stream-stdout": true, "seed": 7,
                "batch-size": 0, "mmproj": "", "image": null, "json-schema": {"type": "object"}}"#,
        )
        .unwrap();
        let expected = Options {
            n_predict: 12,
            ctx_size: Some(1024),
            temp: 0.1,
            top_p: 0.0,
            reverse_prompt: Some("USER:".into()),
            stream_stdout: true,
            seed: Some(7),
            json_schema: Some(r#"{"type":"object"}"#.into()),
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_not_said_stays() {
        let mut options = merged(r#"{"temp": 0.5, "grammar": "root ::= \"a\""}"#).unwrap();
        options.merge(br#"{"top-k": 3}"#).unwrap();
        assert_eq!((options.temp, options.top_k), (0.5, 3));
        assert_eq!(
            options.constraint().unwrap(),
            Some(Constraint::Lark("start: ROOT\nROOT: \"a\"\n".into()))
        );
        options.merge(br#"{"grammar": ""}"#).unwrap();
        assert_eq!(options.constraint().unwrap(), None);
        assert!(options.merge(br#"{"temp": 1.5, "top-k": "many"}"#).is_err());
        assert_eq!((options.temp, options.top_k), (0.5, 3));
    }

    #[test]
    fn options_without_effect_are_named() {
        let ignored = |json| merged(json).unwrap().ignored;
        assert_eq!(ignored(r#"{"mirostat": 2, "dry-multiplier": 0.8}"#), ["mirostat", "dry-multiplier"]);
        assert_eq!(ignored(r#"{"mirostat": 0, "top-n-sigma": -1.0, "samplers": "", "lora": null}"#), [""; 0]);
        let mut options = merged(r#"{"mirostat": 1}"#).unwrap();
        options.merge(br#"{"temp": 0.5}"#).unwrap();
        assert_eq!(options.ignored, ["mirostat"]);
        options.merge(br#"{"mirostat": 0}"#).unwrap();
        assert_eq!(options.ignored, [""; 0]);
    }

    #[test]
    fn samplers_are_passed_on_within_their_bounds() {
        let json = r#"{"typ-p": 0.7, "xtc-probability": 1.5, "xtc-threshold": 0.2, "dynatemp-range": -1}"#;
        let sampling = merged(json).unwrap().sampling(&Fake::default().model);
        assert_eq!((sampling.typical_p, sampling.xtc_probability, sampling.xtc_threshold), (0.7, 1.0, 0.2));
        assert_eq!(sampling.dynamic_temperature_range, 0.0);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |json: &str, expected: &str| {
            let said = merged(json).unwrap_err();
            assert!(format!("{said:?}").starts_with(expected), "{json}: {said:?}");
        };
        for json in ["", "{", "[]", "7", "\u{0}"] {
            check(json, "InvalidEncoding");
        }
        for json in
            [r#"{"temp": "hot"}"#, r#"{"embedding": 1}"#, r#"{"n-predict": 1.5}"#, r#"{"grammar": {}}"#]
        {
            check(json, "InvalidArgument");
        }
        check(r#"{"temp": 1e300}"#, "InvalidArgument");
        check(r#"{"image": "cat.jpg"}"#, "Unsupported");
        check(&" ".repeat(MAX_OPTIONS_BYTES + 1), "TooLarge");
        let unread = merged(r#"{"grammar": "root := x"}"#).unwrap();
        assert!(matches!(unread.constraint(), Err(Fault::InvalidArgument(_))));
    }
}
