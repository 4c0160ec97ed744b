//! What a part of a fleet tells of itself to those who watch it.

use std::net::SocketAddr;

use dunlin_agent::{Agent, Exposed};

use super::http::address;
use crate::{arguments::Global, terminal};

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct MetricsOptions {
    /// Show metrics of this node to Prometheus, at /metrics [default where no address is given: 127.0.0.1:4750]
    #[arg(long, value_name = "[HOST:]PORT", num_args = 0..=1, default_missing_value = "4750", value_parser = address)]
    metrics: Option<SocketAddr>,
}

impl MetricsOptions {
    /// # Errors
    /// If it cannot listen there.
    pub(super) async fn expose(&self, node: &Agent, global: Global) -> anyhow::Result<Option<Exposed>> {
        let Some(listen) = self.metrics else { return Ok(None) };
        let exposed = node.expose(listen).await?;
        if !global.quiet {
            let whom = if exposed.address().ip().is_loopback() { "" } else { ", to whoever can connect" };
            terminal::tell(format_args!(
                "http://{}/metrics shows what this node does{whom}",
                exposed.address()
            ));
        }
        Ok(Some(exposed))
    }
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TraceOptions {
    /// Tell a collector of OpenTelemetry what becomes of each invocation: its base URL, for OTLP over HTTP, as in http://HOST:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    otlp: Option<String>,
}

impl TraceOptions {
    /// An empty variable says nothing.
    pub(super) fn endpoint(&self) -> Option<String> {
        self.otlp.clone().filter(|endpoint| !endpoint.is_empty())
    }
}
