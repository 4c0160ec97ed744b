//! A server that does what a script says.

use std::{sync::Arc, time::Duration};

use dunlin_load::{
    Api, Client, Endpoint, Plan, Trust,
    plan::{Pace, Ruler, Source},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// What is done for one request, one after the other.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Wait(Duration),
    /// Bytes, as they are.
    Write(String),
    /// A piece of a chunked body.
    Chunk(String),
    /// The end of a chunked body.
    End,
    Close,
}

pub(crate) type Script = Arc<dyn Fn(&Value) -> Vec<Step> + Send + Sync>;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn event(document: &Value) -> Step {
    Step::Chunk(format!("data: {document}\n\n"))
}

pub(crate) fn token(text: &str) -> Step {
    event(&json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] }))
}

pub(crate) fn head() -> Step {
    Step::Write(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".into(),
    )
}

/// Finish, usage, `[DONE]`.
pub(crate) fn tail(tokens: usize) -> [Step; 4] {
    [
        event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] })),
        event(&json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": tokens } })),
        Step::Chunk("data: [DONE]\n\n".into()),
        Step::End,
    ]
}

/// An empty piece at once, then tokens at their pace.
pub(crate) fn answer(ttft: Duration, tpot: Duration, tokens: usize) -> Vec<Step> {
    let first =
        event(&json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" } }] }));
    let mut steps = vec![head(), first, Step::Wait(ttft), token("a")];
    for _ in 1..tokens {
        steps.extend([Step::Wait(tpot), token("a")]);
    }
    steps.extend(tail(tokens));
    steps
}

/// Serves for as long as the test runs; where.
pub(crate) async fn serve(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, script.clone()));
        }
    });
    format!("http://{address}/v1")
}

/// Ends when either side closes.
async fn connection(stream: TcpStream, script: Script) -> Option<()> {
    let mut stream = BufStream::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        for step in script(&serde_json::from_slice(&body).unwrap_or_default()) {
            match step {
                Step::Wait(time) => sleep(time).await,
                Step::Write(text) => stream.write_all(text.as_bytes()).await.ok()?,
                Step::Chunk(text) => {
                    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.ok()?;
                }
                Step::End => stream.write_all(b"0\r\n\r\n").await.ok()?,
                Step::Close => return stream.shutdown().await.ok(),
            }
            stream.flush().await.ok()?;
        }
    }
}

pub(crate) fn client(base: &str) -> Arc<Client> {
    patient(base, Duration::from_secs(60))
}

/// A client that waits so long for a whole answer.
pub(crate) fn patient(base: &str, timeout: Duration) -> Arc<Client> {
    let endpoint = Endpoint {
        base: base.to_owned(),
        api: Api::Chat,
        model: "m".to_owned(),
        key: Some("secret".to_owned()),
        extra: serde_json::Map::new(),
        asks_usage: true,
        timeout,
    };
    Arc::new(Client::new(endpoint, &Trust::Public).unwrap())
}

pub(crate) fn plan(pace: Pace, requests: usize) -> Plan {
    let work = Source::MadeUp { prompt_tokens: "30".parse().unwrap(), output_tokens: "10".parse().unwrap() };
    Plan { pace, work, requests: Some(requests), duration: None, seed: 1, ruler: Ruler::default() }
}
