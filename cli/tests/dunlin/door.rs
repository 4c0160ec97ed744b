//! The HTTP of a fleet at work: streams that are taken up again, and what keys are told.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{
    clients::up,
    fleet::{Running, two_ports},
    http::{get, post},
    support::Home,
};

const KEY: &str = "idempotency-key: once\r\n";

fn asked(stream: bool) -> String {
    let message = json!({ "role": "user", "content": "kernel: EXT4-fs error on sda1. What is wrong?" });
    json!({ "model": "demo", "messages": [message], "max_tokens": 24, "temperature": 1, "seed": 3, "stream": stream })
        .to_string()
}

/// Events of a stream: their ids, and what they add to the text.
fn events(body: &str) -> Vec<(Option<String>, String)> {
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let events = body.split("\n\n").filter_map(|event| {
        let data = field(event, "data:").filter(|data| data != "[DONE]")?;
        let data: Value = serde_json::from_str(&data).unwrap();
        let text = data["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
        Some((field(event, "id:"), text))
    });
    events.collect()
}

fn text(events: &[(Option<String>, String)]) -> String {
    events.iter().map(|(_, text)| text.as_str()).collect()
}

/// Reads as far as the first event that can be come back to, and leaves.
fn left_early(url: &str, body: &str) -> (String, String) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.0\r\nhost: {host}\r\n{KEY}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let (mut seen, mut lines) = (String::new(), BufReader::new(stream).lines());
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {seen}")).unwrap();
        seen += &(line.clone() + "\n");
        if let Some(id) = line.strip_prefix("id: ") {
            let id = id.to_owned();
            seen += &(lines.next().unwrap().unwrap() + "\n\n");
            return (id, seen.split_once("\n\n").unwrap().1.to_owned());
        }
    }
}

#[test]
fn a_stream_is_taken_up_where_it_was_left() {
    let home = Home::new();
    let (_up, url) = up(&home, "");
    let path = format!("{url}/v1/chat/completions");
    // Whoever says that it is up is ready.
    assert_eq!(get(&format!("{url}/readyz")).status, 200);
    let (id, seen) = left_early(&url, &asked(true));
    let rest = post(&path, &format!("{KEY}last-event-id: {id}\r\n"), &asked(true));
    assert_eq!(rest.status, 200, "{rest:?}");
    // It is the same answer, and nothing of it is told twice.
    let whole = post(&path, KEY, &asked(false)).json();
    let whole = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(text(&events(&seen)) + &text(&events(&rest.body)), whole, "{seen}\n---\n{}", rest.body);
    assert!(!whole.is_empty());
    // From each event on, whoever left there.
    let all = events(&post(&path, KEY, &asked(true)).body);
    for (at, (id, _)) in all.iter().enumerate() {
        let Some(id) = id else { continue };
        let rest = post(&path, &format!("last-event-id: {id}\r\n"), &asked(true));
        assert_eq!(text(&events(&rest.body)), text(&all[at + 1..]), "after {id}");
    }
    // One that nobody knows.
    let unknown = format!("last-event-id: {}:3\r\n", "a".repeat(26));
    assert_eq!(post(&path, &unknown, &asked(true)).status, 404);
}

#[test]
fn who_makes_a_key_hears_that_it_is_not_encrypted() {
    let home = Home::new();
    let arguments = format!("up --port {} --http 0.0.0.0:0", two_ports());
    let up = Running::start(home.dunlin(&arguments).into_command());
    up.says("whoever is on the way can read the key");
    up.says("is up, on UDP");
    let output = home.dunlin("key new ann").output();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("can read the key: --http-cert"), "{said}");
    assert_eq!(home.dunlin("key new bob --json").json()["unencrypted"], true);
}
