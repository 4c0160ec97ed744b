use std::time::Duration;

use dunlin_engine_handle::{
    Constraint, StopReason,
    fake::{Fake, Script, ScriptEnd},
};

use crate::scene::{Scene, answering, generations, prompts, saying};

const SCHEMA: &str = r#"{"type": "object", "properties": {"service": {"type": "string"}, "host": {}, "ip": {"description": "of the client"}}}"#;

fn complete(text: &str) -> Script {
    Script::say(text).then(ScriptEnd::Stop(StopReason::ConstraintComplete))
}

/// Answers with the first word of the last line of the prompt, and takes longer the longer that line is.
fn echo() -> Fake {
    answering(|prompt| {
        let line = prompt.lines().rev().nth(1).unwrap();
        let word = line.split(' ').next().unwrap();
        complete(&format!("{{\"service\":\"{word}\"}}")).with_pause(Duration::from_millis(line.len() as u64))
    })
}

#[tokio::test(start_paused = true)]
async fn a_document_under_the_schema() {
    let fake = answering(|_| complete("{ \"service\": \"sshd\",\n \"port\": 22.0 }"));
    let told = Scene::new(&fake, "extract", "sshd: from 10.0.0.7\n").param("schema", SCHEMA).told().await;
    assert_eq!(told, [r#"application/json: {"service":"sshd","port":22.0}"#]);
    assert_eq!(
        prompts(&fake),
        ["<user>Extract as JSON: service, host, ip (of the client)\nsshd: from 10.0.0.7\n<assistant>"]
    );
    let generate = &generations(&fake)[0];
    // A string without an end has got one.
    let bounded = r#"{"type":"object","properties":{"service":{"type":"string","maxLength":256},"host":{},"ip":{"description":"of the client"}}}"#;
    assert_eq!(generate.constraint, Some(Constraint::JsonSchema(bounded.into())));
    assert_eq!((generate.max_tokens, &generate.sampling), (512, &None));
}

#[tokio::test(start_paused = true)]
async fn keys_are_a_schema() {
    let fake = saying("{}");
    let scene = Scene::new(&fake, "extract", "x")
        .param("keys", "service,host")
        .param("instruction", "What is it")
        .param("verbatim", "false");
    scene.run().await.outcome.result.unwrap();
    assert_eq!(prompts(&fake), ["<user>What is it: service, host\nx\n<assistant>"]);
    let Some(Constraint::JsonSchema(schema)) = &generations(&fake)[0].constraint else {
        panic!("it is held to a schema")
    };
    assert!(schema.ends_with(r#""required":["service","host"],"additionalProperties":false}"#), "{schema}");
}

#[tokio::test(start_paused = true)]
async fn values_come_from_the_text_unless_asked_otherwise() {
    let fake = saying("{}");
    let scene = Scene::new(&fake, "extract", "a 1\nb 2").param("keys", "host").param("lines", "true");
    scene.run().await.outcome.result.unwrap();
    let constraints: Vec<_> = generations(&fake).into_iter().map(|generate| generate.constraint).collect();
    for (constraint, pieces) in constraints.iter().zip([r#"["a"," ","1"]"#, r#"["b"," ","2"]"#]) {
        let Some(Constraint::Lark(grammar)) = constraint else { panic!("{constraint:?}") };
        assert!(grammar.contains(pieces), "{grammar}");
    }
    assert_eq!(constraints.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn half_a_document_is_none() {
    let scene = |end| {
        let fake = answering(move |_| Script::say("{\"service\": \"ss").then(ScriptEnd::Stop(end)));
        Scene::new(&fake, "extract", "x").param("schema", SCHEMA).param("max_tokens", "14")
    };
    assert_eq!(
        scene(StopReason::MaxTokens).told().await,
        [
            "error: invalid argument: the document did not end within max_tokens=14, so there is none: raise it, or ask for less"
        ]
    );
    assert_eq!(
        scene(StopReason::ContextFull)
            .limits(|limits| limits.tokens = 100)
            .param("max_tokens", "50")
            .told()
            .await,
        [
            "error: invalid argument: the document did not end before the context of 4096 tokens was full, so there is none: give less text, or ask for less"
        ]
    );
    assert_eq!(
        scene(StopReason::MaxTokens).limits(|limits| limits.tokens = 10).told().await,
        ["error: the pipeline used up its budget of tokens"]
    );
    assert_eq!(
        scene(StopReason::ConstraintComplete).param("max_tokens", "50").told().await,
        [
            "error: backend: the engine ended a document that is not JSON: EOF while parsing a string at line 1 column 15"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_is_none_is_refused() {
    let said = |name, value| Scene::new(&Fake::default(), "extract", "x").param(name, value).error();
    assert_eq!(
        said("schema", "{\"type\":").await,
        "invalid argument: the parameter \"schema\" is not JSON: EOF while parsing a value at line 1 column 8"
    );
    assert_eq!(
        said("max_tokens", "9").await,
        "invalid argument: the parameter \"schema\" is missing: a JSON schema of the answer, or \"keys\", as in keys=service,host,ip"
    );
    assert!(said("keys", "a,").await.ends_with("the parameter \"keys\": one of them is empty"));
}

#[tokio::test(start_paused = true)]
async fn lines_run_side_by_side_and_come_in_order() {
    let body = format!("first {}\nsecond\n\nthird {}\nfourth", "x".repeat(80), "x".repeat(40));
    let told =
        Scene::new(&echo(), "extract", body).param("keys", "service").param("lines", "true").run().await;
    let documents = ["first", "second", "third", "fourth"].map(|word| format!("{{\"service\":\"{word}\"}}"));
    let mut expected: Vec<String> = documents.iter().map(|document| format!("json {document}")).collect();
    expected.push(format!("application/x-ndjson: {}\n", documents.join("\n")));
    assert_eq!(told.lines(), expected);
    assert!(told.wall_time() < Duration::from_millis(100), "as long as the longest: {:?}", told.wall_time());
}

#[tokio::test(start_paused = true)]
async fn a_line_is_told_when_it_is_done() {
    let body = format!("first\n{}", "second ".repeat(100));
    let scene = Scene::new(&echo(), "extract", body).param("keys", "service").param("lines", "true");
    let cancel = scene.cancel();
    let told = scene.run_watched(|_| cancel.cancel()).await;
    assert_eq!(told.lines(), [r#"json {"service":"first"}"#, "error: cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_a_bad_line_is_told() {
    let body = format!("first\nsecond\n{}\nfourth", "x".repeat(5000));
    let told =
        Scene::new(&echo(), "extract", body).param("keys", "service").param("lines", "true").told().await;
    assert_eq!(
        told,
        [
            r#"json {"service":"first"}"#,
            r#"json {"service":"second"}"#,
            "error: invalid argument: line 3: the prompt has 5044 tokens, the model takes at most 4095",
        ]
    );
    let fake = answering(|prompt| complete(if prompt.contains("bad") { "{\"service\":" } else { "{}" }));
    let scene = Scene::new(&fake, "extract", "good\nbad").param("keys", "service").param("lines", "true");
    let told = scene.param("max_tokens", "11").told().await;
    assert_eq!(
        told,
        [
            "json {}",
            "error: invalid argument: line 2: the document did not end within max_tokens=11, so there is none: raise it, or ask for less",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn small_budgets_make_it_slow_and_not_wrong() {
    let body: String = (0..40).map(|n| format!("{n}\n")).collect();
    let expected: String = (0..40).map(|n| format!("{{\"service\":\"{n}\"}}\n")).collect();
    let budgets: [fn(&mut dunlin_host::Limits); 4] = [
        |_| (),
        |limits| limits.generations = 2,
        |limits| limits.contexts = 1,
        |limits| limits.tokens = 40 * 20 + 512,
    ];
    for budget in budgets {
        let scene =
            Scene::new(&echo(), "extract", body.clone()).param("keys", "service").param("lines", "true");
        let told = scene.limits(budget).run().await;
        assert_eq!(told.lines().last().unwrap(), &format!("application/x-ndjson: {expected}"));
    }
}
