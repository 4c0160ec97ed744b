//! Takes spans, and tells a collector of them from a thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use thiserror::Error;
use ureq::Agent;

use crate::{Span, otlp};

/// Spans that wait to be told; what comes while there are so many is lost, and counted.
const MAX_WAITING: usize = 8192;

/// Spans in one request.
const MAX_BATCH: usize = 512;

/// So long the first of a batch waits for others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where spans go below an endpoint that has no path of its own.
const PATH: &str = "/v1/traces";

/// Who tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// As in `dunlin-scheduler`.
    pub service: &'static str,
    pub version: String,
    /// The name of the member.
    pub instance: String,
}

/// Why spans cannot be told there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no endpoint of OTLP over HTTP; write http://HOST:4318, or the whole URL")]
pub struct CollectorError(String);

/// Takes spans. Clones are of the same; what waits is still told after the last is dropped, if the process lives for so long.
#[derive(Debug, Clone)]
pub struct Exporter {
    spans: SyncSender<Told>,
    lost: Arc<AtomicU64>,
    url: Arc<str>,
}

/// What the thread is told.
#[derive(Debug)]
enum Told {
    Span(Box<Span>),
    /// Tell what waits now, and say when that is done.
    Flush(SyncSender<()>),
}

impl Exporter {
    /// `endpoint`: the base URL of a collector, or the URL of its traces.
    ///
    /// # Errors
    /// If it is no URL of HTTP.
    pub fn start(endpoint: &str, resource: Resource) -> Result<Self, CollectorError> {
        let url = url(endpoint).ok_or_else(|| CollectorError(endpoint.to_owned()))?;
        let (spans, waiting) = sync_channel(MAX_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let telling =
            Telling { agent: agent(), url: url.clone(), resource, lost: lost.clone(), fails: false };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || telling.run(&waiting))
            .map_err(|error| CollectorError(format!("{endpoint}: {error}")))?;
        Ok(Self { spans, lost, url: url.into() })
    }

    /// Never waits.
    pub fn tell(&self, span: Span) {
        if self.spans.try_send(Told::Span(Box::new(span))).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Returns once what waits has been told, or cannot be within this time. Blocks.
    pub fn flush(&self, within: Duration) {
        let (done, told) = sync_channel(1);
        if self.spans.try_send(Told::Flush(done)).is_ok() {
            // Whoever goes down does not wait for a collector that is not there.
            let _ = told.recv_timeout(within);
        }
    }

    /// Where they go.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Spans that were not told: there were too many, or the collector did not take them.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

struct Telling {
    agent: Agent,
    url: String,
    resource: Resource,
    lost: Arc<AtomicU64>,
    /// The last batch was not taken.
    fails: bool,
}

impl Telling {
    fn run(mut self, waiting: &Receiver<Told>) {
        while let Some((batch, flushed)) = batch(waiting) {
            let told = if batch.is_empty() { Ok(()) } else { self.post(&batch) };
            if let Err(error) = &told {
                self.lost.fetch_add(batch.len() as u64, Relaxed);
                if !self.fails {
                    tracing::warn!(
                        url = self.url,
                        error,
                        "traces are not taken, and are lost until they are"
                    );
                }
            } else if self.fails {
                tracing::info!(url = self.url, "traces are taken again");
            }
            self.fails = told.is_err();
            // Who asked may not wait any more.
            if let Some(done) = flushed {
                let _ = done.try_send(());
            }
        }
    }

    fn post(&self, batch: &[Span]) -> Result<(), String> {
        let body = otlp::request(&self.resource, batch).to_string();
        let sent = self.agent.post(&self.url).header("content-type", "application/json").send(body);
        let status = sent.map_err(|error| error.to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(format!("status {status}")) }
    }
}

/// What has come together, and who waits for it to be told; `None` once nothing more can come.
fn batch(waiting: &Receiver<Told>) -> Option<(Vec<Span>, Option<SyncSender<()>>)> {
    let (mut batch, mut next) = (Vec::new(), Ok(waiting.recv().ok()?));
    let until = Instant::now() + PATIENCE;
    loop {
        match next {
            Ok(Told::Span(span)) => batch.push(*span),
            Ok(Told::Flush(done)) => return Some((batch, Some(done))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Some((batch, None)),
        }
        if batch.len() >= MAX_BATCH {
            return Some((batch, None));
        }
        next = waiting.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .user_agent(concat!("dunlin/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(TIMEOUT))
        .build()
        .new_agent()
}

/// As OpenTelemetry has it: below a base, traces have a path of their own.
fn url(endpoint: &str) -> Option<String> {
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if host.is_empty() || host.contains(|c: char| c.is_whitespace()) {
        return None;
    }
    Some(if path.len() > 1 {
        endpoint.to_owned()
    } else {
        format!("{}{PATH}", endpoint.trim_end_matches('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_bases_or_whole_urls() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("https://collector/", Some("https://collector/v1/traces")),
            ("http://collector/otlp/traces", Some("http://collector/otlp/traces")),
            ("collector:4318", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(url(endpoint).as_deref(), expected, "{endpoint}");
        }
    }
}
