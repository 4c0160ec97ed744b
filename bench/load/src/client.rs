//! One streamed request to any server of OpenAI's API.

use std::{error::Error, fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::{
    answer::{self, Chunk, Piece},
    fault::Fault,
    plan::Planned,
    sample::{MAX_PIECES, Sample},
    sse::Decoder,
};

/// Bytes of an answer that says what went wrong, or lists models.
const MAX_SAID: usize = 1 << 20;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
const LIST: Duration = Duration::from_secs(30);
/// How long what follows the end of an answer is waited for.
const DRAIN: Duration = Duration::from_millis(100);
/// What a server may ask to wait that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Chat,
    Completions,
}

impl Api {
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
        }
    }
}

/// Where, as whom, and what is asked each time.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Up to `/v1`.
    pub base: String,
    pub api: Api,
    pub model: String,
    pub key: Option<String>,
    /// Further fields of the body, of which the last word is theirs.
    pub extra: Map<String, Value>,
    /// Whether to ask for the server's count of tokens: `stream_options.include_usage`.
    pub asks_usage: bool,
    /// From sending to the end of the answer.
    pub timeout: Duration,
}

/// Whose certificates are good.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those that browsers take.
    Public,
    /// Those that are signed by one of a file in PEM.
    File(PathBuf),
}

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("{0:?} is no address of HTTP")]
    Url(String),
    #[error("an API key has only visible characters")]
    Key,
    #[error("{path} has no certificate in PEM: {problem}")]
    Certificates { path: String, problem: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// What `/models` answered.
    #[error("{0}")]
    Models(Fault),
}

/// Keeps connections, as clients do.
#[derive(Debug)]
pub struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Endpoint,
    url: Uri,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// # Errors
    /// If the address, the key or the certificates are none.
    pub fn new(endpoint: Endpoint, trust: &Trust) -> Result<Self, ClientError> {
        let url = url(&endpoint.base, endpoint.api.path())?;
        let authorization = endpoint.key.as_ref().map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ClientError::Key)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(trust)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, authorization: authorization.transpose()?, endpoint, url })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The names of the server's models.
    ///
    /// # Errors
    /// If it does not list any.
    pub async fn models(&self) -> Result<Vec<String>, ClientError> {
        let url = url(&self.endpoint.base, "/models")?;
        let listed = async {
            let response = self.http.request(self.request(url, None)?).await.map_err(|e| unreached(&e))?;
            let (status, retry_after) = (response.status(), retry_after(&response));
            let said = text(response).await?;
            if !status.is_success() {
                return Err(refused(status, &said, retry_after));
            }
            let listed: Value =
                serde_json::from_str(&said).map_err(|_| Fault::Malformed(answer::shortened(&said)))?;
            let models = listed["data"].as_array().into_iter().flatten();
            Ok(models.filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
        };
        let listed = timeout(LIST, listed).await.unwrap_or(Err(Fault::Timeout(LIST)));
        listed.map_err(ClientError::Models)
    }

    /// Sends a request and reads its answer to the end. Whatever happens is in the sample; times are since `origin`.
    pub async fn send(&self, planned: &Planned, origin: Instant) -> Sample {
        let sent = origin.elapsed();
        let mut sample = Sample::new(planned.number, planned.at.unwrap_or(sent), sent);
        let limit = self.endpoint.timeout;
        let outcome = timeout(limit, self.exchange(planned, origin, &mut sample)).await;
        sample.fault = outcome.unwrap_or(Err(Fault::Timeout(limit))).err();
        if sample.end == sent {
            sample.end = origin.elapsed();
        }
        sample
    }

    async fn exchange(&self, planned: &Planned, origin: Instant, sample: &mut Sample) -> Result<(), Fault> {
        let body = self.body(planned).to_string();
        let request = self.request(self.url.clone(), Some(body))?;
        let response = self.http.request(request).await.map_err(|error| unreached(&error))?;
        sample.answered = Some(origin.elapsed());
        let (status, retry_after) = (response.status(), retry_after(&response));
        if !status.is_success() {
            return Err(refused(status, &text(response).await?, retry_after));
        }
        let kind =
            response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if !kind.starts_with("text/event-stream") {
            let kind = if kind.is_empty() { "something without a type" } else { kind };
            return Err(Fault::NotAStream(answer::shortened(kind)));
        }
        let is_whole = follow(response, origin, sample).await?;
        match (is_whole, sample.piece_count) {
            (false, _) => Err(Fault::Cut),
            (true, 0) => Err(Fault::Empty),
            (true, _) => Ok(()),
        }
    }

    fn request(&self, url: Uri, body: Option<String>) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::builder().uri(url);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request = request.header(header::USER_AGENT, concat!("dunlin-load/", env!("CARGO_PKG_VERSION")));
        let request = match body {
            Some(body) => request
                .method("POST")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "text/event-stream")
                .body(Full::from(body)),
            None => request.body(Full::default()),
        };
        request.map_err(|error| Fault::Connect(error.to_string()))
    }

    fn body(&self, planned: &Planned) -> Value {
        let endpoint = &self.endpoint;
        let mut body = json!({
            "model": endpoint.model,
            "max_tokens": planned.max_tokens,
            "temperature": 0,
            "stream": true,
        });
        match endpoint.api {
            Api::Chat => body["messages"] = json!([{ "role": "user", "content": planned.prompt }]),
            Api::Completions => body["prompt"] = json!(planned.prompt),
        }
        if endpoint.asks_usage {
            body["stream_options"] = json!({ "include_usage": true });
        }
        for (name, value) in &endpoint.extra {
            body[name] = value.clone();
        }
        body
    }
}

/// Reads the stream; whether it came to its end.
async fn follow(response: Response<Incoming>, origin: Instant, sample: &mut Sample) -> Result<bool, Fault> {
    let mut body = response.into_body();
    let mut decoder = Decoder::default();
    let (mut is_done, mut fault) = (false, None);
    while !is_done && let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::Broken(causes(&error)))?;
        let now = origin.elapsed();
        let Some(bytes) = frame.data_ref() else { continue };
        let decoded = decoder.push(bytes, |_, data| match answer::read(data) {
            Ok(Piece::End) => is_done = true,
            Ok(Piece::Chunk(chunk)) => take(sample, *chunk, now),
            Err(found) => fault = fault.take().or(Some(found)),
        });
        decoded.map_err(|error| Fault::Malformed(error.to_string()))?;
        if let Some(fault) = fault.take() {
            return Err(fault);
        }
        sample.end = now;
    }
    if is_done {
        // A connection whose answer is read to its end can be used again.
        drop(timeout(DRAIN, body.frame()).await);
    }
    Ok(is_done || sample.finish.is_some())
}

fn take(sample: &mut Sample, chunk: Chunk, now: Duration) {
    if chunk.has_token {
        sample.piece_count += 1;
        if sample.pieces.len() < MAX_PIECES {
            sample.pieces.push(now);
        }
    }
    sample.finish = chunk.finish.or(sample.finish.take());
    sample.usage = chunk.usage.or(sample.usage.take());
    sample.times = chunk.times.or(sample.times.take());
    sample.joules = chunk.joules.or(sample.joules.take());
    if let Some(place) = chunk.place {
        sample.node = place.node.or(sample.node.take());
        sample.is_emulated |= place.emulated;
    }
}

fn url(base: &str, path: &str) -> Result<Uri, ClientError> {
    let url: Uri = format!("{base}{path}").parse().map_err(|_| ClientError::Url(base.to_owned()))?;
    let is_http =
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty());
    if is_http { Ok(url) } else { Err(ClientError::Url(base.to_owned())) }
}

fn tls(trust: &Trust) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Public => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Trust::File(path) => {
            let wrong =
                |problem: String| ClientError::Certificates { path: path.display().to_string(), problem };
            let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("it is empty".to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn text(response: Response<Incoming>) -> Result<String, Fault> {
    let read = Limited::new(response.into_body(), MAX_SAID).collect().await;
    let bytes = read.map_err(|error| Fault::Broken(causes(&*error)))?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn refused(status: StatusCode, said: &str, retry_after: Option<Duration>) -> Fault {
    Fault::Status { status: status.as_u16(), said: answer::said_in(said), retry_after }
}

/// In seconds; a date is not believed.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds: f64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(MAX_RETRY_AFTER))
}

fn unreached(error: &legacy::Error) -> Fault {
    if error.is_connect() { Fault::Connect(causes(error)) } else { Fault::Broken(causes(error)) }
}

/// The innermost reason: what is around it says no more than the kind of the fault.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    answer::shortened(&innermost.to_string())
}
