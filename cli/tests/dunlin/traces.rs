//! Spans and logs of one invocation, from the scheduler and from the node, as a collector gets them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};

use crate::{
    clients::up,
    fleet::{PATIENCE, Running},
    http::post,
    support::Home,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Takes what is told of traces over HTTP.
struct Collector {
    url: String,
    requests: mpsc::Receiver<Value>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (to, requests) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let to = to.clone();
                thread::spawn(move || take(stream, &to));
            }
        });
        Self { url, requests }
    }

    /// Spans by their names, once all of these have come; and the traces of all that came until then.
    #[track_caller]
    fn spans(&self, names: &[&str]) -> (BTreeMap<String, Value>, BTreeSet<String>) {
        let (mut spans, mut traces) = (BTreeMap::new(), BTreeSet::new());
        while !names.iter().all(|name| spans.contains_key(*name)) {
            let Ok(request) = self.requests.recv_timeout(PATIENCE) else {
                panic!("of {names:?} there are only {:?}", spans.keys())
            };
            for of in request["resourceSpans"].as_array().unwrap() {
                let service = &of["resource"]["attributes"][0]["value"]["stringValue"];
                for span in of["scopeSpans"][0]["spans"].as_array().unwrap() {
                    let mut span = span.clone();
                    span["service"] = service.clone();
                    traces.insert(span["traceId"].as_str().unwrap().to_owned());
                    spans.insert(span["name"].as_str().unwrap().to_owned(), span);
                }
            }
        }
        (spans, traces)
    }
}

/// Requests on one connection, to its end.
fn take(stream: TcpStream, to: &mpsc::Sender<Value>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut first) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            if first.is_empty() {
                first.clone_from(&line);
            }
            let lower = line.to_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        assert!(first.starts_with("POST /v1/traces "), "{first}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        drop(to.send(serde_json::from_slice(&body).unwrap()));
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    }
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == name);
    found.map_or(&Value::Null, |found| found["value"].as_object().unwrap().values().next().unwrap())
}

fn nanos(span: &Value, end: &str) -> u64 {
    span[end].as_str().unwrap().parse().unwrap()
}

#[test]
fn an_invocation_is_one_tree_of_spans_and_logs_have_its_ids() {
    let collector = Collector::start();
    let home = Home::new();
    let (up, url) = up(&home, &format!("--otlp {} --log-format json", collector.url));
    let message = json!({ "role": "user", "content": "disk nearly full" });
    let body = json!({ "model": "demo", "messages": [message], "max_tokens": 8 });
    let headers = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    let answer = post(&format!("{url}/v1/chat/completions"), &headers, &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");

    // The first request loads the model.
    let layers = [
        "POST /v1/chat/completions",
        "invoke chat",
        "queue",
        "placement",
        "attempt",
        "load",
        "pipeline",
        "prefill",
        "decode",
    ];
    let (spans, _) = collector.spans(&layers);
    let id = |name: &str| spans[name]["spanId"].as_str().unwrap();
    let tree = [
        ("POST /v1/chat/completions", CALLER, "dunlin-scheduler"),
        ("invoke chat", id("POST /v1/chat/completions"), "dunlin-scheduler"),
        ("queue", id("invoke chat"), "dunlin-scheduler"),
        ("placement", id("invoke chat"), "dunlin-scheduler"),
        ("attempt", id("invoke chat"), "dunlin-scheduler"),
        ("load", id("attempt"), "dunlin-agent"),
        ("pipeline", id("attempt"), "dunlin-agent"),
        ("prefill", id("pipeline"), "dunlin-agent"),
        ("decode", id("pipeline"), "dunlin-agent"),
    ];
    for (name, parent, service) in tree {
        let span = &spans[name];
        assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &parent.into()), "{span:#}");
        assert_eq!(span["service"], service, "{span:#}");
        assert!(nanos(span, "endTimeUnixNano") >= nanos(span, "startTimeUnixNano"), "{span:#}");
    }
    let root = &spans["invoke chat"];
    let usage = &answer.json()["usage"];
    let told = |name: &str| attribute(root, name).as_str().unwrap().parse::<u64>().ok();
    assert_eq!(told("gen_ai.usage.output_tokens"), usage["completion_tokens"].as_u64());
    assert_eq!(told("gen_ai.usage.input_tokens"), usage["prompt_tokens"].as_u64());
    assert_eq!(attribute(root, "gen_ai.request.model"), "demo");
    let request = &spans["POST /v1/chat/completions"];
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/chat/completions"),
        ("url.path", "/v1/chat/completions"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(request, name), value, "{name}: {request:#}");
    }
    // What happened in it was not before it; both ends are by the clock of this machine.
    let begin = nanos(request, "startTimeUnixNano");
    assert!(spans.values().all(|span| nanos(span, "startTimeUnixNano") >= begin - 1_000_000));

    logs_have_ids(&up, id("invoke chat"), id("attempt"));
    // Whoever asks not to be traced is not.
    let headers = headers.replace("-01\r\n", "-00\r\n");
    assert_eq!(post(&format!("{url}/v1/chat/completions"), &headers, &body.to_string()).status, 200);
    let plain = post(&format!("{url}/v1/chat/completions"), "", &body.to_string()).json();
    let (own, traces) = collector.spans(&["POST /v1/chat/completions", "invoke chat", "decode"]);
    assert!(!traces.contains(TRACE), "{own:#?}");
    assert_eq!(traces.len(), 1, "{own:#?}");
    let invocation = &plain["dunlin"]["invocation"];
    assert_eq!(attribute(&own["invoke chat"], "dunlin.invocation"), invocation, "{own:#?}");
    let request = &own["POST /v1/chat/completions"];
    assert_eq!(own["invoke chat"]["parentSpanId"], request["spanId"]);
    assert_eq!(request.get("parentSpanId"), None);
    // What nobody could be found for is a fault of the server, what asks for nothing that there is none.
    let late = post(&format!("{url}/v1/chat/completions"), "x-dunlin-deadline-ms: 1\r\n", &body.to_string());
    let wrong = post(&format!("{url}/v1/embeddings"), "", "{}");
    assert_eq!((late.status, wrong.status), (504, 400));
    let (failed, _) = collector.spans(&["POST /v1/embeddings"]);
    assert_eq!(attribute(&failed["POST /v1/embeddings"], "http.response.status_code"), "400");
    assert_eq!(attribute(&failed["POST /v1/embeddings"], "error.type"), &Value::Null);
    assert_eq!(attribute(&failed["POST /v1/chat/completions"], "error.type"), "504");
}

/// One line of the scheduler and one of the node.
fn logs_have_ids(up: &Running, root: &str, attempt: &str) {
    let (mut of_scheduler, mut of_node) = (false, false);
    while !(of_scheduler && of_node) {
        let line = up.says(TRACE);
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["timestamp"].is_string() && line["level"] == "INFO", "{line:#}");
        of_scheduler |= line["span_id"] == root;
        of_node |= line["span"]["span_id"] == attempt && line["span"]["trace_id"] == TRACE;
    }
}
