use dunlin_engine_handle::{
    StopReason,
    fake::{Fake, Script, ScriptEnd},
};
use dunlin_host::{Chunk, InvokeError};

use crate::scene::{Scene, answering, prompts, saying, with_context};

/// Says which of the numbered lines it was shown.
fn numbers() -> Fake {
    answering(|prompt| {
        let numbers: Vec<&str> = prompt.split_whitespace().filter(|word| word.starts_with('#')).collect();
        match numbers[..] {
            [] => Script::say("nothing"),
            [one] => Script::say(one),
            [first, .., last] => Script::say(&format!("{first} to {last}")),
        }
    })
}

/// Forty bytes a line.
fn log(lines: usize) -> String {
    (0..lines).map(|n| format!("#{n:<3} {}\n", "x".repeat(34))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_fits_is_summarized_at_once() {
    let fake = saying("The disk was full.");
    let told = Scene::new(&fake, "summarize", "one\ntwo\n").told().await;
    assert_eq!(
        told,
        [
            r#"text "The ""#,
            r#"text "disk ""#,
            r#"text "was ""#,
            r#"text "full.""#,
            "text/plain: The disk was full."
        ]
    );
    assert_eq!(prompts(&fake), ["<user>Summarize in one sentence:\none\ntwo\n<assistant>"]);
}

#[tokio::test(start_paused = true)]
async fn instruction_and_style_are_said() {
    let fake = saying("x");
    let scene = Scene::new(&fake, "summarize", "text").param("instruction", "Say what broke");
    scene.param("style", "in German").run().await.outcome.result.unwrap();
    assert_eq!(prompts(&fake), ["<user>Say what broke, in German:\ntext\n<assistant>"]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_summarized_in_pieces() {
    let fake = with_context(numbers(), 700);
    let told = Scene::new(&fake, "summarize", log(30)).told().await;
    let shown = prompts(&fake);
    assert_eq!(shown.len(), 4);
    assert!(shown.iter().all(|prompt| prompt.len() + 128 < 700));
    assert_eq!(shown[3], "<user>Summarize in one sentence:\n#0 to #8\n#9 to #18\n#19 to #29\n<assistant>");
    assert_eq!(
        told,
        [
            "progress 0.25",
            "progress 0.5",
            "progress 0.75",
            r##"text "#0 ""##,
            r#"text "to ""#,
            r##"text "#29""##,
            "text/plain: #0 to #29",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn summaries_that_do_not_fit_are_summarized_again() {
    let fake = with_context(numbers(), 300);
    let told = Scene::new(&fake, "summarize", log(200)).param("max_tokens", "60").run().await;
    assert_eq!(told.lines().last().unwrap(), "text/plain: #0 to #199");
    let progress: Vec<f32> = told
        .chunks
        .iter()
        .filter_map(|chunk| if let Chunk::Progress(share) = chunk { Some(*share) } else { None })
        .collect();
    assert!(progress.is_sorted() && progress.iter().all(|share| *share < 1.0), "{progress:?}");
    let of_summaries = prompts(&fake).iter().filter(|prompt| prompt.contains(" to #")).count();
    assert!(of_summaries > 1, "a second round in pieces, and a last one: {of_summaries}");
}

#[tokio::test(start_paused = true)]
async fn pieces_are_as_small_as_wanted() {
    let fake = numbers();
    Scene::new(&fake, "summarize", log(10)).param("chunk_tokens", "100").run().await.outcome.result.unwrap();
    let frame = "<user>Summarize in one sentence:\n\n<assistant>".len();
    assert!(prompts(&fake).iter().all(|prompt| prompt.len() <= frame + 100));
    let said = Scene::new(&fake, "summarize", log(10)).param("chunk_tokens", "5000").error().await;
    assert_eq!(
        said,
        r#"invalid argument: the parameter "chunk_tokens" is 5000: the model's context of 4096 tokens has room for 3915 at a time"#
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_leaves_room_for_the_text() {
    let fake = with_context(numbers(), 300);
    let said = Scene::new(&fake, "summarize", "x").param("max_tokens", "250").error().await;
    assert_eq!(
        said,
        "invalid argument: the model's context of 300 tokens leaves 0 for text beside 45 of the prompt and max_tokens=250: lower max_tokens"
    );
}

#[tokio::test(start_paused = true)]
async fn pieces_that_are_cut_short_still_count() {
    let fake =
        with_context(answering(|_| Script::say("a b c").then(ScriptEnd::Stop(StopReason::MaxTokens))), 700);
    let told = Scene::new(&fake, "summarize", log(20)).told().await;
    assert_eq!(told.last().unwrap(), "text/plain: a b c");
}

#[tokio::test(start_paused = true)]
async fn nothing_to_say_is_told() {
    let fake = with_context(saying(" "), 700);
    let said = Scene::new(&fake, "summarize", log(20)).error().await;
    assert_eq!(said, "backend: the model had nothing to say of any part of the text");
}

#[tokio::test(start_paused = true)]
async fn it_can_be_cancelled_between_pieces() {
    let scene = Scene::new(&with_context(numbers(), 300), "summarize", log(100)).param("max_tokens", "60");
    let cancel = scene.cancel();
    let told = scene.run_watched(|_| cancel.cancel()).await;
    assert_eq!(told.outcome.result.unwrap_err(), InvokeError::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn long_text_is_read_in_parts() {
    let told = Scene::new(&numbers(), "summarize", log(5000)).run().await;
    assert_eq!(told.lines().last().unwrap(), "text/plain: #0 to #4999");
}
