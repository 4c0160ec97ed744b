use dunlin_engine_handle::{
    Call, Normalize, Score,
    fake::{self, Fake},
};

use crate::scene::{Scene, generations};

const LOG: &str = "sshd: accepted key\ndisk sda: 100% full\n\nkernel: oops";

/// Scores in the order ok, warning, critical, by words of the prompt.
fn judge() -> Fake {
    Fake::default().scoring(|score| {
        let prompt = fake::text(&score.prompt);
        let found = |words: &[&str]| words.iter().any(|word| prompt.contains(word));
        match () {
            () if found(&["oops"]) => vec![-4.0, -2.0, -1.0],
            () if found(&["full"]) => vec![-3.0, -0.5, -0.75],
            () => vec![-0.25, -4.0, -6.0],
        }
    })
}

fn scene(fake: &Fake, body: &str) -> Scene {
    Scene::new(fake, "classify", body).param("choices", "ok,warning,critical")
}

fn scored(fake: &Fake) -> Vec<Score> {
    let score = |call| if let Call::Score(score) = call { Some(score) } else { None };
    fake.calls().into_iter().filter_map(score).collect()
}

#[tokio::test(start_paused = true)]
async fn the_label_that_fits_best() {
    let fake = judge();
    assert_eq!(scene(&fake, "kernel: oops\n").told().await, ["text/plain: critical"]);
    let score = &scored(&fake)[0];
    assert_eq!(
        fake::text(&score.prompt),
        "<user>Which one fits: ok, warning or critical?\nkernel: oops\n<assistant>"
    );
    assert_eq!(score.candidates, ["ok", "warning", "critical"]);
    assert_eq!(score.normalize, Normalize::Total);
}

#[tokio::test(start_paused = true)]
async fn no_token_is_sampled() {
    let fake = judge();
    let told = scene(&fake, LOG).param("lines", "true").run().await;
    assert_eq!((told.outcome.usage.generations, told.outcome.usage.output_tokens), (0, 0));
    assert!(generations(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_question_of_its_own() {
    let fake = judge();
    let scene = Scene::new(&fake, "classify", "x").param("choices", "yes, sir").param("choices", "no");
    scene.param("question", "Is it broken?").run().await.outcome.result.unwrap();
    assert_eq!(fake::text(&scored(&fake)[0].prompt), "<user>Is it broken: yes, sir or no?\nx\n<assistant>");
}

#[tokio::test(start_paused = true)]
async fn json_has_the_shares_and_the_margin() {
    let told = scene(&judge(), "disk full").param("json", "true").told().await;
    assert_eq!(
        told,
        [
            r#"application/json: {"label":"warning","margin":0.1189,"probabilities":{"ok":0.0441,"warning":0.5374,"critical":0.4185},"scores":{"ok":-3.0,"warning":-0.5,"critical":-0.75}}"#
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn each_line_for_itself() {
    let told = scene(&judge(), LOG).param("lines", "true").told().await;
    assert_eq!(
        told,
        [
            r#"text "ok\n""#,
            r#"text "warning\n""#,
            r#"text "critical\n""#,
            "text/plain: ok\nwarning\ncritical\n",
        ]
    );
    let told = scene(&judge(), LOG).param("lines", "true").param("json", "").told().await;
    assert!(told[1].starts_with(r#"json {"line":2,"label":"warning","margin":0.1189"#), "{told:?}");
    assert!(told[2].starts_with(r#"json {"line":4,"label":"critical""#), "{told:?}");
    assert!(told[3].starts_with("application/x-ndjson: {\"line\":1,"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn likelihoods_are_compared_as_asked() {
    let fake = judge();
    scene(&fake, "x").param("normalize", "unconditional").run().await.outcome.result.unwrap();
    assert_eq!(scored(&fake)[0].normalize, Normalize::Unconditional);
    assert_eq!(
        scene(&fake, "x").param("normalize", "mean").error().await,
        r#"invalid argument: the parameter "normalize" is "mean": it is total, per-token or unconditional"#
    );
}

#[tokio::test(start_paused = true)]
async fn there_is_something_to_choose() {
    let said = Scene::new(&judge(), "classify", "x").error().await;
    assert_eq!(
        said,
        r#"invalid argument: the parameter "choices" is missing: the labels, with commas between them; or one each time it is given"#
    );
    let said = Scene::new(&judge(), "classify", "x").param("choices", "ok").error().await;
    assert_eq!(said, r#"invalid argument: the parameter "choices" is "ok": there have to be two or more"#);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_too_long_is_named_after_those_before_it() {
    let body = format!("fine\n{}", "x".repeat(5000));
    let told = scene(&judge(), &body).param("lines", "true").told().await;
    assert_eq!(
        told,
        [
            r#"text "ok\n""#,
            "error: invalid argument: line 2: the prompt has 5060 tokens, the model takes at most 4095",
        ]
    );
}
