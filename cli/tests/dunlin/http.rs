//! The least of HTTP that tests need.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// `url`: as in `http://127.0.0.1:80/metrics`.
pub(crate) fn get(url: &str) -> Response {
    ask("GET", url, "", "")
}

/// Headers are lines.
pub(crate) fn post(url: &str, headers: &str, body: &str) -> Response {
    ask("POST", url, &format!("content-type: application/json\r\n{headers}"), body)
}

fn ask(method: &str, url: &str, headers: &str, body: &str) -> Response {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {host}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{url}: {text:?}"));
    Response { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_owned() }
}

impl Response {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// For the query of a URL.
pub(crate) fn quoted(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
