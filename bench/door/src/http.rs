//! Clients: that of `dunlin bench`, and one of a connection of its own that shows what it gets.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use dunlin_bench_stand::Stand;
use dunlin_load::{Api, Client, Decoder, Endpoint, Sample, Trust, plan::Planned};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

/// Longer than any answer here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each connection is a file, and by default a process may have 1024.
pub(crate) fn raise_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the limit of open files cannot be raised")
}

/// The client of `dunlin bench`, for chats with a model of this name.
pub(crate) fn client(stand: &Stand, model: &str, extra: Map<String, Value>) -> anyhow::Result<Client> {
    let endpoint = Endpoint {
        base: format!("{}/v1", stand.url()?),
        api: Api::Chat,
        model: model.to_owned(),
        key: None,
        extra,
        asks_usage: true,
        timeout: PATIENCE,
    };
    Ok(Client::new(endpoint, &Trust::Public)?)
}

/// One chat; whatever is wrong with its answer is an error.
pub(crate) async fn chat(client: &Client, prompt: &str, tokens: u64) -> anyhow::Result<Sample> {
    let planned = Planned { number: 0, at: None, prompt: prompt.to_owned(), max_tokens: tokens };
    let sample = client.send(&planned, tokio::time::Instant::now()).await;
    match &sample.fault {
        Some(fault) => anyhow::bail!("a chat failed: {fault}"),
        None => Ok(sample),
    }
}

/// What the engine that computes nothing is asked: a token each `pace_ms` after the first.
pub(crate) fn paced(pace_ms: u64) -> String {
    format!("pace={pace_ms}")
}

/// A request of a chat, as JSON.
pub(crate) fn asked(prompt: &str, tokens: u64, streams: bool) -> Value {
    json!({
        "model": "tiny",
        "messages": [{ "role": "user", "content": prompt }],
        "max_tokens": tokens,
        "stream": streams,
    })
}

/// `HOST:PORT` of the scheduler's HTTP.
pub(crate) fn address(stand: &Stand) -> anyhow::Result<String> {
    Ok(stand.url()?.trim_start_matches("http://").to_owned())
}

/// The status of a request on a connection of its own, and how long it took to its end.
pub(crate) async fn timed(address: &str, body: &Value) -> anyhow::Result<(u16, Duration, String)> {
    let begin = Instant::now();
    let response = post(address, body).await?;
    let status = response.status().as_u16();
    let said = response.into_body().collect().await?.to_bytes();
    Ok((status, begin.elapsed(), String::from_utf8_lossy(&said).into_owned()))
}

/// A stream to its end: its text, and whether it said that it is whole.
pub(crate) async fn streamed(address: &str, body: &Value) -> anyhow::Result<(String, bool)> {
    let response = post(address, body).await?;
    anyhow::ensure!(response.status().is_success(), "a stream was refused with {}", response.status());
    let (mut body, mut decoder) = (response.into_body(), Decoder::default());
    let (mut text, mut is_whole) = (String::new(), false);
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        decoder.push(&bytes, |_, data| {
            is_whole |= data == "[DONE]";
            let chunk: Value = serde_json::from_str(data).unwrap_or_default();
            text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        })?;
    }
    Ok((text, is_whole))
}

async fn post(address: &str, body: &Value) -> anyhow::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What breaks it off is told to whoever reads the answer.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post("/v1/chat/completions")
        .header("host", address)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    Ok(sender.send_request(request).await?)
}
