//! What a hop costs, on loopback with both ends in one process: `cargo bench -p dunlin-link`.
//!
//! Latencies are of 16 tasks at once on one connection; each figure is the middle one of the rounds, with the least and the
//! greatest. CPU is of both ends together.
#![allow(clippy::unwrap_used, reason = "a benchmark stops where something fails")]

#[path = "../tests/link/world.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod world;

use std::{
    fs,
    time::{Duration, Instant},
};

use dunlin_link::{Link, ResetKey};
use dunlin_protocol::{Class, frame::Message};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use world::World;

const TASKS: usize = 16;
const ROUNDS: usize = 10;
const CALLS: usize = 1_000;
const TOKENS: u64 = 10_000;
const HANDSHAKES: u32 = 100;

/// The size of a token with its offset.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Token {
    offset: u64,
    id: u32,
    text: String,
}

impl Message for Token {
    const CLASS: Class = Class::Tokens;
}

fn token(offset: u64) -> Token {
    Token { offset, id: 70_000, text: " something".into() }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // `cargo test --all-targets` runs this too, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let pair = World::new().pair().await;
    tokio::spawn(answer(pair.scheduler.clone()));
    println!("{:44} {:>24} {:>24}", "16 at once, us: median [least, greatest]", "p50", "p99");
    latencies("a frame there and back on an open stream", || on_an_open_stream(&pair.node)).await;
    latencies("stream opened, request, first answer", || on_new_streams(&pair.node)).await;
    let costs: Vec<f64> = rounds(|| stream_tokens(&pair.node)).await;
    println!("\nCPU of both ends, us: median [least, greatest]");
    println!("{:44} {:>24}", "a token of a burst, on one of 16 streams", spread(costs));
    let costs: Vec<f64> = rounds(|| send_alone(&pair.node)).await;
    println!("{:44} {:>24}", "a token in a packet of its own", spread(costs));
    let costs: Vec<f64> = rounds(shake_hands).await;
    println!("{:44} {:>24}", "a connection, certificates on both ends", spread(costs));
}

/// Echoes what comes; a frame with an offset of zero asks for many.
async fn answer(link: Link) {
    while let Ok((mut sender, mut receiver)) = link.accept::<Token, Token>().await {
        tokio::spawn(async move {
            while let Ok(Some(asked)) = receiver.receive().await {
                if asked.offset > 0 {
                    sender.send(&asked).await.unwrap();
                    continue;
                }
                for offset in 1..=TOKENS {
                    sender.send(&token(offset)).await.unwrap();
                }
            }
        });
    }
}

async fn on_an_open_stream(node: &Link) -> Vec<Duration> {
    concurrently(node, |link| async move {
        let (mut sender, mut receiver) = link.open::<Token, Token>().await.unwrap();
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let start = Instant::now();
            sender.send(&token(1)).await.unwrap();
            receiver.receive().await.unwrap().unwrap();
            times.push(start.elapsed());
        }
        times
    })
    .await
}

async fn on_new_streams(node: &Link) -> Vec<Duration> {
    concurrently(node, |link| async move {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let start = Instant::now();
            let (mut sender, mut receiver) = link.open::<Token, Token>().await.unwrap();
            sender.send(&token(1)).await.unwrap();
            receiver.receive().await.unwrap().unwrap();
            times.push(start.elapsed());
        }
        times
    })
    .await
}

/// Microseconds of CPU per token.
async fn stream_tokens(node: &Link) -> f64 {
    let before = cpu_us();
    concurrently(node, |link| async move {
        let (mut sender, mut receiver) = link.open::<Token, Token>().await.unwrap();
        sender.send(&token(0)).await.unwrap();
        for _ in 0..TOKENS {
            receiver.receive().await.unwrap().unwrap();
        }
        Vec::new()
    })
    .await;
    (cpu_us() - before) / (TOKENS as f64 * TASKS as f64)
}

/// Microseconds of CPU per frame, when each waits for the one before.
async fn send_alone(node: &Link) -> f64 {
    let (mut sender, mut receiver) = node.open::<Token, Token>().await.unwrap();
    let before = cpu_us();
    for _ in 0..CALLS * TASKS {
        sender.send(&token(1)).await.unwrap();
        receiver.receive().await.unwrap().unwrap();
    }
    (cpu_us() - before) / (CALLS as f64 * TASKS as f64 * 2.0)
}

/// Microseconds of CPU per connection.
async fn shake_hands() -> f64 {
    let world = World::new();
    let endpoint = world.listen(world::socket(), &ResetKey::generate().unwrap());
    let address = endpoint.local_addr().unwrap();
    let dialer = world.dialer(world::NODE);
    let before = cpu_us();
    for _ in 0..HANDSHAKES {
        let accept = async { endpoint.accept().await.unwrap().await.unwrap() };
        let (dialled, _accepted) = tokio::join!(dialer.dial(address), accept);
        dialled.unwrap();
    }
    (cpu_us() - before) / f64::from(HANDSHAKES)
}

async fn concurrently<F: Future<Output = Vec<Duration>> + Send + 'static>(
    node: &Link,
    task: impl Fn(Link) -> F,
) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(task(node.clone()));
    }
    tasks.join_all().await.concat()
}

async fn latencies<F: Future<Output = Vec<Duration>>>(name: &str, measure: impl Fn() -> F) {
    let rounds = rounds(async || {
        let mut times = measure().await;
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        (at(0.5), at(0.99))
    })
    .await;
    let (p50, p99): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    println!("{name:44} {:>24} {:>24}", spread(p50), spread(p99));
}

/// The first round warms up.
async fn rounds<T, F: Future<Output = T>>(measure: impl Fn() -> F) -> Vec<T> {
    measure().await;
    let mut results = Vec::new();
    for _ in 0..ROUNDS {
        results.push(measure().await);
    }
    results
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_unstable_by(f64::total_cmp);
    format!("{:.1} [{:.1}, {:.1}]", values[values.len() / 2], values[0], values[values.len() - 1])
}

/// CPU time of this process, from proc(5): fields 14 and 15 of `stat`, in ticks of 10 ms.
fn cpu_us() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum();
    ticks * 10_000.0
}
