//! Thousands of connections that are slow or silent, and one request among them that is as it should be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use dunlin_bench_stand::{Figure, Programs, Stand, block_on, process::resident_bytes, quantile};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::http::{address, asked, paced, timed};

const CONNECTIONS: usize = 4000;
/// Of those that are mixed: streams that nobody reads. The others are a third each.
const READERS: usize = 200;
/// A byte each so often.
const DRIP: Duration = Duration::from_secs(2);
/// Who was turned away knocks again after so long.
const AGAIN: Duration = Duration::from_millis(200);
/// Between two looks at how many are there.
const LOOK: Duration = Duration::from_millis(50);
/// Until all of them are there.
const OPENING: Duration = Duration::from_secs(30);
const GOOD: usize = 20;
/// More text than what is between the two ends can hold.
const UNREAD_TOKENS: u64 = 400;
const SMALL_BUFFER: u32 = 4096;

/// What is wrong with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Silent,
    SlowHead,
    SlowBody,
    /// Asks for a stream and takes nothing of it.
    NeverReads,
}

/// What all of them together came to.
#[derive(Debug, Default)]
struct Crowd {
    opened: AtomicUsize,
    turned_away: AtomicUsize,
}

pub(super) fn crowds(programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut stand = Stand::with_http(programs)?;
    stand.push_tiny()?;
    stand.join("ada", false, &["--threads", "1", "--no-probe"])?;
    block_on(async {
        stand.resident_on("tiny", 1).await?;
        let mixed = |number: usize| match number {
            number if number < READERS => Manner::NeverReads,
            number => [Manner::Silent, Manner::SlowHead, Manner::SlowBody][number % 3],
        };
        Ok(vec![
            crowd(&stand, "silent", "", |_| Manner::Silent).await?,
            crowd(&stand, "with slow heads", "", |_| Manner::SlowHead).await?,
            crowd(&stand, "with slow bodies", "", |_| Manner::SlowBody).await?,
            crowd(&stand, "of all kinds", &format!("{READERS} of them streams that nobody reads; "), mixed)
                .await?,
        ])
    })
}

async fn crowd(
    stand: &Stand,
    name: &str,
    more: &str,
    manner: impl Fn(usize) -> Manner,
) -> anyhow::Result<Figure> {
    let address: Arc<str> = address(stand)?.into();
    let crowd = Arc::new(Crowd::default());
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        connections.spawn(stay(address.clone(), manner(number), crowd.clone()));
    }
    let began = Instant::now();
    while crowd.opened.load(Relaxed) < CONNECTIONS {
        anyhow::ensure!(began.elapsed() < OPENING, "not all of the connections could be opened");
        sleep(LOOK).await;
    }
    let mut took = Vec::new();
    for _ in 0..GOOD {
        let (status, time, said) = timed(&address, &asked(&paced(0), 1, false)).await?;
        anyhow::ensure!(status == 200, "a good request was answered with {status}: {said}");
        took.push(time.as_secs_f64());
    }
    let memory = resident_bytes(stand.scheduler.pid()) as f64 / 1e6;
    connections.abort_all();
    while connections.join_next().await.is_some() {}
    let slowest = quantile(&mut took, 1.0);
    let note = format!(
        "{more}the slowest of {GOOD}, each on a connection of its own, p50 {:.1} ms; {} were turned away meanwhile and came again; the scheduler has {memory:.0} MB",
        1e3 * quantile(&mut took, 0.5),
        crowd.turned_away.load(Relaxed),
    );
    let what = format!("slow: a good request among {CONNECTIONS} {name}");
    Ok(Figure::at_most(what, 1.0, slowest, "s").note(note))
}

/// Until it is aborted; whenever it is turned away it comes again.
async fn stay(address: Arc<str>, manner: Manner, crowd: Arc<Crowd>) {
    let mut is_counted = false;
    loop {
        let begun = once(&address, manner, || {
            if !std::mem::replace(&mut is_counted, true) {
                crowd.opened.fetch_add(1, Relaxed);
            }
        });
        // Why it ended is nothing to this.
        drop(begun.await);
        crowd.turned_away.fetch_add(1, Relaxed);
        sleep(AGAIN).await;
    }
}

/// Until the other end closes it.
async fn once(address: &str, manner: Manner, opened: impl FnOnce()) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    if manner == Manner::NeverReads {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    let mut stream = socket.connect(address.parse().context("an address")?).await?;
    let body = asked(&paced(0), UNREAD_TOKENS, true).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    match manner {
        Manner::Silent => {}
        Manner::SlowHead => stream.write_all(head.as_bytes()).await?,
        Manner::SlowBody => stream.write_all(format!("{head}\r\n{{").as_bytes()).await?,
        Manner::NeverReads => stream.write_all(format!("{head}\r\n{body}").as_bytes()).await?,
    }
    opened();
    let mut byte = [0; 1];
    loop {
        match manner {
            Manner::NeverReads => std::future::pending().await,
            _ => {
                if let Ok(read) = timeout(DRIP, stream.read(&mut byte)).await {
                    anyhow::ensure!(read? > 0, "closed");
                }
            }
        }
        match manner {
            Manner::SlowHead => stream.write_all(b"x").await?,
            Manner::SlowBody => stream.write_all(b" ").await?,
            Manner::Silent | Manner::NeverReads => {}
        }
    }
}
