use crate::scene::{Scene, generations, prompts, saying};

#[tokio::test(start_paused = true)]
async fn a_text_goes_on_without_roles() {
    let fake = saying("full again");
    let scene = Scene::new(&fake, "complete", " the disk is ").param("max_tokens", "70").param("stop", "!");
    let told = scene.told().await;
    assert_eq!(told, [r#"text "full ""#, r#"text "again""#, "text/plain: full again"]);
    assert_eq!(prompts(&fake), [" the disk is "]);
    let generate = &generations(&fake)[0];
    assert_eq!((generate.max_tokens, generate.stop.as_slice()), (70, ["!".to_owned()].as_slice()));
}

#[tokio::test(start_paused = true)]
async fn a_report_says_why_it_ended() {
    let told = Scene::new(&saying("x"), "complete", "a").param("report", "true").told().await;
    assert_eq!(told, [r#"text "x""#, r#"application/json: {"finish_reason":"stop","stop_string":false}"#]);
}
