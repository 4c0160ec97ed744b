//! What the scheduler says, again and again, over connections that come and go.

use std::time::{Duration, Instant};

use dunlin_protocol::{Answer, Ask, Explanation, InvocationId, ModelDigest};
use tokio::{
    sync::mpsc::{Receiver, Sender},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::look::Look;
use crate::{
    command::fleet::nodes,
    failure::Failure,
    fleet::{Client, explain},
};

pub(super) const MAX_WISHES: usize = 8;
pub(super) const MAX_NEWS: usize = 8;

/// Before it is tried to connect again; each time twice as long, up to the last.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(8);
/// A scheduler that says nothing for so long is not there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages of models.
const MAX_PAGES: usize = 64;

#[derive(Debug)]
pub(super) enum Wish {
    Explain(InvocationId),
}

#[derive(Debug)]
pub(super) enum News {
    Look(Box<Look>),
    Explanation(InvocationId, String),
    /// No connection, and when the next try is.
    Away {
        why: String,
        until: Instant,
    },
}

/// Until nobody listens.
pub(super) async fn feed(every: Duration, mut wished: Receiver<Wish>, tell: Sender<News>) {
    let mut wait = RETRY;
    loop {
        let why = match timeout(PATIENCE, Client::connect()).await {
            Ok(Ok(client)) => {
                wait = RETRY;
                let why = follow(&client, every, &mut wished, &tell).await;
                client.leave().await;
                why
            }
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("the scheduler does not answer"),
        };
        let away = News::Away { why: Failure::of(&why).message, until: Instant::now() + wait };
        if tell.send(away).await.is_err() {
            return;
        }
        sleep(wait).await;
        wait = (2 * wait).min(MAX_RETRY);
    }
}

/// Why it ended.
async fn follow(
    client: &Client,
    every: Duration,
    wished: &mut Receiver<Wish>,
    tell: &Sender<News>,
) -> anyhow::Error {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let news = tokio::select! {
            _ = tick.tick() => in_time(look(client)).await.map(|look| News::Look(Box::new(look))),
            Some(Wish::Explain(invocation)) = wished.recv() => in_time(explanation(client, invocation)).await,
        };
        let news = match news {
            Ok(news) => news,
            Err(error) => return error,
        };
        if tell.send(news).await.is_err() {
            return anyhow::anyhow!("nobody listens");
        }
    }
}

async fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(anyhow::anyhow!("the scheduler does not answer")))
}

/// Everything that is shown.
///
/// # Errors
/// Of the connection.
pub(super) async fn look(client: &Client) -> anyhow::Result<Look> {
    let Answer::Fleet(fleet) = client.ask(Ask::Fleet).await? else { return Err(something_else()) };
    let nodes = nodes::all(client).await?;
    let models = models(client).await?;
    let Answer::Invocations(invocations) = client.ask(Ask::Invocations { live: false }).await? else {
        return Err(something_else());
    };
    Ok(Look { fleet, nodes, models, invocations: invocations.items, at: Instant::now() })
}

/// What digests are called.
async fn models(client: &Client) -> anyhow::Result<Vec<(ModelDigest, String)>> {
    let mut named = Vec::new();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let Answer::Models(page) = client.ask(Ask::Models { after }).await? else {
            return Err(something_else());
        };
        after = page.items.last().map(|model| model.alias.clone());
        named.extend(page.items.into_iter().flat_map(|model| {
            let alias = model.alias;
            model.variants.into_iter().map(move |of| (of.variant.model, alias.clone()))
        }));
        if !page.more {
            break;
        }
    }
    Ok(named)
}

/// One that is not known any more is no reason to leave.
async fn explanation(client: &Client, invocation: InvocationId) -> anyhow::Result<News> {
    let text = match client.ask(Ask::Explain { invocation }).await {
        Ok(Answer::Explanation(explanation)) => plain(&explanation),
        Ok(_) => return Err(something_else()),
        Err(error) if error.downcast_ref::<Failure>().is_some() => Failure::of(&error).message,
        Err(error) => return Err(error),
    };
    Ok(News::Explanation(invocation, text))
}

/// Without colours: the screen has its own.
fn plain(explanation: &Explanation) -> String {
    anstream::adapter::strip_str(&explain::text(explanation)).to_string()
}

fn something_else() -> anyhow::Error {
    anyhow::anyhow!("the scheduler answered with something else")
}
