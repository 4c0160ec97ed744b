//! A scheduler with a door, and the least of a client.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use dunlin_door::{Door, DoorOptions};
use dunlin_link::clock::SystemClock;
use dunlin_protocol::{Allowance, Answer, Ask, ModelDigest, NewKey, Variant};
use dunlin_scheduler::{BuiltinPipeline, Listen, Server, ServerOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

const ANY: &str = "127.0.0.1:0";

/// It knows the model `demo`, and no node has it.
pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) door: Door,
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(false, None).await
    }

    pub(crate) async fn with(needs_key: bool, tls: Option<(PathBuf, PathBuf)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let builtin = |name: &str| BuiltinPipeline { name: name.to_owned(), summary: String::new() };
        let options = ServerOptions {
            folder: folder.path().to_owned(),
            fleet: None,
            listen: Listen {
                name: "one".parse().unwrap(),
                members: ANY.parse().unwrap(),
                joining: ANY.parse().unwrap(),
            },
            policy: None,
            plan: None,
            builtins: ["chat", "complete", "embed"].map(builtin).to_vec(),
            build: "test".to_owned(),
            otlp: None,
        };
        let server = Server::start(options, Arc::new(SystemClock::default())).await.unwrap();
        let variant = Variant { model: ModelDigest([7; 32]), name: "q8".to_owned(), bytes: 1, quality: None };
        let alias = Ask::Alias { alias: "demo".to_owned(), variants: vec![variant], resident_on: 0 };
        assert!(matches!(server.front().ask(alias, None).await, Answer::Done));
        let listen = ANY.parse().unwrap();
        let options = DoorOptions { listen, tls, needs_key, build: "test".to_owned() };
        let door = Door::open(options, server.front().clone()).await.unwrap();
        Self { server, door, _folder: folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    pub(crate) async fn key(&self, name: &str, allowance: Allowance) -> String {
        let key = NewKey { name: name.to_owned(), allowance, valid_for_s: None };
        match self.server.front().ask(Ask::NewKey(key), None).await {
            Answer::Key { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    /// `request`: `METHOD PATH`. Headers are lines.
    pub(crate) async fn ask(&self, request: &str, headers: &str, body: &str) -> Response {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        ask(&mut stream, request, headers, body).await
    }

    pub(crate) async fn close(self) {
        self.door.close().await;
        self.server.stop().await;
    }
}

pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
    headers: &str,
    body: &str,
) -> Response {
    let host = if headers.to_lowercase().contains("host:") { "" } else { "host: localhost\r\n" };
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    // What is too large is answered before it is read to its end.
    drop(stream.write_all(text.as_bytes()).await);
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, head: head.to_lowercase(), body: body.to_owned() }
}

impl Response {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Of an error of OpenAI's kind.
    pub(crate) fn code(&self) -> String {
        let document: Value = serde_json::from_str(&self.body).unwrap_or_default();
        document["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}
