//! Conversations by [`Ctx`], one command each: all but the first word are what is said.

use std::time::Duration;

use dunlin_guest::{Ctx, Error, emit, schemars::JsonSchema, serde::Deserialize};

use crate::Said;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "dunlin_guest::serde")]
#[schemars(crate = "dunlin_guest::schemars")]
struct Invoice {
    customer: String,
    cents: u32,
    paid: Option<bool>,
}

/// `None` if it is not one of these commands.
pub(crate) fn act(command: &str, said: &str) -> Option<Said> {
    Some(match command {
        "talk" => talk(said),
        "talk-on" => talk_on(said),
        "talk-json" => talk_json(said),
        "talk-choose" => talk_choose(said),
        "talk-matching" => Ctx::model("demo").and_then(|talk| talk.user(said).matching("[0-9]+")),
        "talk-fork" => talk_fork(said),
        "talk-options" => talk_options(said),
        "talk-failing" => talk_failing(said),
        _ => return None,
    })
}

fn talk(said: &str) -> Said {
    Ctx::model("demo")?.system("be brief").user(said).stream(emit)
}

/// What is said next goes on with the conversation.
fn talk_on(said: &str) -> Said {
    let mut talk = Ctx::model("demo")?.user(said);
    let first = talk.text()?;
    let second = talk.user("and then?").text()?;
    Ok(format!("{first} | {second}"))
}

fn talk_json(said: &str) -> Said {
    let invoice: Invoice = Ctx::model("demo")?.user(said).json()?;
    Ok(format!("{} {} {:?}", invoice.customer, invoice.cents, invoice.paid))
}

fn talk_choose(said: &str) -> Said {
    let mut talk = Ctx::model("demo")?.user(said);
    let chosen = talk.choose(&["no", "yes", "maybe"])?;
    talk.choose(&[])
        .map(str::to_owned)
        .or_else(|error| Ok(format!("{chosen}; {}", dunlin_guest::explain(&error))))
}

/// All at once.
fn talk_fork(said: &str) -> Said {
    let mut branches = Ctx::model("demo")?.user(said).temperature(0.8).fork(3)?;
    let running = branches.iter_mut().map(|branch| branch.start(None)).collect::<Result<Vec<_>, Error>>()?;
    let texts = running.iter().map(|generation| Ok(generation.finish()?.text));
    Ok(texts.collect::<Result<Vec<_>, Error>>()?.join(" | "))
}

fn talk_options(said: &str) -> Said {
    let talk = Ctx::model("demo")?.user(said).max_tokens(7).temperature(0.5).seed(9).stop("x").stop("y");
    talk.deadline(Duration::from_secs(3)).text()
}

/// Who has heard enough need not hear it to its end.
fn talk_failing(said: &str) -> Said {
    let mut pieces = 0;
    Ctx::model("demo")?.user(said).stream(|_| {
        pieces += 1;
        Err(Error::invalid(format!("enough after {pieces}")))
    })
}
