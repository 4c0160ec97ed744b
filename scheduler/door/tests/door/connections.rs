//! Connections: those that are silent, those that leave, those that are encrypted.

use std::{sync::Arc, time::Duration};

use dunlin_door::limits::MAX_UNPROVEN;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::house::{self, House};

const PATIENCE: Duration = Duration::from_secs(60);

/// More than may be silent at once.
const SILENT: usize = MAX_UNPROVEN + 100;

const CHAT: &str = r#"{"model": "demo", "messages": [{"role": "user", "content": "hi"}]}"#;

async fn live(house: &House) -> usize {
    let seen = house.ask("GET /v1/invocations?live=true", "", "").await.json();
    seen["data"].as_array().unwrap().len()
}

async fn until_live(house: &House, wanted: usize) {
    let began = Instant::now();
    while live(house).await != wanted {
        assert!(began.elapsed() < PATIENCE, "{wanted} never were live");
    }
}

#[tokio::test]
async fn whoever_leaves_cancels() {
    let house = House::open().await;
    for streams in ["false", "true"] {
        let body = CHAT.replace("\"demo\"", &format!("\"demo\", \"stream\": {streams}"));
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        let length = body.len();
        let text = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        until_live(&house, 1).await;
        if streams == "true" {
            // After a while the head is sent, though there is nothing to say yet.
            let mut head = [0; 15];
            timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
            assert_eq!(&head, b"HTTP/1.1 200 OK");
        }
        drop(stream);
        until_live(&house, 0).await;
    }
    let all = house.ask("GET /v1/invocations", "", "").await.json();
    let states: Vec<_> = all["data"].as_array().unwrap().iter().map(|of| of["state"].clone()).collect();
    assert_eq!(states, ["cancelled", "cancelled"]);
    house.close().await;
}

#[tokio::test]
async fn the_silent_make_way_for_who_speaks() {
    let house = House::open().await;
    // The door has raised the limit of open files.
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(house.address()).await.unwrap());
    }
    let answer = timeout(PATIENCE, house.ask("GET /healthz", "", "")).await.unwrap();
    assert_eq!(answer.status, 200);
    let mut first = silent.swap_remove(0);
    // The oldest of them were let go.
    let read = timeout(PATIENCE, first.read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    house.close().await;
}

#[tokio::test]
async fn https_is_spoken_by_the_certificate_that_is_given() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let house = House::with(false, Some((chain, key))).await;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let answer = house::ask(&mut stream, "GET /healthz", "", "").await;
    assert_eq!(answer.status, 200);
    house.close().await;
}
