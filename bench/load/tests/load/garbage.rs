//! Whatever servers say, it is told by its kind, and nothing hangs.

use std::sync::Arc;

use dunlin_load::{Client, Fault, Sample, plan::Pace, run, warm_up};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::server::{Step, client, event, head, ms, patient, plan, serve, tail, token};

async fn one(client: Arc<Client>) -> Sample {
    let plan = plan(Pace::Closed { concurrency: 1 }, 1);
    let mut outcome = run(client, &plan, &CancellationToken::new(), |_| {}).await;
    outcome.samples.remove(0)
}

fn whole(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Write(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"))]
}

#[tokio::test]
async fn each_fault_has_its_kind() {
    let text = |text: &str| Step::Chunk(text.to_owned());
    let json = "content-type: application/json\r\n";
    let denied = r#"{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}"#;
    let error = event(&json!({ "error": { "message": "the node was lost" } }));
    let cases: Vec<(&str, Vec<Step>, &str, &str)> = vec![
        (
            "401",
            whole("401 Unauthorized", json, denied),
            "status 401",
            "status 401: Incorrect API key provided",
        ),
        ("429", whole("429 Too Many", "retry-after: 7\r\n", "{}"), "status 429", "status 429: {}"),
        ("500", whole("500 Oh", "", "<h1>\u{1b}[2Jbad</h1>"), "status 500", "status 500: <h1> [2Jbad</h1>"),
        ("HTML", whole("200 OK", "content-type: text/html\r\n", "<html>"), "no stream", "but text/html"),
        ("JSON", whole("200 OK", json, r#"{"choices": []}"#), "no stream", "but application/json"),
        ("no type", whole("200 OK", "", "hello"), "no stream", "something without a type"),
        ("half", vec![head(), token("a"), Step::Close], "connection broke", ""),
        ("no end", vec![head(), token("a"), Step::End], "cut off", "in the middle"),
        ("nothing", vec![head(), Step::End], "cut off", ""),
        ("no token", [vec![head()], tail(0).to_vec()].concat(), "no token", ""),
        ("no JSON", vec![head(), text("data: <html>\n\n"), Step::End], "malformed", "<html>"),
        ("error", vec![head(), token("a"), error, Step::End], "error in the stream", "the node was lost"),
        ("no HTTP", vec![Step::Write("SSH-2.0-OpenSSH\r\n\r\n".into()), Step::Close], "connection broke", ""),
        ("closed", vec![Step::Close], "connection broke", ""),
        ("silent", vec![head(), token("a"), Step::Wait(ms(60_000))], "too slow", "within 0.5 s"),
    ];
    for (name, steps, kind, said) in cases {
        let base = serve(Arc::new(move |_: &Value| steps.clone())).await;
        let client = if name == "silent" { patient(&base, ms(500)) } else { client(&base) };
        let fault = one(client).await.fault.unwrap_or_else(|| panic!("{name} is no fault"));
        assert_eq!(fault.kind(), kind, "{name}: {fault}");
        assert!(fault.to_string().contains(said), "{name}: {fault}");
        if name == "429" {
            assert_eq!(fault.retry_after(), Some(ms(7000)));
        }
    }
}

#[tokio::test]
async fn a_finish_reason_is_an_end_too() {
    let [finish, usage, ..] = tail(1);
    let steps = vec![head(), token("a"), finish, usage, Step::End];
    let base = serve(Arc::new(move |_: &Value| steps.clone())).await;
    let sample = one(client(&base)).await;
    assert_eq!((sample.fault, sample.finish.as_deref()), (None, Some("stop")));
}

#[tokio::test]
async fn without_a_server_the_first_request_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let plan = plan(Pace::Closed { concurrency: 1 }, 1);
    let fault = warm_up(&client(&base), &plan, 1).await.unwrap_err();
    assert!(matches!(&fault, Fault::Connect(why) if why.contains("refused")), "{fault}");
}

#[tokio::test]
async fn models_are_listed_or_it_is_said_why_not() {
    let listed = r#"{"data": [{"id": "a"}, {"id": "b"}, {}]}"#;
    let base = serve(Arc::new(move |_: &Value| whole("200 OK", "", listed))).await;
    assert_eq!(client(&base).models().await.unwrap(), ["a", "b"]);
    let base = serve(Arc::new(|_: &Value| whole("404 Not Found", "", "nothing here"))).await;
    assert_eq!(client(&base).models().await.unwrap_err().to_string(), "status 404: nothing here");
}
