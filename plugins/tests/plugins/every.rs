//! What is the same for every pipeline.

use dunlin_engine_handle::fake::Fake;

use crate::scene::Scene;

/// With the parameters that it cannot do without.
fn scene(plugin: &'static str, body: &[u8]) -> Scene {
    let scene = Scene::new(&Fake::default(), plugin, body);
    match plugin {
        "classify" => scene.param("choices", "ok,critical"),
        "extract" => scene.param("keys", "service"),
        _ => scene,
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    dunlin_plugins::all().iter().map(|plugin| plugin.name)
}

#[tokio::test(start_paused = true)]
async fn an_unknown_parameter_is_refused_with_those_that_are_known() {
    for name in names() {
        let said = scene(name, b"x").param("modle", "demo").error().await;
        let start = r#"invalid argument: there is no parameter "modle"; did you mean "model"? there are "#;
        assert!(said.starts_with(start), "{name}: {said}");
    }
    let said = scene("summarize", b"x").param("max_token", "5").error().await;
    assert_eq!(
        said,
        r#"invalid argument: there is no parameter "max_token"; did you mean "max_tokens"? there are max_tokens, chunk_tokens, instruction, style, model"#
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_to_work_on_is_told() {
    for name in names() {
        for body in [b"".as_slice(), b" \r\n"] {
            // To go on with white space is something.
            if name == "complete" && !body.is_empty() {
                continue;
            }
            let said = scene(name, body).error().await;
            assert_eq!(said, "invalid argument: the input is empty: there is nothing to work on", "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_text_is_told() {
    for name in names() {
        let said = scene(name, b"\x1f\x8b\x08\0").error().await;
        assert!(
            said.starts_with("invalid argument: the input is not UTF-8: invalid utf-8 sequence"),
            "{name}: {said}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_model_is_the_one_that_is_named_or_granted() {
    let engine = Fake::default().start();
    let several = |scene: Scene| scene.grant("small", &engine);
    for name in names() {
        assert_eq!(
            several(scene(name, b"x")).error().await,
            "invalid argument: several models are granted: choose one by model=, of demo, small",
            "{name}"
        );
        several(scene(name, b"x")).param("model", "small").run().await.outcome.result.unwrap();
        assert_eq!(
            several(scene(name, b"x")).param("model", "large").error().await,
            "no such model: large (granted: demo, small)",
            "{name}"
        );
    }
    assert_eq!(
        Scene::bare("chat", "x").error().await,
        "no such model: none is granted, or none can be served"
    );
}

#[tokio::test(start_paused = true)]
async fn more_than_the_model_takes_is_told_with_both_numbers() {
    let long = vec![b'x'; 5000];
    for name in ["chat", "classify", "extract", "vote"] {
        let said = scene(name, &long).error().await;
        assert!(said.starts_with("the prompt has 50"), "{name}: {said}");
        assert!(said.ends_with(" tokens, the model takes at most 4095"), "{name}: {said}");
    }
}
