//! Outbound HTTP: what is granted gets through, and nothing else does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use dunlin_host::{InvokeError, Outcome, Pipeline, PipelineSource};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::scene::{Scene, host};

async fn fetch() -> Pipeline {
    host().load(PipelineSource::bytes("fetch", dunlin_host_guests::FETCH)).await.unwrap()
}

async fn sent(lines: &str, granted: &[&str]) -> Outcome {
    sent_within(lines, granted, Duration::from_secs(60)).await
}

async fn sent_within(lines: &str, granted: &[&str], wall_time: Duration) -> Outcome {
    let mut scene = Scene::bare(lines).wall_time(wall_time);
    scene.invocation.grants.http = granted.iter().map(|text| text.parse().unwrap()).collect();
    host().invoke(&fetch().await, scene.invocation).await
}

fn said(outcome: &Outcome) -> String {
    String::from_utf8(outcome.result.as_ref().unwrap().body.clone()).unwrap()
}

/// A server on this machine, and how many connections it had.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// It answers each request with its first line and its body, in capitals.
    async fn start() -> Self {
        Self::serving(async |mut stream| {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !is_complete(&request) {
                let count = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            let request = String::from_utf8(request).unwrap().to_uppercase();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let answer = format!("{} {body}", head.lines().next().unwrap());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).await.unwrap();
        })
        .await
    }

    /// It sends the beginning of an answer and never the rest.
    async fn stalling() -> Self {
        Self::serving(async |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst").await.unwrap();
            // Until the other side hangs up.
            drop(stream.read_to_end(&mut Vec::new()).await);
        })
        .await
    }

    async fn serving<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    !head.to_lowercase().contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n")
}

#[tokio::test]
async fn requests_reach_what_is_granted() {
    let server = Server::start().await;
    let address = server.address.to_string();
    let outcome =
        sent(&format!("GET http://{address}/a?b=c\nPOST http://{address}/ hello"), &[&address]).await;
    let text = said(&outcome);
    let (get, post) = text.split_once('\n').unwrap();
    assert_eq!(get, "200 GET /A?B=C HTTP/1.1 ");
    assert!(post.starts_with("200 POST / HTTP/1.1") && post.contains("HELLO"), "{post}");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn without_a_grant_the_pipeline_does_not_start() {
    let outcome = sent("GET http://1.1.1.1/", &[]).await;
    assert_eq!(outcome.result, Err(InvokeError::NotGranted("outbound HTTP")));
    assert_eq!(outcome.spent.host_calls, 0);
}

/// Ways to write an address of this machine, and ways to mislead about whom a request is for.
#[tokio::test]
async fn nothing_else_is_reached() {
    let server = Server::start().await;
    let port = server.address.port();
    let tricks = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LOCALHOST.:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("0x7f.1:{port}"),
        format!("0177.0.0.1:{port}"),
        format!("127.1:{port}"),
        format!("0.0.0.0:{port}"),
        format!("0:{port}"),
        format!("[::1]:{port}"),
        format!("[::]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::ffff:7f00:1]:{port}"),
        format!("[64:ff9b::7f00:1]:{port}"),
        format!("api.example.com@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}@api.example.com"),
        format!("api.example.com.localhost:{port}"),
        format!("api.example.com:{port}"),
        "api.example.com.evil.test".to_owned(),
        "169.254.169.254".to_owned(),
        String::new(),
    ];
    let lines: Vec<_> = tricks.iter().map(|trick| format!("GET http://{trick}/")).collect();
    let text = said(&sent(&lines.join("\n"), &["api.example.com:80"]).await);
    for (trick, line) in tricks.iter().zip(text.lines()) {
        assert!(!line.starts_with("200"), "{trick}: {line}");
    }
    assert_eq!(text.lines().count(), tricks.len());
    assert_eq!(server.connections(), 0);
}

/// Numbers that are names to whoever grants them, and addresses of this machine to whoever resolves them.
#[tokio::test]
async fn granted_names_that_are_addresses_in_disguise_reach_nothing() {
    let server = Server::start().await;
    let port = server.address.port();
    for spelling in ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0"] {
        let host = format!("{spelling}:{port}");
        let said = said(&sent(&format!("GET http://{host}/"), &[&host]).await);
        assert!(
            said.starts_with("ErrorCode::Dns") || said.trim() == "ErrorCode::DestinationIpProhibited",
            "{host}: {said}"
        );
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn requests_are_host_calls() {
    let server = Server::start().await;
    let address = server.address.to_string();
    let lines = format!("GET http://{address}/\n").repeat(3);
    let mut scene = Scene::bare(&lines).limits(|limits| limits.host_calls = 100);
    scene.invocation.grants.http = [address.parse().unwrap()].into_iter().collect();
    let outcome = host().invoke(&fetch().await, scene.invocation).await;
    assert!(outcome.spent.host_calls >= 3, "{:?}", outcome.spent);
}

/// A name that is granted is not yet leave to reach this machine by it.
#[tokio::test]
async fn a_granted_host_is_not_reached_at_a_private_address_unless_that_is_granted_too() {
    let server = Server::start().await;
    let host = format!("localhost:{}", server.address.port());
    let line = format!("GET http://{host}/");
    assert_eq!(said(&sent(&line, &[&host]).await).trim(), "ErrorCode::DestinationIpProhibited");
    assert_eq!(server.connections(), 0);
    let ranges = [
        host.as_str(),
        &format!("127.0.0.0/8:{0}", server.address.port()),
        &format!("[::1]:{}", server.address.port()),
    ];
    assert!(said(&sent(&line, &ranges).await).starts_with("200"));
}

#[tokio::test]
async fn other_methods_and_schemes_are_refused() {
    let server = Server::start().await;
    let address = server.address.to_string();
    let text = said(&sent(&format!("CONNECT {address}"), &[&address]).await);
    assert!(text.contains("MethodInvalid"), "{text}");
    // Not a server of TLS: an error, and no end of the pipeline.
    let text = said(&sent(&format!("GET https://{address}/"), &[&address]).await);
    assert!(!text.starts_with("200"), "{text}");
}

#[tokio::test]
async fn a_server_that_stalls_holds_nobody_past_the_deadline() {
    let server = Server::stalling().await;
    let address = server.address.to_string();
    let line = format!("GET http://{address}/");
    let outcome = sent_within(&line, &[&address], Duration::from_millis(300)).await;
    assert!(outcome.spent.wall_time < Duration::from_secs(5), "{:?}", outcome.spent);
    // It has the time to say what it got, or is stopped.
    match &outcome.result {
        Ok(_) => assert_eq!(said(&outcome).trim(), "200 first"),
        Err(error) => assert_eq!(*error, InvokeError::Deadline),
    }
}
