//! The span of a request that makes work, around those of its invocations: by OpenTelemetry's conventions for HTTP servers,
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use std::time::Instant;

use axum::extract::Request;
use dunlin_protocol::{SpanId, TraceContext, TraceId};
use dunlin_traces::{Exporter, Kind, Span, Status, unix_nanos};
use http::{HeaderValue, Method, StatusCode, Version, header};

use crate::{accept::Peer, desk::Desk};

/// How those who ask say which span is above, and the door tells what is below it.
const TRACEPARENT: &str = "traceparent";

/// Bytes that are kept of what a client says of itself.
const MAX_AGENT: usize = 256;

/// A request that is being answered. It is told once this is dropped: when the last of its answer is sent, or nobody wants it.
#[derive(Debug)]
pub(crate) struct HttpSpan {
    exporter: Exporter,
    context: TraceContext,
    /// Of whoever asks.
    parent: Option<SpanId>,
    span: Span,
    status: Option<StatusCode>,
    began: Instant,
}

impl HttpSpan {
    /// Begins the span, and makes whatever the request begins a child of it. `None`: spans are told to nobody, the request makes
    /// no work, or whoever asks does not want to be traced.
    pub(crate) fn begin(desk: &Desk, route: &str, request: &mut Request) -> Option<Self> {
        let exporter = desk.front.traces().filter(|_| request.method() == Method::POST)?.clone();
        let caller: Option<TraceContext> =
            request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok()?.parse().ok());
        if caller.is_some_and(|caller| !caller.sampled) {
            return None;
        }
        // 0 is none.
        let context = TraceContext {
            trace: caller.map_or_else(|| TraceId(fastrand::u128(1..)), |caller| caller.trace),
            span: SpanId(fastrand::u64(1..)),
            sampled: true,
        };
        let span = describe(desk, route, request, context);
        request.headers_mut().insert(TRACEPARENT, HeaderValue::from_str(&context.to_string()).ok()?);
        let parent = caller.map(|caller| caller.span);
        Some(Self { exporter, context, parent, span, status: None, began: Instant::now() })
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

/// What is known before it is answered.
fn describe(desk: &Desk, route: &str, request: &Request, context: TraceContext) -> Span {
    let version = match request.version() {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_string());
    let span = Span {
        trace: context.trace,
        id: context.span,
        parent: None,
        name: format!("{} {route}", request.method()),
        kind: Kind::Server,
        start: 0,
        end: 0,
        attributes: Vec::new(),
        status: Status::Unset,
    };
    span.with("http.request.method", request.method().as_str())
        .with("http.route", route)
        .with("url.path", request.uri().path())
        .with("url.scheme", if desk.options.tls.is_some() { "https" } else { "http" })
        .with("server.address", desk.address.ip().to_string())
        .with("server.port", u32::from(desk.address.port()))
        .with("network.protocol.version", version)
        .with_some("client.address", peer)
        .with_some(
            "user_agent.original",
            agent.map(|agent| agent.chars().take(MAX_AGENT).collect::<String>()),
        )
}

impl Drop for HttpSpan {
    fn drop(&mut self) {
        let mut span = Span {
            parent: self.parent,
            start: unix_nanos(self.began),
            end: unix_nanos(Instant::now()),
            ..self.span.clone()
        };
        if let Some(status) = self.status {
            span = span.with("http.response.status_code", u32::from(status.as_u16()));
            // What is the client's fault is none of the server, by the same conventions.
            if status.is_server_error() {
                span = span.with("error.type", status.as_u16().to_string());
                span.status = Status::Error(String::new());
            }
        }
        tracing::debug!(trace_id = %self.context.trace, span_id = %self.context.span, name = span.name, "answered");
        self.exporter.tell(span);
    }
}
