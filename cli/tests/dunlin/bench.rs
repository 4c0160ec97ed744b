//! `dunlin bench`, against servers that say what they should and what they should not. Its arithmetic is tested in `dunlin-load`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Home;

const MODELS: &str = r#"{"data": [{"id": "m"}]}"#;

/// Answers each request by its path; where, and a word for each request for an answer.
fn serve(answer: impl Fn(&str) -> String + Send + Sync + Copy + 'static) -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            thread::spawn(move || connection(stream, answer, &asked));
        }
    });
    (url, requests)
}

fn connection(
    mut stream: TcpStream,
    answer: impl Fn(&str) -> String,
    asked: &mpsc::Sender<()>,
) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        from.read_line(&mut first).ok().filter(|read| *read > 0)?;
        while line != "\r\n" {
            line.clear();
            from.read_line(&mut line).ok().filter(|read| *read > 0)?;
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        from.read_exact(&mut vec![0; length]).ok()?;
        let path = first.split(' ').nth(1).unwrap().to_owned();
        if path.ends_with("completions") {
            // Not every test listens.
            asked.send(()).ok();
        }
        stream.write_all(answer(&path).as_bytes()).ok()?;
    }
}

fn whole(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn stream(tokens: usize) -> String {
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".repeat(tokens);
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = format!(
        "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":30,\"completion_tokens\":{tokens}}},\
         \"energy\":{{\"marginal_joules\":2.5,\"source\":\"rail-sensor\"}},\"dunlin\":{{\"node\":\"<i>ada</i>\"}}}}\n\n"
    );
    whole("200 OK", "text/event-stream", &format!("{token}{finish}{usage}data: [DONE]\n\n"))
}

fn good(path: &str) -> String {
    if path.ends_with("/models") { whole("200 OK", "application/json", MODELS) } else { stream(5) }
}

#[test]
fn a_load_and_its_reports() {
    let home = Home::new();
    let (url, _requests) = serve(good);
    let load = format!(
        "bench --url {url} --concurrency 2 --requests 20 --seed 1 --slo-ttft 60s --html r.html --csv r.csv"
    );
    let report = home.dunlin(&format!("{load} --json")).json();
    assert_eq!(
        (&report["good"], &report["failed"], &report["open_loop"]),
        (&20.into(), &0.into(), &false.into())
    );
    assert_eq!(
        (&report["tokens"]["output"], &report["tokens"]["differ"]),
        (&100.into(), &0.into()),
        "{report:#}"
    );
    assert_eq!(
        (&report["slo"]["share"], &report["energy"]["joules_per_request"]),
        (&1.0.into(), &2.5.into())
    );
    assert_eq!((&report["load"]["model"], &report["load"]["seed"]), (&"m".into(), &"1".into()));
    assert!(report["ttft_ms"]["p50"]["value"].as_f64() > Some(0.0), "{report:#}");
    let page = std::fs::read_to_string(home.path("work/r.html")).unwrap();
    // What a server says is no markup, and nothing comes from elsewhere.
    assert!(page.contains("&lt;i&gt;ada") && !page.contains("<i>") && !page.contains("<script"), "{page}");
    assert!(page.matches("<svg").count() >= 5 && !page.contains("NaN") && !page.contains("src="), "{page}");
    assert_eq!(std::fs::read_to_string(home.path("work/r.csv")).unwrap().lines().count(), 21);
    let text = home.dunlin(&load).stdout();
    for words in
        ["20 requests in", "20 whole answers", "TTFT", "2.50 J/request", "100.0 % of those offered keep"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_trace_is_sent_as_it_was() {
    let home = Home::new();
    let (url, _requests) = serve(good);
    home.write(
        "azure.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:46.9805900,396,109\n",
    );
    let report = home.dunlin(&format!("bench --url {url}/v1 --trace azure.csv --speed 3 --json")).json();
    assert_eq!((&report["good"], &report["open_loop"]), (&2.into(), &true.into()), "{report:#}");
    assert!(report["seconds"].as_f64() >= Some(0.1), "{report:#}");
}

#[test]
fn what_servers_and_people_get_wrong() {
    let home = Home::new();
    let check = |arguments: &str, code: i32, words: &[&str]| {
        let output = home.dunlin(arguments).output();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {stderr}");
        words.iter().for_each(|words| assert!(stderr.contains(words), "{arguments}: {stderr}"));
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(
        &format!("bench --url http://{closed} --model m"),
        1,
        &["no connection", "is a server running there?"],
    );
    check("bench --url ftp://h --model m", 2, &["no address of HTTP"]);
    check("bench --model m", 2, &["no scheduler of this machine speaks HTTP", "dunlin up --http"]);
    check("bench --url http://h --rate 0", 2, &["a number above 0"]);
    check("bench --url http://h --rate 1 --concurrency 2", 2, &["cannot be used with"]);
    check("bench --url http://h --prompt-tokens 9..3", 2, &["a range as in 128..512"]);
    check("bench --url http://h --model m --html nowhere/r.html", 2, &["nowhere/r.html cannot be written"]);
    check("bench --url http://h --model m --trace tiny.gguf", 2, &["tiny.gguf"]);
    check("bench --url http://h --model m --ca tiny.gguf", 2, &["no certificate in PEM"]);
    let with = |answer: fn(&str) -> String| serve(answer).0;
    let refusing =
        with(|_| whole("401 Unauthorized", "application/json", r#"{"error":{"message":"no key"}}"#));
    check(&format!("bench --url {refusing}"), 1, &["status 401: no key", "DUNLIN_KEY"]);
    let page = with(|_| whole("200 OK", "text/html", "<html>hello</html>"));
    check(&format!("bench --url {page} --model m"), 1, &["no stream of events, but text/html", "OpenAI"]);
    let several = with(|_| whole("200 OK", "application/json", r#"{"data":[{"id":"a"},{"id":"b"}]}"#));
    check(&format!("bench --url {several}"), 2, &["--model a | b"]);
    let busy = with(|_| "HTTP/1.1 429 Slow\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n".to_owned());
    check(&format!("bench --url {busy} --model m"), 1, &["status 429", "wait 9 s"]);
    // Where the load is begun all the same, it is a report, and no success.
    let output = home
        .dunlin(&format!("bench --url {busy} --model m --requests 3 --warmup 0 --trace /dev/null"))
        .output();
    assert_eq!(output.status.code(), Some(2));
    home.write("one.jsonl", "{\"arrival\": 0, \"prompt\": \"hello\"}\n");
    let output = home.dunlin(&format!("bench --url {busy} --model m --warmup 0 --trace one.jsonl")).output();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(1) && stdout.contains("1 x status 429 (asked to wait up to 9 s)"),
        "{stdout}"
    );
}

#[test]
fn ctrl_c_ends_with_what_was_done() {
    let home = Home::new();
    let (url, requests) = serve(good);
    let command = format!("bench --url {url} --rate 50 --duration 10m --json");
    let mut child =
        home.dunlin(&command).into_command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Two show how long words are, one warms up.
    (0..10).for_each(|_| requests.recv().unwrap());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!((&report["was_stopped"], &report["failed"]), (&true.into(), &0.into()), "{report:#}");
    assert!(report["good"].as_u64() >= Some(3), "{report:#}");
}
