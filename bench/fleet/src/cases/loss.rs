//! Nodes and schedulers that are killed, and what an idle fleet takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use dunlin_bench_stand::{
    Answered, Figure, Programs, Stand, block_on, letter,
    process::{children, resident_bytes},
    quantile,
};
use tokio::{sync::Notify, task::JoinSet, time::sleep};

const STREAMS: usize = 50;
const TOKENS: u32 = 300;
const PACE_MS: u32 = 20;
const AGENTS: u32 = 20;

const FAKE: &str = "real processes; the engine processes compute nothing, and keep a pace";

/// Of three nodes one is killed when a stream of it has said a token that is drawn.
pub(super) fn streams(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::found(programs)?;
    stand.push_tiny()?;
    for name in ["ada", "bob", "eve"] {
        stand.join(name, false, &["--threads", "1"])?;
    }
    let expected: String = (0..TOKENS as usize).map(letter).collect();
    let kill_at = fastrand::usize(20..200);
    let answers: Vec<Answered> = block_on(async {
        let client = Arc::new(stand.client().await?);
        // Every node has it in memory.
        stand.said(["models", "ls"])?;
        load_everywhere(&stand)?;
        let (spoken, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let (client, spoken, reached) = (client.clone(), spoken.clone(), reached.clone());
            streams.spawn(async move {
                let mut begun = false;
                client
                    .invoke_watched(TOKENS, PACE_MS, |text| {
                        if !begun && text.len() >= kill_at {
                            begun = true;
                            if spoken.fetch_add(1, Relaxed) + 1 == STREAMS / 2 {
                                reached.notify_one();
                            }
                        }
                    })
                    .await
            });
        }
        reached.notified().await;
        if let Some(victim) = stand.agents.get_mut("ada") {
            victim.kill();
        }
        let mut answers = Vec::new();
        while let Some(answered) = streams.join_next().await {
            answers.push(answered??);
        }
        Ok(answers)
    })?;
    let whole = answers.iter().filter(|answered| answered.text == expected).count();
    let moved = answers.iter().filter(|answered| answered.nodes.len() > 1).count();
    let on_victim = answers.iter().filter(|answered| answered.nodes[0].as_str() == "ada").count();
    let mut totals: Vec<f64> = answers.iter().map(|answered| answered.total.as_secs_f64()).collect();
    let pause = quantile(&mut totals, 1.0) - f64::from(TOKENS * PACE_MS) / 1e3;
    let note = format!(
        "{FAKE}; killed at token {kill_at} of {TOKENS}, {on_victim} began there, {moved} moved; the longest took {pause:.1} s more than its tokens"
    );
    Ok(vec![
        Figure::at_least("loss: streams that ended", STREAMS as f64, answers.len() as f64, "of 50"),
        Figure::at_least(
            "loss: streams of which nothing is lost or repeated",
            STREAMS as f64,
            whole as f64,
            "of 50",
        )
        .note(note),
    ])
}

/// One invocation on each, the others cordoned.
fn load_everywhere(stand: &Stand) -> anyhow::Result<()> {
    let names: Vec<&String> = stand.agents.keys().collect();
    for name in &names {
        for other in names.iter().filter(|other| *other != name) {
            stand.said(["cordon", other.as_str()])?;
        }
        stand.said("invoke chat --model tiny --text pace=0 --param max_tokens=1 --quiet".split(' '))?;
        for other in names.iter().filter(|other| *other != name) {
            stand.said(["cordon", "--undo", other.as_str()])?;
        }
    }
    Ok(())
}

pub(super) fn restart(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::found(programs)?;
    for number in 0..AGENTS {
        stand.join(&format!("node-{number}"), false, &["--threads", "1"])?;
    }
    block_on(async {
        stand.connected(AGENTS).await?;
        let mut took = Vec::new();
        for _ in 0..3 {
            stand.scheduler.kill();
            // Long enough for the agents to notice, and to have tried in vain.
            sleep(Duration::from_millis(500)).await;
            let begin = Instant::now();
            stand.restart()?;
            stand.connected(AGENTS).await?;
            took.push(begin.elapsed().as_secs_f64());
        }
        let worst = quantile(&mut took, 1.0);
        let note = format!(
            "from the start of its process, the worst of 3; the middle one {:.2} s; real processes",
            quantile(&mut took, 0.5)
        );
        Ok(vec![Figure::at_most("restart: 20 agents are back", 3.5, worst, "s").note(note)])
    })
}

pub(super) fn memory(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::found(programs)?;
    stand.join("ada", false, &["--threads", "1"])?;
    block_on(async { stand.connected(1).await })?;
    let mb = |pid: u32| resident_bytes(pid) as f64 / 1e6;
    let agent = stand.pid_of("ada")?;
    let worker: f64 = children(agent).into_iter().map(mb).sum();
    Ok(vec![
        Figure::at_most("memory: scheduler with one node", 50.0, mb(stand.scheduler.pid()), "MB"),
        Figure::at_most("memory: agent without models", 40.0, mb(agent), "MB")
            .note(format!("its worker, a process of its own, takes {worker:.1} MB")),
    ])
}
