//! What a pipeline asks for: a file `NAME.toml` beside `NAME.wasm`, or a custom section of the component.
//!
//! Asking is not getting: whoever runs the pipeline decides what of it to grant.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;
use toml::{Table, Value};
use wasmparser::{Parser, Payload};

use crate::{Destination, Limits};

/// The name of the custom section, outermost in the component.
pub const MANIFEST_SECTION: &str = "dunlin:manifest";

/// Bytes of a manifest.
pub const MAX_MANIFEST_BYTES: usize = 64 << 10;

/// Two names are taken for the same, misspelt, from this likeness on (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// What a pipeline asks for. Everything may be left out.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// For people: what the pipeline does.
    pub description: String,
    /// The names by which it opens models.
    pub models: Vec<String>,
    /// Where it sends HTTP requests.
    pub http: Vec<Destination>,
    /// Names of the environment variables that it reads.
    pub environment: Vec<String>,
    /// Texts that its prompts begin with, and that are no secret: engines may share what they computed for them
    /// across tenants. A text stands for itself in a raw context, and for a system message in a conversation.
    #[serde(rename = "public-prefixes")]
    pub public_prefixes: Vec<String>,
    pub budget: AskedBudget,
}

/// Budgets that it needs. What is left out is as it is for all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct AskedBudget {
    pub tokens: Option<u64>,
    /// As in `500ms`, `30s`, `2m`.
    #[serde(deserialize_with = "time")]
    pub time: Option<Duration>,
    pub memory_mib: Option<u64>,
    pub kv_cells: Option<u64>,
    pub contexts: Option<u64>,
    pub generations: Option<u64>,
    pub host_calls: Option<u64>,
    pub emitted_bytes: Option<u64>,
}

/// All keys that there are, by the table that they stand in.
const KEYS: [(&str, &[&str]); 2] = [
    ("", &["description", "models", "http", "environment", "public-prefixes", "budget"]),
    (
        "budget",
        &[
            "tokens",
            "time",
            "memory-mib",
            "kv-cells",
            "contexts",
            "generations",
            "host-calls",
            "emitted-bytes",
        ],
    ),
];

/// Why some text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    #[error("it has {0} bytes, at most {MAX_MANIFEST_BYTES} are possible")]
    TooLarge(usize),
    #[error("it is not UTF-8")]
    NotText,
    #[error("there is no key {key:?}{place}{hint}", place = in_table(table), hint = meant(near, table))]
    UnknownKey { key: String, table: &'static str, near: Option<&'static str> },
    /// In the words of the parser, with the place.
    #[error("{0}")]
    Toml(String),
    #[error("it has more than one section {MANIFEST_SECTION}")]
    Ambiguous,
}

fn in_table(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in [{table}]") }
}

fn meant(near: &Option<&'static str>, table: &str) -> String {
    match near {
        Some(near) => format!("; did you mean {near:?}?"),
        None => {
            let keys = KEYS.iter().find(|(of, _)| *of == table).map_or(&[][..], |(_, keys)| keys);
            format!("; there are {}", keys.join(", "))
        }
    }
}

impl Manifest {
    /// # Errors
    /// [`ManifestError`], which names what is wrong and what was probably meant.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(text.len()));
        }
        let text = std::str::from_utf8(text).map_err(|_| ManifestError::NotText)?;
        let fault = |error: toml::de::Error| ManifestError::Toml(error.to_string().trim_end().to_owned());
        let table: Table = text.parse().map_err(fault)?;
        check_keys(&table, "")?;
        if let Some(Value::Table(budget)) = table.get("budget") {
            check_keys(budget, "budget")?;
        }
        toml::from_str(text).map_err(fault)
    }

    /// The one that a component carries; `None` if it carries none.
    ///
    /// # Errors
    /// As [`Self::parse`]. Bytes that are no component carry none.
    pub fn of_component(bytes: &[u8]) -> Result<Option<Self>, ManifestError> {
        let mut found = None;
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload {
                Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth -= 1,
                Ok(Payload::CustomSection(section)) if depth == 0 && section.name() == MANIFEST_SECTION => {
                    if found.replace(Self::parse(section.data())?).is_some() {
                        return Err(ManifestError::Ambiguous);
                    }
                }
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(found)
    }
}

impl AskedBudget {
    /// By the keys of the manifest; a time in milliseconds.
    pub fn asked(&self) -> Vec<(&'static str, u64)> {
        let asked = [
            ("tokens", self.tokens),
            ("time-ms", self.time.map(|time| time.as_millis() as u64)),
            ("memory-mib", self.memory_mib),
            ("kv-cells", self.kv_cells),
            ("contexts", self.contexts),
            ("generations", self.generations),
            ("host-calls", self.host_calls),
            ("emitted-bytes", self.emitted_bytes),
        ];
        asked.into_iter().filter_map(|(name, asked)| Some((name, asked?))).collect()
    }

    /// The default limits, lowered to what is asked. More than the default has to be granted: [`Self::granted`].
    pub fn limits(&self) -> Limits {
        let (asked, most) = (self.granted(), Limits::default());
        Limits {
            wall_time: asked.wall_time.min(most.wall_time),
            memory_bytes: asked.memory_bytes.min(most.memory_bytes),
            tokens: asked.tokens.min(most.tokens),
            kv_cells: asked.kv_cells.min(most.kv_cells),
            contexts: asked.contexts.min(most.contexts),
            generations: asked.generations.min(most.generations),
            host_calls: asked.host_calls.min(most.host_calls),
            emitted_bytes: asked.emitted_bytes.min(most.emitted_bytes),
            ..most
        }
    }

    /// Limits with all that is asked in the place of the defaults, be it more.
    pub fn granted(&self) -> Limits {
        let mut limits = Limits::default();
        let set = |limit: &mut u64, asked: Option<u64>| *limit = asked.unwrap_or(*limit);
        set(&mut limits.tokens, self.tokens);
        set(&mut limits.memory_bytes, self.memory_mib.map(|mib| mib.saturating_mul(1 << 20)));
        set(&mut limits.kv_cells, self.kv_cells);
        set(&mut limits.contexts, self.contexts);
        set(&mut limits.generations, self.generations);
        set(&mut limits.host_calls, self.host_calls);
        set(&mut limits.emitted_bytes, self.emitted_bytes);
        limits.wall_time = self.time.unwrap_or(limits.wall_time);
        limits
    }
}

fn check_keys(table: &Table, name: &'static str) -> Result<(), ManifestError> {
    let known = KEYS.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, keys)| keys);
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let likeness = |near: &&&str| strsim::jaro_winkler(key, near);
    let near = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let near = near.filter(|near| likeness(near) >= ALIKE).copied();
    Err(ManifestError::UnknownKey { key: key.clone(), table: name, near })
}

/// `500ms`, `30s`, `1.5m`, `2h`; a number alone is seconds.
///
/// # Errors
/// Says how it is written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
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

/// As text or as a number of seconds.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Time;

    impl de::Visitor<'_> for Time {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time as in \"500ms\", \"30s\" or \"2m\"")
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            u64::try_from(seconds)
                .ok()
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs)
                .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(seconds), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse_duration(text).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Time).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Manifest::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_manifest_asks() {
        let text = r#"
            models = ["demo", "judge"]
            http = ["api.example.com", "10.0.0.0/8:8080"]
            environment = ["LANG"]
            public-prefixes = ["You sort log lines."]
            [budget]
            tokens = 2000
            time = "1.5m"
            memory-mib = 16
        "#;
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.models, ["demo", "judge"]);
        assert_eq!(manifest.http[1].to_string(), "10.0.0.0/8:8080");
        let limits = manifest.budget.limits();
        assert_eq!(
            (limits.tokens, limits.wall_time, limits.memory_bytes),
            (2000, Duration::from_secs(90), 16 << 20)
        );
        assert_eq!(limits.contexts, Limits::default().contexts);
        let greedy =
            Manifest::parse(b"[budget]\ntokens = 1000000000\ntime = \"24h\"\nmemory-mib = 4096").unwrap();
        assert_eq!(greedy.budget.limits(), Limits::default(), "asking is not getting");
        assert_eq!(greedy.budget.granted().tokens, 1_000_000_000);
        assert_eq!(Manifest::parse(b"").unwrap(), Manifest::default());
    }

    #[test]
    fn the_nearest_key_is_named() {
        assert_eq!(error("modles = []"), "there is no key \"modles\"; did you mean \"models\"?");
        assert_eq!(
            error("[budget]\nmemory = 3"),
            "there is no key \"memory\" in [budget]; did you mean \"memory-mib\"?"
        );
        let other = error("zzz = 1");
        assert!(other.contains("there are description, models"), "{other}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, expected) in [
            ("models = \"demo\"", "line 1"),
            ("http = [\"https://x\"]", "leave out the scheme"),
            ("[budget]\ntime = \"soon\"", "\"500ms\", \"30s\" or \"2m\""),
            ("[budget]\ntime = 0", "\"500ms\", \"30s\" or \"2m\""),
            ("[budget]\ntokens = -1", "line 2"),
            ("models = [", "line 1"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(Manifest::parse(&[0xff]), Err(ManifestError::NotText));
        assert_eq!(
            Manifest::parse(&vec![b' '; MAX_MANIFEST_BYTES + 1]),
            Err(ManifestError::TooLarge(MAX_MANIFEST_BYTES + 1))
        );
    }

    /// An empty component with these custom sections.
    fn component(sections: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for (name, data) in sections {
            bytes.push(0);
            bytes.push((1 + name.len() + data.len()) as u8);
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(data.as_bytes());
        }
        bytes
    }

    #[test]
    fn a_component_carries_one() {
        let carried = |sections: &[_]| Manifest::of_component(&component(sections));
        let found = carried(&[("name", "x"), (MANIFEST_SECTION, "models = [\"demo\"]")]).unwrap().unwrap();
        assert_eq!(found.models, ["demo"]);
        assert_eq!(carried(&[("name", "x")]), Ok(None));
        assert_eq!(carried(&[(MANIFEST_SECTION, ""), (MANIFEST_SECTION, "")]), Err(ManifestError::Ambiguous));
        assert_eq!(Manifest::of_component(b"no component"), Ok(None));
    }
}
