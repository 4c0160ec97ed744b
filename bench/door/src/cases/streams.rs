//! A thousand streams on one scheduler.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use dunlin_bench_stand::{
    Figure, Programs, Stand, block_on, letter,
    process::{cpu_time, resident_bytes},
};
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

use crate::http::{address, asked, paced, streamed};

const STREAMS: usize = 1000;
/// Of 32 sequences each.
const NODES: u32 = 32;
const TOKENS: u64 = 24;
/// All are open at once for most of this time.
const PACE_MS: u64 = 1000;
/// The last begins so long after the first.
const RAMP: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn thousand(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::with_http(programs)?;
    stand.push_tiny()?;
    for number in 0..NODES {
        stand.join(&format!("node-{number}"), false, &["--threads", "1", "--no-probe"])?;
    }
    block_on(async {
        stand.resident_on("tiny", NODES).await?;
        let (pid, address) = (stand.scheduler.pid(), Arc::new(address(&stand)?));
        let idle = resident_bytes(pid);
        let (before, began) = (cpu_time(pid), Instant::now());
        let running = Arc::new(AtomicBool::new(true));
        let peak = tokio::spawn(peak(pid, running.clone()));
        let answers = all(&address).await?;
        running.store(false, Relaxed);
        let (peak, took) = (peak.await?, began.elapsed());
        let expected: String = (0..TOKENS as usize).map(letter).collect();
        let whole = answers.iter().filter(|(text, is_whole)| *is_whole && *text == expected).count();
        let busy = (cpu_time(pid) - before).as_secs_f64() / took.as_secs_f64();
        let note = format!(
            "{NODES} nodes whose engine processes compute nothing, a token a second; without a stream {:.0} MB; \
             {:.0} % of a processor; all within {:.1} s",
            idle as f64 / 1e6,
            100.0 * busy,
            took.as_secs_f64()
        );
        Ok(vec![
            Figure::at_least(
                "streams: of which nothing is lost or repeated",
                STREAMS as f64,
                whole as f64,
                "of 1000",
            ),
            Figure::at_most(
                "streams: the scheduler's resident memory, at most",
                150.0,
                peak as f64 / 1e6,
                "MB",
            )
            .note(note),
        ])
    })
}

async fn all(address: &Arc<String>) -> anyhow::Result<Vec<(String, bool)>> {
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        let (address, wait) = (address.clone(), RAMP * number as u32 / STREAMS as u32);
        streams.spawn(async move {
            sleep(wait).await;
            streamed(&address, &asked(&paced(PACE_MS), TOKENS, true)).await
        });
    }
    let mut answers = Vec::new();
    while let Some(ended) = streams.join_next().await {
        answers.push(ended??);
    }
    Ok(answers)
}

/// Looked at again and again, since what the kernel notes as the highest is that of the whole life.
async fn peak(pid: u32, running: Arc<AtomicBool>) -> u64 {
    let (mut highest, mut beat) = (0, interval(LOOK));
    while running.load(Relaxed) {
        beat.tick().await;
        highest = highest.max(resident_bytes(pid));
    }
    highest
}
