//! What a pipeline may use: time, memory, tokens, models, variables, HTTP; and what of it it asks for.

use std::{env, time::Duration};

use dunlin_host::{AskedBudget, Destination, DestinationError, Limits, MAX_MEMORY_BYTES, Manifest};

use crate::{duration, failure::Failure};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits and grants")]
pub(crate) struct LimitArguments {
    /// When to stop it, as in 30s, 500ms or 2m [default: what it asks for, or 10m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    deadline: Option<Duration>,
    /// At most this much; NAME is tokens, kv-cells, contexts, generations, host-calls, emitted-bytes or memory (in MiB)
    #[arg(long = "limit", value_name = "NAME=N")]
    limits: Vec<String>,
    /// Something else that it may use: `env=NAME[=VALUE]`, a variable; `model=[NAME=]ALIAS|FILE`, one more model;
    /// `http=HOST[:PORT]`, requests to there; `nn-load[=MIB]`, models of wasi-nn that it brings itself; `env` or `http` alone, those that it asks for; `budget`, more than the defaults
    /// where it asks for more; `all`, all that it asks for
    #[arg(long = "grant", value_name = "WHAT=...")]
    grants: Vec<String>,
    /// A model for a guest of wasi-nn, as --grant model=NAME=ALIAS|FILE. The first of these stands in place of --model
    #[arg(long = "nn-model", value_name = "NAME=ALIAS|FILE")]
    pub(crate) nn_models: Vec<String>,
    /// A variable that the guest sees, as --grant env=NAME=VALUE
    #[arg(long = "env", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Where all draws come from: the same seed draws the same [default: a new one each time]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// What `--grant` says, in parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Granted {
    pub(crate) environment: Vec<(String, String)>,
    /// The name for the pipeline, and what the model is called here.
    pub(crate) models: Vec<(String, String)>,
    pub(crate) http: Vec<Destination>,
    /// Of models that the guest brings itself.
    pub(crate) weights_bytes: Option<u64>,
}

/// Of models that a guest brings, where it is not said how much.
const WEIGHTS_MIB: u64 = 64;

impl LimitArguments {
    /// # Errors
    /// If a limit is not known or no number.
    pub(crate) fn limits(&self, asked: &AskedBudget) -> Result<Limits, Failure> {
        let is_granted = self.grants.iter().any(|grant| matches!(grant.as_str(), "budget" | "all"));
        let mut limits = if is_granted { asked.granted() } else { asked.limits() };
        limits.wall_time = self.deadline.unwrap_or(limits.wall_time);
        for text in &self.limits {
            set(&mut limits, text)?;
        }
        Ok(limits)
    }

    /// # Errors
    /// If something is granted that there is not.
    pub(crate) fn granted(&self, asked: &Manifest) -> Result<Granted, Failure> {
        let mut granted = Granted::default();
        for text in &self.grants {
            match text.split_once('=') {
                // Seen to by `limits`.
                None if text == "budget" => {}
                None if text == "nn-load" => granted.weights_bytes = Some(WEIGHTS_MIB << 20),
                None if text == "env" => granted.environment.extend(variables(asked)),
                None if text == "http" => granted.http.extend(asked.http.iter().cloned()),
                None if text == "all" => {
                    granted.environment.extend(variables(asked));
                    granted.http.extend(asked.http.iter().cloned());
                    granted.models.extend(asked.models.iter().map(|name| (name.clone(), name.clone())));
                }
                Some(("http", destination)) => {
                    granted.http.push(destination.parse().map_err(|error: DestinationError| {
                        Failure::usage(format!("cannot grant requests: {error}"))
                    })?);
                }
                Some(("nn-load", mib)) => granted.weights_bytes = Some(mebibytes(mib)?),
                Some(("env", variable)) => granted.environment.push(self::variable(variable)?),
                Some(("model", model)) => {
                    let (name, model) = model.split_once('=').unwrap_or((model, model));
                    granted.models.push((name.to_owned(), model.to_owned()));
                }
                _ => {
                    return Err(Failure::usage(format!("--grant {text:?} is not known"))
                        .hint("there are env=NAME, env=NAME=VALUE, model=ALIAS, model=NAME=FILE, http=HOST, http=HOST:PORT, nn-load, nn-load=MIB, env, http, budget and all"));
                }
            }
        }
        for text in &self.variables {
            granted.environment.push(variable(text)?);
        }
        Ok(granted)
    }

    /// The models of `--nn-model`, in order.
    ///
    /// # Errors
    /// If one has no name.
    pub(crate) fn nn_models(&self) -> Result<Vec<(String, String)>, Failure> {
        let named = |text: &String| match text
            .split_once('=')
            .filter(|(name, model)| !name.is_empty() && !model.is_empty())
        {
            Some((name, model)) => Ok((name.to_owned(), model.to_owned())),
            None => Err(Failure::usage(format!("--nn-model {text:?} names no model"))
                .hint("write --nn-model default=demo, or --nn-model default=./model.gguf")),
        };
        self.nn_models.iter().map(named).collect()
    }
}

fn set(limits: &mut Limits, text: &str) -> Result<(), Failure> {
    let (name, number) = text.split_once('=').unwrap_or((text, ""));
    let number: u64 = number.parse().map_err(|_| {
        Failure::usage(format!("--limit {text:?} has no number")).hint("write --limit tokens=1000")
    })?;
    let limit = match name {
        "tokens" => &mut limits.tokens,
        "kv-cells" => &mut limits.kv_cells,
        "contexts" => &mut limits.contexts,
        "generations" => &mut limits.generations,
        "host-calls" => &mut limits.host_calls,
        "emitted-bytes" => &mut limits.emitted_bytes,
        "memory" => {
            limits.memory_bytes = number.saturating_mul(1 << 20);
            return Ok(());
        }
        _ => {
            return Err(Failure::usage(format!("there is no limit {name:?}")).hint(
                "there are tokens, kv-cells, contexts, generations, host-calls, emitted-bytes and memory",
            ));
        }
    };
    *limit = number;
    Ok(())
}

/// Those that it asks for and that are set.
fn variables(asked: &Manifest) -> impl Iterator<Item = (String, String)> {
    asked.environment.iter().filter_map(|name| Some((name.clone(), env::var(name).ok()?)))
}

/// As bytes. A guest cannot hold more than its own memory.
fn mebibytes(text: &str) -> Result<u64, Failure> {
    match text.parse::<u64>() {
        Ok(mib) if (1..=MAX_MEMORY_BYTES >> 20).contains(&mib) => Ok(mib << 20),
        _ => Err(Failure::usage(format!("--grant nn-load={text:?} is no number of MiB"))
            .hint(format!("write --grant nn-load=64; {} is the most", MAX_MEMORY_BYTES >> 20))),
    }
}

fn variable(text: &str) -> Result<(String, String), Failure> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    let value = env::var(text).map_err(|error| {
        Failure::usage(format!("cannot grant the variable {text}: {error}"))
            .hint("set it, or write --grant env=NAME=VALUE")
    })?;
    Ok((text.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(limits: &[&str], grants: &[&str]) -> LimitArguments {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        LimitArguments {
            deadline: Some(Duration::from_secs(1)),
            limits: owned(limits),
            grants: owned(grants),
            nn_models: Vec::new(),
            variables: Vec::new(),
            seed: None,
        }
    }

    #[test]
    fn limits_are_set_by_name() {
        let asked = Manifest::parse(b"[budget]\ntokens = 9\ncontexts = 3").unwrap();
        let limits = arguments(&["tokens=5", "memory=16"], &[]).limits(&asked.budget).unwrap();
        assert_eq!(
            (limits.tokens, limits.memory_bytes, limits.wall_time, limits.contexts),
            (5, 16 << 20, Duration::from_secs(1), 3)
        );
        for wrong in ["tokens", "tokens=many", "joules=3"] {
            assert!(arguments(&[wrong], &[]).limits(&asked.budget).is_err(), "{wrong}");
        }
    }

    #[test]
    fn grants_have_names() {
        let asked = Manifest::default();
        let granted = arguments(&[], &["env=A=b=c", "model=demo:small", "model=judge=./x.gguf"]);
        let granted = granted.granted(&asked).unwrap();
        assert_eq!(granted.environment, [("A".to_owned(), "b=c".to_owned())]);
        let models: Vec<_> =
            granted.models.iter().map(|(name, model)| (name.as_str(), model.as_str())).collect();
        assert_eq!(models, [("demo:small", "demo:small"), ("judge", "./x.gguf")]);
        let weights = |grant| arguments(&[], &[grant]).granted(&asked).map(|granted| granted.weights_bytes);
        assert_eq!(weights("nn-load").unwrap(), Some(64 << 20));
        assert_eq!(weights("nn-load=3").unwrap(), Some(3 << 20));
        for wrong in [
            "nn-load=",
            "nn-load=0",
            "nn-load=4096",
            "env=DUNLIN_NOT_SET",
            "file=/etc",
            "demo",
            "http=https://example.com",
        ] {
            assert!(arguments(&[], &[wrong]).granted(&asked).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_for_is_granted_by_its_kind() {
        let asked = br#"
            models = ["judge"]
            http = ["api.example.com"]
            environment = ["PATH", "DUNLIN_NOT_SET"]
        "#;
        let asked = Manifest::parse(asked).unwrap();
        let granted = |grant| arguments(&[], &[grant]).granted(&asked).unwrap();
        assert_eq!(granted("http").http, asked.http);
        let names: Vec<_> = granted("env").environment.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["PATH"]);
        let all = granted("all");
        assert_eq!((all.http.len(), all.environment.len(), all.models.len()), (1, 1, 1));
    }
}
