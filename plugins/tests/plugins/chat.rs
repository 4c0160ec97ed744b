use std::time::Duration;

use dunlin_engine_handle::{
    Call, Sampling,
    fake::{Fake, Script, ScriptEnd},
};
use dunlin_host::InvokeError;

use crate::scene::{Scene, answering, generations, prompts, saying};

#[tokio::test(start_paused = true)]
async fn the_answer_comes_as_it_is_made_and_then_as_a_whole() {
    let fake = saying("It was the disk.");
    let told = Scene::new(&fake, "chat", "What happened?\n").told().await;
    assert_eq!(
        told,
        [
            r#"text "It ""#,
            r#"text "was ""#,
            r#"text "the ""#,
            r#"text "disk.""#,
            "text/plain: It was the disk."
        ]
    );
    assert_eq!(prompts(&fake), ["<user>What happened?\n<assistant>"]);
}

#[tokio::test(start_paused = true)]
async fn messages_are_a_conversation() {
    let fake = saying("Bye.");
    let body = r#"{"messages": [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "bye"}
    ]}"#;
    Scene::new(&fake, "chat", body).param("system", "Be brief.").run().await.outcome.result.unwrap();
    assert_eq!(prompts(&fake), ["<system>Be brief.\n<user>hi\n<assistant>Hello.\n<user>bye\n<assistant>"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_begun_goes_on() {
    let fake = saying("two, three");
    let body = r#"[{"role": "user", "content": "count"}, {"role": "assistant", "content": "one, "}]"#;
    let told = Scene::new(&fake, "chat", body).told().await;
    assert_eq!(told.last().unwrap(), "text/plain: two, three");
    assert_eq!(prompts(&fake), ["<user>count\n<assistant>one, "]);
}

#[tokio::test(start_paused = true)]
async fn parameters_reach_the_engine() {
    let fake = saying("x");
    let scene = Scene::new(&fake, "chat", "x")
        .param("max_tokens", "7")
        .param("temperature", "0.5")
        .param("top_p", "0.9")
        .param("top_k", "40")
        .param("min_p", "0.1")
        .param("repeat_penalty", "1.25")
        .param("seed", "18446744073709551615")
        .param("stop", "\n\n")
        .param("stop", "END");
    scene.run().await.outcome.result.unwrap();
    let generate = &generations(&fake)[0];
    let sampling = Sampling {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.1,
        repeat_penalty: 1.25,
        repeat_last_n: 64,
        ..Sampling::default()
    };
    assert_eq!(generate.sampling, Some(sampling));
    assert_eq!((generate.max_tokens, generate.seed), (7, u64::MAX));
    assert_eq!(generate.stop, ["\n\n", "END"]);
}

#[tokio::test(start_paused = true)]
async fn defaults_hold_where_nothing_is_given() {
    let fake = saying("x");
    Scene::new(&fake, "chat", "x").run().await.outcome.result.unwrap();
    let generate = &generations(&fake)[0];
    assert_eq!(generate.sampling, Some(Sampling { temperature: 0.7, min_p: 0.05, ..Sampling::default() }));
    assert_eq!((generate.max_tokens, generate.stop.len()), (512, 0));
}

#[tokio::test(start_paused = true)]
async fn parameters_out_of_range_are_refused() {
    let said = |name, value| Scene::new(&Fake::default(), "chat", "x").param(name, value).error();
    assert_eq!(
        said("temperature", "hot").await,
        r#"invalid argument: the parameter "temperature" is "hot": it is a number from 0 to 5"#
    );
    assert_eq!(
        said("max_tokens", "0").await,
        r#"invalid argument: the parameter "max_tokens" is "0": it is a number from 1 to 1000000"#
    );
    assert_eq!(
        said("tools", "[{]").await,
        r#"invalid argument: the parameter "tools": not JSON: key must be a string at line 1 column 3"#
    );
}

#[tokio::test(start_paused = true)]
async fn tools_go_to_models_that_know_them_and_are_told_to_others_in_words() {
    let tools =
        r#"[{"type": "function", "function": {"name": "restart", "description": "Restarts a unit."}}]"#;
    let fake = saying("x");
    Scene::new(&fake, "chat", "x").param("tools", tools).run().await.outcome.result.unwrap();
    let prompt = &prompts(&fake)[0];
    let start = "<system>You can call these functions:\n{\"name\": \"restart\", ";
    assert!(prompt.starts_with(start) && prompt.ends_with("<user>x\n<assistant>"), "{prompt}");
    let mut fake = saying("x");
    fake.model.features.tools = true;
    Scene::new(&fake, "chat", "x").param("tools", tools).run().await.outcome.result.unwrap();
    let named = fake.calls().into_iter().find_map(|call| match call {
        Call::Render(render) => Some(render.tools[0].name.clone()),
        _ => None,
    });
    assert_eq!(named.as_deref(), Some("restart"));
}

#[tokio::test(start_paused = true)]
async fn json_tells_why_it_ended() {
    let fake = saying("one two three");
    let told = Scene::new(&fake, "chat", r#"{"messages": [{"role": "user", "content": "count"}]}"#)
        .json()
        .param("json", "true")
        .param("max_tokens", "8")
        .told()
        .await;
    assert_eq!(
        told,
        [
            r#"json {"content":"one "}"#,
            r#"json {"content":"two "}"#,
            r#"application/json: {"role":"assistant","content":"one two ","finish_reason":"length"}"#,
        ]
    );
    let said = Scene::new(&fake, "chat", "count").json().error().await;
    assert_eq!(said, "invalid argument: the messages are not JSON: expected value at line 1 column 1");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_the_end_of_the_job_was_told() {
    let fake = answering(|_| Script::say("word ").then(ScriptEnd::Hang));
    let scene = Scene::new(&fake, "chat", "x");
    let cancel = scene.cancel();
    let told = scene.run_watched(|_| cancel.cancel()).await;
    assert_eq!(told.lines(), [r#"text "word ""#, "error: cancelled"]);
    assert_eq!(told.outcome.result.unwrap_err(), InvokeError::Cancelled);

    let fake = answering(|_| Script::say("a b c").with_pause(Duration::from_secs(1)));
    let scene =
        Scene::new(&fake, "chat", "x").limits(|limits| limits.wall_time = Duration::from_millis(2500));
    let told = scene.run().await;
    assert_eq!(told.lines(), [r#"text "a ""#, r#"text "b ""#, "error: the deadline passed"]);
    assert_eq!(told.outcome.result.unwrap_err(), InvokeError::Deadline);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_is_told() {
    let fake = answering(|_| Script::say("some ").then(ScriptEnd::Die));
    let told = Scene::new(&fake, "chat", "x").told().await;
    assert_eq!(told[0], r#"text "some ""#);
    assert!(told[1].starts_with("error: the model is not served: the engine died"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_streams_on() {
    let fake = answering(|_| Script::say(&"word ".repeat(2000)).with_pause(Duration::from_micros(100)));
    let told = Scene::new(&fake, "chat", "x").param("max_tokens", "20000").run().await;
    let response = told.outcome.result.as_ref().unwrap();
    assert_eq!(response.body.len(), 10_000);
    assert!(told.chunks.len() > 100, "{}", told.chunks.len());
    assert_eq!(told.outcome.usage.output_tokens, 10_000);
}

const TOOLS: &str = r#"[{"type": "function", "function": {"name": "restart", "description": "Restarts a unit.",
    "parameters": {"type": "object", "properties": {"unit": {"type": "string"}}, "required": ["unit"]}}}]"#;

#[tokio::test(start_paused = true)]
async fn a_call_that_the_answer_has_to_be_is_told_as_a_call() {
    let fake = saying(r#"{"name": "restart", "arguments": {"unit": "sshd"}}"#);
    let scene = Scene::new(&fake, "chat", "fix it").param("tools", TOOLS).param("tool_choice", "required");
    let told = scene.param("report", "true").told().await;
    assert_eq!(
        told,
        [
            r#"json {"tool_calls":[{"id":"call_0","type":"function","function":{"name":"restart","arguments":"{\"unit\":\"sshd\"}"},"index":0}]}"#,
            r#"application/json: {"finish_reason":"tool_calls","stop_string":false}"#
        ]
    );
    assert!(generations(&fake)[0].constraint.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_choice_of_no_tool_is_refused() {
    let said = |choice| {
        Scene::new(&Fake::default(), "chat", "x").param("tools", TOOLS).param("tool_choice", choice).error()
    };
    assert_eq!(
        said("stop").await,
        r#"invalid argument: the parameter "tool_choice" is "stop": there is no such tool"#
    );
}
