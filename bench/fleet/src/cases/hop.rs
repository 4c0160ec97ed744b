//! From the invocation to the first byte of its answer, through scheduler, agent, worker and engine process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dunlin_bench_stand::{Answered, Client, Figure, Programs, Stand, block_on, quantile};
use tokio::task::JoinSet;

/// Invocations under way at once.
const AT_ONCE: usize = 16;
const WARMING: usize = 50;
const LONG: Duration = Duration::from_secs(8);

const ZERO: &str = "real processes; the engine process computes nothing, and says its first token at once";

pub(super) fn hop(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::found(programs)?;
    stand.push_tiny()?;
    stand.join("ada", false, &["--threads", "1"])?;
    block_on(async {
        let client = Arc::new(stand.client().await?);
        for _ in 0..WARMING {
            client.invoke(1, 0).await?;
        }
        let mut figures = alone(&client).await?;
        figures.extend(under_way(&client).await?);
        figures.extend(back_to_back(&client).await?);
        Ok(figures)
    })
}

fn figures(name: &str, answers: &[Answered]) -> Vec<Figure> {
    let of = |part: fn(&Answered) -> Duration, share: f64| {
        let mut times: Vec<f64> = answers.iter().map(|answered| part(answered).as_secs_f64() * 1e3).collect();
        quantile(&mut times, share)
    };
    let first: fn(&Answered) -> Duration = |answered| answered.first;
    let note = format!(
        "{ZERO}; {} of them; p50 to accepted {:.2} ms, to placed {:.2} ms",
        answers.len(),
        of(|answered| answered.accepted, 0.5),
        of(|answered| answered.placed, 0.5)
    );
    vec![
        Figure::at_most(format!("hop: {name}, p50"), 1.0, of(first, 0.5), "ms"),
        Figure::at_most(format!("hop: {name}, p99"), 5.0, of(first, 0.99), "ms").note(note),
    ]
}

async fn alone(client: &Client) -> anyhow::Result<Vec<Figure>> {
    let mut answers = Vec::new();
    for _ in 0..300 {
        answers.push(client.invoke(1, 0).await?);
    }
    Ok(figures("one after the other", &answers))
}

/// As streams are: each lasts a fifth of a second, so that one begins every 12 ms or so beside fifteen others.
async fn under_way(client: &Arc<Client>) -> anyhow::Result<Vec<Figure>> {
    let answers = concurrently(client, |number| Duration::from_millis(12 * number as u64), 10, 20).await?;
    Ok(figures("16 streams under way", &answers))
}

/// Each begins when the one before has ended: as many as the machine has processors for.
async fn back_to_back(client: &Arc<Client>) -> anyhow::Result<Vec<Figure>> {
    let begin = Instant::now();
    let answers = concurrently(client, |_| Duration::ZERO, 1, 0).await?;
    let rate = answers.len() as f64 / begin.elapsed().as_secs_f64();
    let mut figures = figures("16 clients without a pause", &answers);
    let note = "client, scheduler, agent, worker and engine share the processors: here latency is what a turn takes of them";
    figures.push(Figure::plain("hop: invocations a second, 16 clients", format!("{rate:.0} /s")).note(note));
    Ok(figures)
}

async fn concurrently(
    client: &Arc<Client>,
    begins: impl Fn(usize) -> Duration,
    tokens: u32,
    pace_ms: u32,
) -> anyhow::Result<Vec<Answered>> {
    let mut tasks = JoinSet::new();
    for number in 0..AT_ONCE {
        let (client, wait) = (client.clone(), begins(number));
        tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let (begin, mut answers) = (Instant::now(), Vec::new());
            while begin.elapsed() < LONG {
                answers.push(client.invoke(tokens, pace_ms).await?);
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
