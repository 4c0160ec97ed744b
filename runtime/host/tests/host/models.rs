use dunlin_engine_handle::{EngineError, fake::Fake};
use dunlin_host::ModelGrant;

use crate::scene::{Scene, check, demo};

#[tokio::test(start_paused = true)]
async fn a_model_describes_itself_and_its_tokens() {
    check(
        &Fake::default(),
        "info
         tokenize hi
         detokenize 104 105
         render user: hi",
        &["demo d1e5 4096 Memory::Attention", "[104, 105]", "hi", r#""<user>hi\n<assistant>""#],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_granted_does_not_exist() {
    let mut scene = Scene::bare("available\nopen demo\nopen secret");
    scene.invocation.grants.models.push(demo(&Fake::default().start()));
    assert_eq!(scene.transcript().await, ["demo", r#"Error::ModelNotFound("secret")"#]);
    let nothing = Scene::bare("available\nopen demo").transcript().await;
    assert_eq!(nothing, ["", r#"Error::ModelNotFound("demo")"#]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_was_refused_is_not_available_and_says_why() {
    let refused = Fake::default().refusing(EngineError::Memory("it needs 3 GiB more".into())).start();
    let mut scene = Scene::bare("available\nopen big\nopen demo\ninfo");
    scene.invocation.grants.models =
        vec![ModelGrant::new("big", "b16", refused), demo(&Fake::default().start())];
    let expected =
        ["demo", r#"Error::Unavailable(("it needs 3 GiB more", None))"#, "demo d1e5 4096 Memory::Attention"];
    assert_eq!(scene.transcript().await, expected);
}

#[tokio::test(start_paused = true)]
async fn opening_waits_for_a_model_that_loads_but_not_past_the_deadline() {
    use std::time::Duration;
    let loading = Fake::default().loading(Duration::from_secs(30)).start();
    assert_eq!(Scene::new(&loading, "tokenize a").transcript().await, ["[97]"]);
    let loading = Fake::default().loading(Duration::from_secs(30)).start();
    let late = Scene::new(&loading, "").wall_time(Duration::from_secs(10)).transcript().await;
    assert_eq!(late, ["Error::Deadline"]);
}

#[tokio::test(start_paused = true)]
async fn embeddings_come_from_models_that_have_them() {
    check(&Fake::default(), "embed one|two|three", &["26 26 26"]).await;
    check(&Fake::default(), "rerank x", &[r#"Error::Unsupported("reranking: no engine does it yet")"#]).await;
}
