//! `dunlin_guest::Ctx` in a component: what it asks of the host, and what it makes of the answers.

use dunlin_engine_handle::{
    Call, Constraint, Generate,
    fake::{self, Fake, Script},
};
use dunlin_host::Chunk;

use crate::scene::{Scene, check, saying};

fn generations(fake: &Fake) -> Vec<Generate> {
    let generate = |call| if let Call::Generate(generate) = call { Some(generate) } else { None };
    fake.calls().into_iter().filter_map(generate).collect()
}

fn prompts(fake: &Fake) -> Vec<String> {
    generations(fake).iter().map(|generate| fake::text(&generate.prompt)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_streamed() {
    let fake = saying("fine, thanks");
    let (chunks, outcome) = Scene::new(&fake.start(), "talk how are you?").chunks().await;
    let text: String = chunks
        .iter()
        .map(|chunk| match chunk {
            Chunk::Text(text) => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(text, "fine, thanks");
    assert_eq!(outcome.result.unwrap().body, b"ok\nfine, thanks\n");
    assert_eq!(prompts(&fake), ["<system>be brief\n<user>how are you?\n<assistant>"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_next_goes_on() {
    let fake = saying("rain");
    check(&fake, "talk-on weather?", &["rain | rain"]).await;
    let first = "<user>weather?\n<assistant>";
    assert_eq!(prompts(&fake), [first.to_owned(), format!("{first}rain\n<user>and then?\n<assistant>")]);
}

#[tokio::test(start_paused = true)]
async fn a_value_is_asked_for_by_its_schema() {
    let fake = saying(r#"{"customer":"Ana","cents":1200}"#);
    check(&fake, "talk-json 12 EUR from Ana", &["Ana 1200 None"]).await;
    let Some(Constraint::JsonSchema(schema)) = &generations(&fake)[0].constraint else {
        panic!("it is constrained")
    };
    assert_eq!(
        schema,
        concat!(
            r#"{"type":"object","properties":{"customer":{"type":"string"},"#,
            r#""cents":{"type":"integer","minimum":0,"maximum":4294967295},"paid":{"type":["boolean","null"]}},"#,
            r#""required":["customer","cents"],"additionalProperties":false}"#
        )
    );
    let said = Scene::new(&saying("{}").start(), "talk-json x").transcript().await;
    assert!(said[0].contains("missing field `customer`"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_matches() {
    let fake = saying("42");
    check(&fake, "talk-matching how many?", &["42"]).await;
    assert_eq!(generations(&fake)[0].constraint, Some(Constraint::Regex("[0-9]+".into())));
}

#[tokio::test(start_paused = true)]
async fn the_likeliest_is_chosen() {
    let fake = Fake::default().scoring(|_| vec![-2.0, -0.5, -1.0]);
    check(&fake, "talk-choose good?", &["yes; there is nothing to choose from"]).await;
}

#[tokio::test(start_paused = true)]
async fn branches_share_what_was_said() {
    let fake = saying("seven");
    check(&fake, "talk-fork a number?", &["seven | seven | seven"]).await;
    let generated = generations(&fake);
    assert_eq!(prompts(&fake), ["<user>a number?\n<assistant>"; 3]);
    let seeds: Vec<u64> = generated.iter().map(|generate| generate.seed).collect();
    assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2] && seeds[0] != seeds[2], "{seeds:?}");
}

#[tokio::test(start_paused = true)]
async fn options_reach_the_engine() {
    let fake = saying("no");
    check(&fake, "talk-options hm?", &["no"]).await;
    let generate = &generations(&fake)[0];
    assert_eq!((generate.max_tokens, generate.deadline_ms), (7, Some(3000)));
    assert_eq!(generate.sampling.as_ref().unwrap().temperature, 0.5);
    assert_eq!(generate.stop, ["x", "y"]);
}

#[tokio::test(start_paused = true)]
async fn who_has_heard_enough_is_told_no_more() {
    let fake = Fake::default().answering(|_| Script::say("one two three"));
    let said = Scene::new(&fake.start(), "talk-failing x").transcript().await;
    assert!(said[0].contains("enough after 1"), "{said:?}");
}
