//! What a pipeline is asked: the input and the parameters.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read},
    path::Path,
};

use dunlin_host::Request;

use crate::failure::Failure;

/// Largest input, in bytes: what the host carries into a pipeline in one call.
const MAX_INPUT: u64 = 16 << 20;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RequestArguments {
    /// Where the input is: a file, or `-` for standard input [default: standard input]
    #[arg(long, short, value_name = "FILE|-")]
    input: Option<String>,
    /// The input itself
    #[arg(long, short, value_name = "TEXT", conflicts_with = "input")]
    text: Option<String>,
    /// Arguments of a command-line guest, as a shell would split them; without --input and --text its stdin is then empty
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    args: Option<String>,
    /// A parameter of the pipeline; `KEY=@FILE` takes what is in a file, `KEY=@@...` begins with an @
    #[arg(long = "param", short, value_name = "KEY=VALUE")]
    params: Vec<String>,
}

impl RequestArguments {
    /// What follows the name of a command-line guest, if that is said.
    ///
    /// # Errors
    /// If a quote is not closed.
    pub(crate) fn arguments(&self) -> Result<Option<Vec<String>>, Failure> {
        let Some(text) = &self.args else { return Ok(None) };
        match shlex::split(text) {
            Some(arguments) => Ok(Some(arguments)),
            None => Err(Failure::usage(format!("--args {text:?} has a quote that is not closed"))),
        }
    }

    /// The input where it is named, and nothing where it is not.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_if_given(&self) -> anyhow::Result<Request> {
        if self.text.is_some() || self.input.is_some() {
            return self.read();
        }
        let params = self.params.iter().map(|text| param(text)).collect::<anyhow::Result<_>>()?;
        Ok(Request { content_type: content_type(None, &[]), body: Vec::new(), params })
    }

    /// # Errors
    /// If a file cannot be read, or there is no input.
    pub(crate) fn read(&self) -> anyhow::Result<Request> {
        let params = self.params.iter().map(|text| param(text)).collect::<anyhow::Result<_>>()?;
        let body = self.body()?;
        Ok(Request { content_type: content_type(self.input.as_deref(), &body), body, params })
    }

    fn body(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.text, self.input.as_deref()) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some("-")) => read(io::stdin(), "standard input"),
            (None, Some(path)) => {
                let file = File::open(path)
                    .map_err(|error| Failure::usage(format!("cannot read the input {path}: {error}")))?;
                read(file, path)
            }
            (None, None) if io::stdin().is_terminal() => Err(Failure::usage("there is nothing to read: standard input is a terminal")
                .hint("give --text TEXT or --input FILE, or pipe something in; --input - reads what you type, to Ctrl-D")
                .into()),
            (None, None) => read(io::stdin(), "standard input"),
        }
    }
}

fn read(from: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    from.take(MAX_INPUT + 1)
        .read_to_end(&mut body)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    if body.len() as u64 > MAX_INPUT {
        let message = format!("{name} has more than {} MiB", MAX_INPUT >> 20);
        return Err(Failure::usage(message).hint("split it, and run the pipeline on each part").into());
    }
    Ok(body)
}

fn content_type(path: Option<&str>, body: &[u8]) -> String {
    let extension = path.and_then(|path| Path::new(path).extension()?.to_str());
    let content_type = match extension {
        Some("json") => "application/json",
        _ if std::str::from_utf8(body).is_ok() => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    content_type.to_owned()
}

fn param(text: &str) -> anyhow::Result<(String, String)> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err(Failure::usage(format!("--param {text:?} has no value"))
            .hint("write --param KEY=VALUE")
            .into());
    };
    let value = match value.strip_prefix('@') {
        None => value.to_owned(),
        Some(rest) if rest.starts_with('@') => rest.to_owned(),
        Some(path) => fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("cannot read {path} for the parameter {key:?}: {error}"))
        })?,
    };
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "{}\n").unwrap();
        let path = file.path().display();
        let check = |text: &str, key: &str, value: &str| {
            assert_eq!(param(text).unwrap(), (key.to_owned(), value.to_owned()), "{text}");
        };
        check("choices=ok,bad", "choices", "ok,bad");
        check("a=b=c", "a", "b=c");
        check("a=", "a", "");
        check("a=@@b", "a", "@b");
        check(&format!("schema=@{path}"), "schema", "{}\n");
        for text in ["a", "=b", "a=@/nonexistent"] {
            assert!(param(text).is_err(), "{text}");
        }
    }
}
