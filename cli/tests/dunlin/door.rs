//! The HTTP of a fleet at work: streams that are taken up again, and what keys are told.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    clients::up,
    fleet::{PATIENCE, Running, two_ports},
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

/// Where somebody leaves: after so much of the request, or once the answer is so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    InTheHead,
    InTheBody,
    AtOnce,
    /// Once the scheduler says that it runs; the prompt is long.
    WhileItReads,
    /// After the first token, of one answer or of several.
    WhileItWrites(u32),
    /// The answer was to come as a whole.
    WhileItWaits,
}

/// On a board that takes its time.
fn slow(stream: bool, n: u32, words: usize) -> String {
    let message = json!({ "role": "user", "content": "disk nearly full ".repeat(words) });
    json!({ "model": "llama-3.2-1b", "messages": [message], "max_tokens": 400, "n": n, "stream": stream })
        .to_string()
}

/// Those that the scheduler knows, the newest first.
fn invocations(url: &str) -> Vec<Value> {
    let all = get(&format!("{url}/v1/invocations?limit=50")).json();
    all["data"].as_array().unwrap().clone()
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never came to this: {what}");
    }
}

fn leave(url: &str, when: Leaves) {
    let body = match when {
        Leaves::WhileItReads => slow(true, 1, 300),
        Leaves::WhileItWrites(n) => slow(true, n, 1),
        Leaves::WhileItWaits => slow(false, 1, 1),
        _ => slow(true, 1, 1),
    };
    let known = invocations(url).len();
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n", body.len());
    let (head, half) = (head + "\r\n", &body[..body.len() / 2]);
    match when {
        Leaves::InTheHead => return stream.write_all(&head.as_bytes()[..head.len() - 2]).unwrap(),
        Leaves::InTheBody => return stream.write_all((head + half).as_bytes()).unwrap(),
        _ => stream.write_all((head + &body).as_bytes()).unwrap(),
    }
    let newest = || invocations(url).into_iter().next().filter(|_| invocations(url).len() > known);
    match when {
        Leaves::WhileItReads => until("placed", || newest().is_some_and(|of| of["attempts"][0].is_object())),
        Leaves::WhileItWaits => {
            until("first token", || newest().is_some_and(|of| of["tokens"].as_u64() > Some(0)))
        }
        Leaves::WhileItWrites(_) => {
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            assert!(
                lines.any(|line| line.contains("\"content\":\"") && !line.contains("\"content\":\"\"")),
                "no token"
            );
        }
        _ => until("it is known", || newest().is_some()),
    }
}

#[test]
fn whoever_leaves_ends_the_work_in_every_state() {
    let home = Home::new();
    let (_up, url) = up(&home, "");
    let token = home.dunlin("token new").stdout();
    let login = std::fs::read_to_string(home.path("data/dunlin/fleet/login/scheduler")).unwrap();
    let (token, login, folder) = (token.trim(), login.trim(), home.path("pi").display().to_string());
    let join =
        format!("agent --join {token} --scheduler {login} --name pi --emulate pi5-8g --folder {folder}");
    let board = Running::start(home.dunlin(&join).into_command());
    board.says("connected scheduler");
    until("its models are known", || get(&format!("{url}/v1/models/llama-3.2-1b")).status == 200);
    for when in [
        // The first one loads the model.
        Leaves::AtOnce,
        Leaves::InTheHead,
        Leaves::InTheBody,
        Leaves::WhileItReads,
        Leaves::WhileItWrites(1),
        Leaves::WhileItWrites(3),
        Leaves::WhileItWaits,
    ] {
        let known = invocations(&url).len();
        leave(&url, when);
        until("all have ended", || {
            get(&format!("{url}/v1/invocations?live=true")).json()["data"] == json!([])
        });
        let all = invocations(&url);
        let expected = match when {
            Leaves::InTheHead | Leaves::InTheBody => 0,
            Leaves::WhileItWrites(n) => n as usize,
            _ => 1,
        };
        let new = &all[..all.len() - known];
        assert_eq!(new.len(), expected, "{when:?}: {all:#?}");
        for of in new {
            assert_eq!(of["state"], "cancelled", "{when:?}: {of:#}");
            assert!(of["tokens"].as_u64() < Some(400), "{when:?}: {of:#}");
        }
    }
    // Nothing of all that is in the way of who stays.
    let body = json!({ "model": "llama-3.2-1b", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 4 });
    let answer = post(&format!("{url}/v1/chat/completions"), "", &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
}
