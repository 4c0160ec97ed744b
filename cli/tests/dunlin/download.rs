//! `dunlin model add URL`, against a server that does what servers do.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use expect_test::{Expect, expect};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

use crate::support::{Home, tiny};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// From 0.
    number: usize,
    path: String,
    from: Option<usize>,
    if_range: Option<String>,
}

struct Reply {
    status: &'static str,
    headers: Vec<String>,
    body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    cut: Option<usize>,
}

impl Reply {
    fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    fn header(mut self, header: impl Into<String>) -> Self {
        self.headers.push(header.into());
        self
    }

    fn cut(self, after: usize) -> Self {
        Self { cut: Some(after), ..self }
    }

    /// As a file server answers: from where it was asked to, if the file is still the same.
    fn file(asked: &Asked, content: &[u8], tag: &str) -> Self {
        let tag = format!("\"{tag}\"");
        match asked.from {
            Some(from) if asked.if_range.as_ref() == Some(&tag) => {
                let range = format!("Content-Range: bytes {from}-{}/{}", content.len() - 1, content.len());
                Self::new("206 Partial Content", &content[from..])
                    .header(range)
                    .header(format!("ETag: {tag}"))
            }
            _ => Self::new("200 OK", content).header(format!("ETag: {tag}")),
        }
    }
}

struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (asked, answer, count) = (server.asked.clone(), Arc::new(answer), AtomicUsize::new(0));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let (asked, answer) = (asked.clone(), answer.clone());
                thread::spawn(move || serve(&connection.unwrap(), number, &asked, &*answer));
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(connection: &TcpStream, number: usize, all: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let mut asked = Asked { number, path, from: None, if_range: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        match name.to_lowercase().as_str() {
            "range" => {
                asked.from =
                    value.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
            }
            "if-range" => asked.if_range = Some(value.to_owned()),
            _ => {}
        }
    }
    let reply = answer(&asked);
    all.lock().unwrap().push(asked);
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|header| header.starts_with("Content-Length")) {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    reply.headers.iter().for_each(|header| head += &format!("{header}\r\n"));
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let mut connection = connection;
    // A client that has seen enough goes away.
    drop(connection.write_all(head.as_bytes()));
    drop(connection.write_all(b"\r\n").and_then(|()| connection.write_all(body)));
}

fn model() -> Vec<u8> {
    fs::read(tiny()).unwrap()
}

/// Adds what a server gives; the address is that of `path`.
#[track_caller]
fn check(server: &Server, home: &Home, path: &str, more: &str, expected: &Expect) {
    let output = add(server, home, path, more).output();
    let shown = [output.stdout, b"--- stderr\n".to_vec(), output.stderr].concat();
    let shown = format!("{}\n{}", output.status, String::from_utf8(shown).unwrap());
    expected.assert_eq(&home.stable(&shown).replace(&server.port.to_string(), "PORT"));
}

fn add<'a>(server: &Server, home: &'a Home, path: &str, more: &str) -> crate::support::Dunlin<'a> {
    home.dunlin(&format!("model add {} {more}", server.url(path))).env("DUNLIN_PAUSE_MS", "1")
}

/// Nothing of what did not become a model is left.
#[track_caller]
fn check_nothing_left(home: &Home) {
    let incoming = home.path("data/dunlin/models/.incoming");
    let left: Vec<_> = fs::read_dir(incoming).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_file_is_fetched_checked_and_named() {
    let server = Server::start(|asked| Reply::file(asked, &model(), "1"));
    let home = Home::new();
    check(
        &server,
        &home,
        "models/Tiny-Test-Q8_0.gguf?token=secret",
        "",
        &expect![[r#"
        exit status: 0
        added tiny-test:q8_0: "tiny (random weights)", llama, Q8_0, 167 kB (fetched, 179 kB)
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        try: dunlin run chat --model tiny-test --text Hello
    "#]],
    );
    let alias = fs::read_to_string(home.path("data/dunlin/models/tiny-test/alias.toml")).unwrap();
    expect![[r##"
        # A model of Dunlin; written by `dunlin model`. The first variant is the default.

        alias = "tiny-test"

        [[variant]]
        name = "q8_0"
        file = "tiny-test-q8_0.gguf"
        sha256 = "ead309be44862ad1fd4b8cecdd18719c7324eadc4c19fddf26254ed00557b580"
        bytes = 179008
        source = "http://127.0.0.1:PORT/models/Tiny-Test-Q8_0.gguf"
    "##]]
    .assert_eq(&alias.replace(&server.port.to_string(), "PORT"));
    assert_eq!(fs::read(home.path("data/dunlin/models/tiny-test/tiny-test-q8_0.gguf")).unwrap(), model());
    check_nothing_left(&home);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_was_cut() {
    let server = Server::start(|asked| {
        let reply = Reply::file(asked, &model(), "1");
        if asked.number < 2 { reply.cut(50_000) } else { reply }
    });
    let home = Home::new();
    add(&server, &home, "tiny.gguf", "").stdout();
    let from: Vec<_> = server.asked().iter().map(|asked| asked.from).collect();
    assert_eq!(from, [None, Some(50_000), Some(100_000)]);
    assert_eq!(fs::read(home.path("data/dunlin/models/tiny/tiny-q8_0.gguf")).unwrap(), model());
}

#[test]
fn a_later_command_goes_on_where_an_earlier_one_gave_up() {
    let server = Server::start(|asked| match asked.number {
        0 => Reply::file(asked, &model(), "1").cut(150_000),
        1..=4 => Reply::new("503 Service Unavailable", ""),
        _ => Reply::file(asked, &model(), "1"),
    });
    let home = Home::new();
    check(
        &server,
        &home,
        "tiny.gguf",
        "",
        &expect![[r#"
        exit status: 1
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        error: http://127.0.0.1:PORT/tiny.gguf: the server answers 503 Service Unavailable
          hint: 150 kB have come; the same command goes on from there
    "#]],
    );
    check(
        &server,
        &home,
        "tiny.gguf",
        "",
        &expect![[r#"
        exit status: 0
        added tiny:q8_0: "tiny (random weights)", llama, Q8_0, 167 kB (fetched, 179 kB)
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        try: dunlin run chat --model tiny --text Hello
    "#]],
    );
    assert_eq!(server.asked().last().unwrap().from, Some(150_000));
    check_nothing_left(&home);
}

#[test]
fn a_file_that_changed_is_fetched_from_its_beginning() {
    let server = Server::start(|asked| match asked.number {
        0 => Reply::file(asked, b"GGGGGGGGGG", "0").cut(1),
        _ => Reply::file(asked, &model(), "1"),
    });
    let home = Home::new();
    add(&server, &home, "tiny.gguf", "").stdout();
    assert_eq!(server.asked()[1].from, Some(1));
    assert_eq!(fs::read(home.path("data/dunlin/models/tiny/tiny-q8_0.gguf")).unwrap(), model());
}

#[test]
fn a_file_with_another_hash_is_not_taken() {
    let server = Server::start(|asked| Reply::file(asked, &model(), "1"));
    let home = Home::new();
    check(
        &server,
        &home,
        "tiny.gguf",
        &format!("--sha256 {}", "00".repeat(32)),
        &expect![[r#"
        exit status: 3
        --- stderr
        error: http://127.0.0.1:PORT/tiny.gguf is not the file that it should be: its SHA-256 is
          ead309be44862ad1fd4b8cecdd18719c7324eadc4c19fddf26254ed00557b580, not
          0000000000000000000000000000000000000000000000000000000000000000
          hint: what was fetched is removed again; is the hash that of this file?
    "#]],
    );
    check_nothing_left(&home);
    let right: String = Sha256::digest(model()).iter().map(|byte| format!("{byte:02x}")).collect();
    add(&server, &home, "tiny.gguf", &format!("--sha256 {right}")).stdout();
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/latest.gguf" => Reply::new("302 Found", "").header("Location: files/tiny.gguf"),
        "/files/tiny.gguf" => Reply::file(asked, &model(), "1"),
        _ => Reply::new("307 Temporary Redirect", "").header("Location: /circle.gguf"),
    });
    let home = Home::new();
    check(
        &server,
        &home,
        "latest.gguf",
        "--quiet",
        &expect![[r#"
            exit status: 0
            added latest:q8_0: "tiny (random weights)", llama, Q8_0, 167 kB (fetched, 179 kB)
            --- stderr
            warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        "#]],
    );
    check(
        &server,
        &home,
        "circle.gguf",
        "",
        &expect![[r#"
        exit status: 1
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        error: http://127.0.0.1:PORT/circle.gguf redirects in circles
    "#]],
    );
}

#[test]
fn what_a_server_may_answer_instead() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/page.gguf" => Reply::new("200 OK", "<!DOCTYPE html>"),
        "/login.gguf" => Reply::new("401 Unauthorized", ""),
        "/cut.gguf" => Reply::new("200 OK", &model()[..50_000]),
        "/huge.gguf" => Reply::new("200 OK", "GGUF").header("Content-Length: 900000000000000"),
        _ => Reply::new("404 Not Found", ""),
    });
    let home = Home::new();
    check(
        &server,
        &home,
        "nothing.gguf",
        "",
        &expect![[r#"
        exit status: 1
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        error: http://127.0.0.1:PORT/nothing.gguf: the server answers 404 Not Found
          hint: is it the address of the file itself, not of its page?
    "#]],
    );
    check(
        &server,
        &home,
        "login.gguf",
        "",
        &expect![[r#"
        exit status: 1
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        error: http://127.0.0.1:PORT/login.gguf: the server answers 401 Unauthorized
          hint: it wants a login: fetch it with your browser, and `dunlin model add FILE`
    "#]],
    );
    check(
        &server,
        &home,
        "page.gguf",
        "",
        &expect![[r#"
        exit status: 3
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        error: http://127.0.0.1:PORT/page.gguf leads to a web page, not to a GGUF file
          hint: take the address of the download itself
    "#]],
    );
    check(
        &server,
        &home,
        "cut.gguf",
        "",
        &expect![[r#"
            exit status: 3
            --- stderr
            warning: the connection is not encrypted; --sha256 makes sure that it is the right file
            error: http://127.0.0.1:PORT/cut.gguf: tensor "blk.0.attn_q.weight" ends at byte 51,776 but the file has 50,000: it is truncated, download it again
        "#]],
    );
    check(
        &server,
        &home,
        "huge.gguf",
        "",
        &expect![[r#"
            exit status: 1
            --- stderr
            warning: the connection is not encrypted; --sha256 makes sure that it is the right file
            error: the disk is too full: 900000 GB more are needed, [SIZE] are free
              hint: free some, or keep models elsewhere: XDG_DATA_HOME=FOLDER
        "#]],
    );
    check_nothing_left(&home);
}

#[test]
fn nobody_is_there() {
    let home = Home::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server { port, asked: Arc::default() };
    check(
        &server,
        &home,
        "tiny.gguf",
        "",
        &expect![[r#"
        exit status: 1
        --- stderr
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        error: http://127.0.0.1:PORT/tiny.gguf: io: Connection refused (os error 111)
          hint: is this machine online? the same command tries again
    "#]],
    );
    home.dunlin("model add ftp://example.org/tiny.gguf").check(&expect![[r#"
        exit code 2
        --- stderr
        error: ftp://example.org/tiny.gguf is no address that a file can be fetched from
          hint: it begins with https:// (or http://)
    "#]]);
}

#[test]
fn ctrl_c_ends_a_download_that_can_go_on() {
    let (asked, is_asked) = mpsc::channel();
    let server = Server::start(move |_| {
        asked.send(()).unwrap();
        // Never answers.
        thread::park();
        Reply::new("200 OK", "")
    });
    let home = Home::new();
    let mut command = add(&server, &home, "tiny.gguf", "").into_command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    is_asked.recv().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    expect![[r#"
        warning: the connection is not encrypted; --sha256 makes sure that it is the right file
        error: interrupted
          hint: the same command goes on where it stopped
    "#]]
    .assert_eq(&String::from_utf8(output.stderr).unwrap());
}

#[test]
fn two_commands_fetch_the_same_once() {
    let server = Server::start(|asked| Reply::file(asked, &model(), "1"));
    let home = Home::new();
    let spawn = || {
        let mut command = add(&server, &home, "tiny.gguf", "").into_command();
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut both = [spawn(), spawn()];
    both.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
    assert_eq!(home.dunlin("model ls --json").json().as_array().unwrap().len(), 1);
    check_nothing_left(&home);
}
