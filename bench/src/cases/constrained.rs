//! Whether constrained output keeps its promise, judged by validators that have nothing to do with what makes it.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use dunlin_engine_handle::{
    Constraint, Engine, EngineError, Generate, Message, Role, Sampling, StopReason, Usage,
};
use tokio::task::JoinSet;

use crate::{
    Arguments,
    engines::{Process, Setting},
};

/// Generations under way at the same time.
const AT_ONCE: usize = 24;
const MAX_TOKENS: u32 = 160;

/// Hot enough that a model this small would seldom get anything right by itself.
const TEMPERATURE: f32 = 1.5;

const SCHEMAS: [&str; 8] = [
    r#"{"type": "object", "properties": {"service": {"type": ["string", "null"], "maxLength": 24}, "host": {"type": ["string", "null"], "maxLength": 24}}, "required": ["service", "host"], "additionalProperties": false}"#,
    r#"{"type": "object", "properties": {"severity": {"enum": ["ok", "warning", "critical"]}, "code": {"type": "integer", "minimum": -20, "maximum": 1500}}, "required": ["severity", "code"]}"#,
    r#"{"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 2, "maxItems": 6}"#,
    r#"{"type": "object", "properties": {"ip": {"type": "string", "format": "ipv4"}, "day": {"type": "string", "format": "date"}}, "required": ["ip", "day"], "additionalProperties": false}"#,
    r#"{"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^[a-z]{3,9}-[0-9]{1,3}$"}, {"const": {"none": []}}]}"#,
    r##"{"$defs": {"tree": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "under": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["name"], "additionalProperties": false}}, "$ref": "#/$defs/tree"}"##,
    r#"{"type": "object", "properties": {"load": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "tags": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 6}, "maxItems": 3}}, "required": ["load", "tags"], "additionalProperties": false}"#,
    r#"{"type": "object", "additionalProperties": {"type": "integer", "multipleOf": 5}, "minProperties": 1, "maxProperties": 3}"#,
];
const PATTERNS: [&str; 4] = [
    "(ok|warning|critical)",
    "[a-f0-9]{2}(:[a-f0-9]{2}){5}",
    "v[0-9]+\\.[0-9]+(-rc[0-9])?",
    "(é|ß|🦢){1,4} \\w{2,5}",
];
const CHOICES: [&str; 4] = ["disk", "disk is full", "network", "naïve 🦢"];
const GRAMMAR: &str = r#"start: sum
sum: product (("+" | "-") product)*
product: factor (("*" | "/") factor)*
factor: /[0-9]{1,3}/ | "(" sum ")"
"#;

/// A constraint, and who says whether a text fulfils it.
struct Rule {
    constraint: Constraint,
    judge: Judge,
}

enum Judge {
    Schema(Box<jsonschema::Validator>),
    Pattern(regex::Regex),
    Choice,
    Sum,
}

impl Judge {
    fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Schema(validator) => {
                serde_json::from_str(text).is_ok_and(|value: serde_json::Value| validator.is_valid(&value))
            }
            Self::Pattern(pattern) => pattern.is_match(text),
            Self::Choice => CHOICES.contains(&text),
            Self::Sum => is_sum(text),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    complete: usize,
    invalid: Vec<String>,
    otherwise: BTreeMap<String, usize>,
    tokens: u64,
    forced: u64,
    mask_us: u64,
}

impl Tally {
    fn note(&mut self, rule: &Rule, text: &str, stop: StopReason, usage: &Usage) {
        self.tokens += u64::from(usage.output_tokens);
        self.forced += u64::from(usage.forced_tokens);
        self.mask_us += usage.mask_us;
        if stop == StopReason::ConstraintComplete {
            self.complete += 1;
            if !rule.judge.accepts(text) {
                self.invalid.push(format!("{:?}: {text:?}", rule.constraint));
            }
        } else {
            *self.otherwise.entry(format!("{stop:?}")).or_default() += 1;
        }
    }
}

pub(crate) fn validity(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let setting = Setting::new(arguments.demo_model.clone(), setting.threads)?;
    let lines = lines(&arguments.demo_model)?;
    let process = Process::start(&setting)?;
    let tally = process.block_on(run_all(&process.engine, arguments.generations, &lines))?;
    let Tally { complete, invalid, otherwise, tokens, forced, mask_us } = tally;
    println!(
        "{} invalid of {complete} that ended complete; {} others, {otherwise:?} of {}; mask {:.1} us a token of \
         {tokens}, {:.0} % forced",
        invalid.len(),
        otherwise.values().sum::<usize>(),
        arguments.generations,
        mask_us as f64 / tokens as f64,
        100.0 * forced as f64 / tokens as f64,
    );
    anyhow::ensure!(invalid.is_empty(), "{}", invalid.join("\n"));
    Ok(())
}

async fn run_all(engine: &Engine, count: usize, lines: &[String]) -> anyhow::Result<Tally> {
    let rules = rules()?;
    let mut tally = Tally::default();
    let mut running = JoinSet::new();
    for number in 0..count {
        let rule = number % rules.len();
        let text = format!("Extract as JSON: service, host\n{}", lines[number % lines.len()]);
        let constraint = rules[rule].constraint.clone();
        let engine = engine.clone();
        running.spawn(
            async move { Ok::<_, EngineError>((rule, one(&engine, text, constraint, number).await?)) },
        );
        while running.len() >= AT_ONCE || (number + 1 == count && !running.is_empty()) {
            let Some(ended) = running.join_next().await else { break };
            let (rule, (text, stop, usage)) = ended??;
            tally.note(&rules[rule], &text, stop, &usage);
        }
        if number % 100 == 0 {
            eprint!("\r  {number}/{count} generations");
        }
    }
    eprint!("\r\x1b[K");
    Ok(tally)
}

async fn one(
    engine: &Engine,
    text: String,
    constraint: Constraint,
    number: usize,
) -> Result<(String, StopReason, Usage), EngineError> {
    let message = Message { role: Role::User, content: text, tool_calls: Vec::new(), tool_call_id: None };
    let prompt = engine.render(vec![message], Vec::new(), true).await?.tokens;
    let mut generation = engine.generate(Generate {
        prompt,
        max_tokens: MAX_TOKENS,
        sampling: Some(Sampling { temperature: TEMPERATURE, ..Sampling::default() }),
        seed: number as u64,
        constraint: Some(constraint),
        ..Generate::default()
    });
    let mut text = String::new();
    while let Some(delta) = generation.next().await {
        let delta = delta?;
        text += &delta.text;
        if let Some(finish) = delta.finish {
            return Ok((text, finish.reason, finish.usage));
        }
    }
    Err(EngineError::Backend("a generation without an end".into()))
}

fn rules() -> anyhow::Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for schema in SCHEMAS {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&serde_json::from_str(schema)?)
            .with_context(|| schema.to_owned())?;
        let constraint = Constraint::JsonSchema(schema.to_owned());
        rules.push(Rule { constraint, judge: Judge::Schema(Box::new(validator)) });
    }
    for pattern in PATTERNS {
        let judge = Judge::Pattern(regex::Regex::new(&format!("^(?:{pattern})$"))?);
        rules.push(Rule { constraint: Constraint::Regex(pattern.to_owned()), judge });
    }
    let choices = CHOICES.map(str::to_owned).to_vec();
    rules.push(Rule { constraint: Constraint::Choice(choices), judge: Judge::Choice });
    rules.push(Rule { constraint: Constraint::Lark(GRAMMAR.to_owned()), judge: Judge::Sum });
    Ok(rules)
}

/// Lines to ask about: those of the evaluation set beside the model.
fn lines(model: &Path) -> anyhow::Result<Vec<String>> {
    let path = model.with_file_name("eval.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = |row: &str| -> anyhow::Result<String> {
        let item: serde_json::Value = serde_json::from_str(row)?;
        Ok(item["text"].as_str().unwrap_or_default().to_owned())
    };
    text.lines().map(line).collect()
}

/// Whether the text is what [`GRAMMAR`] says, read by hand.
fn is_sum(text: &str) -> bool {
    fn sum(text: &[u8], mut at: usize) -> Option<usize> {
        loop {
            at = factor(text, at)?;
            match text.get(at) {
                Some(b'+' | b'-' | b'*' | b'/') => at += 1,
                _ => return Some(at),
            }
        }
    }
    fn factor(text: &[u8], at: usize) -> Option<usize> {
        if text.get(at) == Some(&b'(') {
            let end = sum(text, at + 1)?;
            return (text.get(end) == Some(&b')')).then_some(end + 1);
        }
        let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        (1..=3).contains(&digits).then_some(at + digits)
    }
    sum(text.as_bytes(), 0) == Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_tell_right_from_wrong() {
        let rules = rules().unwrap();
        let accepts = |text| {
            rules.iter().map(|rule| u8::from(rule.judge.accepts(text)).to_string()).collect::<String>()
        };
        assert_eq!(accepts(r#"{"service": "sshd", "host": null}"#), "10000000000000");
        assert_eq!(accepts("[1, 256]"), "00000000000000");
        assert_eq!(accepts("[1, 25]"), "00100000000000");
        assert_eq!(accepts(r#"{"ip": "10.0.0.256", "day": "2026-01-01"}"#), "00000000000000");
        assert_eq!(accepts(r#"{"ip": "10.0.0.6", "day": "2026-01-01"}"#), "00010000000000");
        assert_eq!(accepts(r#"{"name": "a", "under": [{"name": "b"}]}"#), "00000100000000");
        assert_eq!(accepts("warning"), "00000000100000");
        assert_eq!(accepts("disk is full"), "00000000000010");
        assert_eq!(accepts("12*(3-(4))"), "00000000000001");
        assert_eq!(accepts("12*(3-4"), "00000000000000");
    }
}
