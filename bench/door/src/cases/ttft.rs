//! From the request to the first token, through door, scheduler, agent, worker and engine process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dunlin_bench_stand::{Client as Member, Figure, Programs, Stand, block_on};
use dunlin_load::{Client, Quantiles};
use serde_json::Map;
use tokio::{task::JoinSet, time::sleep};

use crate::http::{chat, client, paced};

const AT_ONCE: usize = 64;
/// Members share no connection with more: a connection has 64 streams, of which some are about to end.
const OF_ONE_LINK: usize = 16;
const ALONE: usize = 300;
const WARMING: usize = 50;
const LONG: Duration = Duration::from_secs(8);
const WARM: Duration = Duration::from_secs(3);
/// Streams of a second: with 64 of them one begins every 16 ms or so beside 63 others.
const TOKENS: u32 = 20;
const PACE_MS: u32 = 50;
/// Of 32 sequences each: nobody has to wait for one.
const NODES: [&str; 3] = ["ada", "bob", "eve"];

const ZERO: &str = "real processes; the engine process computes nothing, and says its first token at once";

pub(super) fn added(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::with_http(programs)?;
    stand.push_tiny()?;
    for name in NODES {
        stand.join(name, false, &["--threads", "1", "--no-probe"])?;
    }
    block_on(async {
        stand.resident_on("tiny", NODES.len() as u32).await?;
        let (client, member) = (Arc::new(client(&stand, "tiny", Map::new())?), stand.client().await?);
        for _ in 0..WARMING {
            chat(&client, &paced(0), 1).await?;
        }
        let mut figures = alone(&client, &member).await?;
        figures.extend(under_way(&stand, client.clone()).await?);
        figures.push(back_to_back(client).await?);
        Ok(figures)
    })
}

/// The same request by HTTP and as a member of the fleet, one after the other.
async fn alone(client: &Client, member: &Member) -> anyhow::Result<Vec<Figure>> {
    let (mut by_http, mut as_member) = (Vec::new(), Vec::new());
    for _ in 0..ALONE {
        by_http.push(by_door(client, 1, 0).await?);
        as_member.push(member.invoke(1, 0).await?.first);
    }
    figures("one after the other", by_http, as_member)
}

async fn under_way(stand: &Stand, client: Arc<Client>) -> anyhow::Result<Vec<Figure>> {
    let mut members = Vec::new();
    for _ in 0..AT_ONCE / OF_ONE_LINK {
        members.push(stand.client().await?);
    }
    let members = Arc::new(members);
    let as_member = move |number: usize| {
        let members = members.clone();
        async move { Ok(members[number / OF_ONE_LINK].invoke(TOKENS, PACE_MS).await?.first) }
    };
    let stagger =
        |number: usize| Duration::from_millis(u64::from(TOKENS * PACE_MS)) * number as u32 / AT_ONCE as u32;
    // Rows know nothing of an engine that computes nothing: its first streams are waited for too long, or not at all.
    concurrently(WARM, stagger, as_member.clone()).await?;
    let by_http = concurrently(LONG, stagger, move |_| {
        let client = client.clone();
        async move { by_door(&client, TOKENS, PACE_MS).await }
    });
    let by_http = by_http.await?;
    let as_member = concurrently(LONG, stagger, as_member).await?;
    figures("64 streams under way", by_http, as_member)
}

/// Each begins when the one before has ended: as many as the machine has processors for.
async fn back_to_back(client: Arc<Client>) -> anyhow::Result<Figure> {
    let begin = Instant::now();
    let answers = concurrently(
        LONG,
        |_| Duration::ZERO,
        move |_| {
            let client = client.clone();
            async move { by_door(&client, 1, 0).await }
        },
    );
    let answers = answers.await?;
    let rate = answers.len() as f64 / begin.elapsed().as_secs_f64();
    let note = "client, scheduler, agents, workers and engines share the processors";
    Ok(Figure::plain("ttft: requests a second, 64 clients without a pause", format!("{rate:.0} /s"))
        .note(note))
}

async fn by_door(client: &Client, tokens: u32, pace_ms: u32) -> anyhow::Result<Duration> {
    let sample = chat(client, &paced(pace_ms.into()), tokens.into()).await?;
    Ok(sample.ttft().unwrap_or_default())
}

/// So many that ask again and again for a while.
async fn concurrently<F>(
    long: Duration,
    begins: impl Fn(usize) -> Duration,
    ask: impl Fn(usize) -> F + Clone + Send + 'static,
) -> anyhow::Result<Vec<Duration>>
where
    F: Future<Output = anyhow::Result<Duration>> + Send,
{
    let mut tasks = JoinSet::new();
    for number in 0..AT_ONCE {
        let (ask, wait) = (ask.clone(), begins(number));
        tasks.spawn(async move {
            sleep(wait).await;
            let (begin, mut answers) = (Instant::now(), Vec::new());
            while begin.elapsed() < long {
                answers.push(ask(number).await?);
            }
            anyhow::Ok(answers)
        });
    }
    let mut answers = Vec::new();
    while let Some(done) = tasks.join_next().await {
        answers.extend(done??);
    }
    Ok(answers)
}

fn figures(name: &str, by_http: Vec<Duration>, as_member: Vec<Duration>) -> anyhow::Result<Vec<Figure>> {
    let of = |times: Vec<Duration>| {
        let times = times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect();
        Quantiles::of(times, 1).ok_or_else(|| anyhow::anyhow!("no answers"))
    };
    let (door, member) = (of(by_http)?, of(as_member)?);
    let note = format!(
        "{ZERO}; {} of them, p50 from {:.2} to {:.2} ms; as a member of the fleet, without HTTP, p50 {:.2} ms, p99 {:.2} ms",
        door.count, door.p50.low, door.p50.high, member.p50.value, member.p99.value
    );
    Ok(vec![
        Figure::at_most(format!("ttft: added, {name}, p50"), 1.0, door.p50.value, "ms"),
        Figure::at_most(format!("ttft: added, {name}, p99"), 5.0, door.p99.value, "ms").note(note),
    ])
}
