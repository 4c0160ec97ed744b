//! How a run is shown: as text while it comes, as one JSON document, or as lines of JSON.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use dunlin_engine_handle::ModelInfo;
use dunlin_host::{Chunk, Outcome, Pipeline, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    store::Model,
    terminal::{
        output::Output,
        progress::{Bar, Progress},
    },
    usage::UsageJson,
};

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    JsonLines,
}

/// Takes the chunks of a run, and its end.
#[derive(Debug)]
pub(crate) struct Report {
    form: Form,
    output: Output,
    progress: Progress,
    bar: Option<Bar>,
    /// Everything so far.
    emitted: String,
}

impl Report {
    pub(crate) fn new(form: Form, progress: Progress) -> Self {
        Self { form, output: Output::stdout(), progress, bar: None, emitted: String::new() }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// # Errors
    /// If the reader went away.
    pub(crate) fn chunk(&mut self, chunk: Chunk) -> io::Result<()> {
        match (self.form, chunk) {
            (Form::Text, Chunk::Progress(share)) => {
                // Only as long as there is no text that it would stand in the middle of.
                if self.emitted.is_empty() {
                    let progress = &self.progress;
                    self.bar.get_or_insert_with(|| progress.share("running")).set(share);
                }
                Ok(())
            }
            (Form::Text, Chunk::Text(text)) => {
                self.bar = None;
                self.emitted += &text;
                self.output.text(&text)
            }
            (Form::Text, Chunk::Json(text)) => {
                self.bar = None;
                self.emitted += &text;
                self.emitted.push('\n');
                self.output.end_line()?;
                self.output.text(&text)?;
                self.output.end_line()
            }
            (Form::Json, _) => Ok(()),
            (Form::JsonLines, chunk) => self.line(&match chunk {
                Chunk::Text(text) => json!({ "type": "text", "text": text }),
                Chunk::Json(text) => json!({ "type": "json", "json": parsed(&text) }),
                Chunk::Progress(share) => json!({ "type": "progress", "share": share }),
            }),
        }
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        self.output.bytes(format!("{value}\n").as_bytes())
    }

    /// The end of a run on this machine.
    ///
    /// # Errors
    /// If the reader went away.
    pub(crate) fn end(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        self.close(ended.outcome.result.as_ref().ok(), || ended.document())
    }

    /// What was answered, where that is not what was emitted already; `document`: the form of `--json`.
    ///
    /// # Errors
    /// If the reader went away.
    pub(crate) fn close(
        &mut self,
        response: Option<&Response>,
        document: impl FnOnce() -> Value,
    ) -> io::Result<()> {
        self.bar = None;
        match (self.form, response) {
            (Form::Text, Some(response)) => self.response(response),
            (Form::Text, None) => self.output.end_line(),
            (Form::Json, _) => self.output.bytes(format!("{:#}\n", document()).as_bytes()),
            (Form::JsonLines, _) => {
                let mut document = document();
                document["type"] = "end".into();
                self.line(&document)
            }
        }
    }

    fn response(&mut self, response: &Response) -> io::Result<()> {
        let Ok(text) = std::str::from_utf8(&response.body) else {
            return self.output.bytes(&response.body);
        };
        if text.trim() != self.emitted.trim() {
            self.output.end_line()?;
            self.output.text(text)?;
        }
        self.output.end_line()
    }
}

/// A run that ended, and all that is known of it.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) model: &'a Model,
    pub(crate) info: &'a ModelInfo,
    pub(crate) seed: u64,
    pub(crate) timings: Timings,
}

/// Where the time went. Compiling and loading go on side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timings {
    pub(crate) began: Instant,
    /// None for a pipeline that was compiled before.
    pub(crate) compile: Option<Duration>,
    pub(crate) load: Duration,
}

#[derive(Serialize)]
struct ModelJson<'a> {
    name: &'a str,
    file: &'a PathBuf,
    sha256: Option<&'a str>,
    architecture: &'a str,
    quantization: &'a str,
    parameters: u64,
    context_length: u32,
    threads: [u32; 2],
    backend: &'a str,
}

impl Ended<'_> {
    /// The form of `--json`.
    pub(crate) fn document(&self) -> Value {
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 1e4).round() / 10.0;
        let Self { outcome, model, info, timings, .. } = self;
        let mut document = outcome.result.as_ref().map_or_else(|_| json!({}), result);
        if let Some(failure) = self.failure {
            document["error"] = failure.json();
        }
        document["usage"] = json!(UsageJson::from(*outcome));
        document["timings_ms"] = json!({
            "compile": timings.compile.map(milliseconds),
            "load": milliseconds(timings.load),
            "run": milliseconds(outcome.spent.wall_time),
            "total": milliseconds(timings.began.elapsed()),
        });
        document["pipeline"] = json!({
            "name": self.pipeline.name(),
            "digest": self.pipeline.digest().to_string(),
        });
        document["model"] = json!(ModelJson {
            name: &model.name,
            file: &model.path,
            sha256: model.sha256.as_deref(),
            architecture: &info.architecture,
            quantization: &info.quantization,
            parameters: info.parameters,
            context_length: info.context_length,
            threads: [info.threads.prefill, info.threads.decode],
            backend: &info.backend,
        });
        document["seed"] = self.seed.into();
        document["notes"] = json!(self.pipeline.notes());
        document["log"] = json!(outcome.log.text);
        document
    }
}

/// What a response says, for programs.
pub(crate) fn result(response: &Response) -> Value {
    let result = match std::str::from_utf8(&response.body) {
        Ok(text) if response.content_type.starts_with("application/json") => parsed(text),
        Ok(text) if response.content_type == "application/x-ndjson" => text.lines().map(parsed).collect(),
        Ok(text) => text.into(),
        Err(_) => json!({ "bytes": response.body }),
    };
    json!({ "result": result, "content_type": response.content_type })
}

/// JSON, or the text itself where it is none.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
