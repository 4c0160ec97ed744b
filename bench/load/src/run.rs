//! A load, from its first request to its last.

use std::{pin::pin, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    MAX_IN_FLIGHT,
    client::Client,
    fault::Fault,
    plan::{Pace, Plan, Planned, Ruler, of_words},
    sample::Sample,
};

/// How often it is looked whether this process gets its time.
const BEAT: Duration = Duration::from_millis(10);
/// Beats that are kept: of the last hours of a run.
const MAX_BEATS: usize = 1 << 20;

/// Words of the two prompts that show how long words are.
const PROBES: [u64; 2] = [32, 160];

/// What came of a plan.
#[derive(Debug)]
pub struct Outcome {
    /// In the order of their ends.
    pub samples: Vec<Sample>,
    /// Under way when it was stopped: in no figure.
    pub cut_off: usize,
    pub was_stopped: bool,
    /// From the first request to the last end.
    pub took: Duration,
    /// Since when, in milliseconds since 1970.
    pub began_unix_ms: i64,
    /// How late a timer of this process was, each time.
    pub beats: Vec<Duration>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub ended: usize,
    pub failed: usize,
    pub in_flight: usize,
    pub since: Duration,
}

/// Requests one after another, which are in no figure: models are loaded, connections made.
///
/// # Errors
/// Of the first that fails: the others would too.
pub async fn warm_up(client: &Client, plan: &Plan, count: usize) -> Result<(), Fault> {
    let mut plan = plan.clone();
    // Prompts that the load itself does not have.
    (plan.seed, plan.pace) = (!plan.seed, Pace::Closed { concurrency: 1 });
    for planned in plan.requests().take(count) {
        if let Some(fault) = client.send(&planned, Instant::now()).await.fault {
            return Err(fault);
        }
    }
    Ok(())
}

/// How many tokens words are to the server's tokenizer, by two short requests; `None` if it does not count.
///
/// # Errors
/// If one of them fails.
pub async fn measure_words(client: &Client, seed: u64) -> Result<Option<Ruler>, Fault> {
    let mut rng = Rng::with_seed(seed ^ 1);
    let mut found = Vec::new();
    for words in PROBES {
        let planned = Planned { number: 0, at: None, prompt: of_words(words, &mut rng), max_tokens: 1 };
        let sample = client.send(&planned, Instant::now()).await;
        match sample.fault {
            // A first token may be one that is not shown.
            None | Some(Fault::Empty) => {}
            Some(fault) => return Err(fault),
        }
        found.extend(sample.usage.map(|usage| (words, usage.prompt_tokens)));
    }
    Ok(match found[..] {
        [short, long] => Ruler::through(short, long),
        _ => None,
    })
}

/// Sends what the plan says until it is done, or stopped: then what is under way is dropped.
pub async fn run(
    client: Arc<Client>,
    plan: &Plan,
    stop: &CancellationToken,
    mut progress: impl FnMut(Done),
) -> Outcome {
    let began_unix_ms = jiff::Timestamp::now().as_millisecond();
    let origin = Instant::now();
    let mut load = Load { client, origin, flying: JoinSet::new(), samples: Vec::new(), failed: 0 };
    let room = match plan.pace {
        Pace::Closed { concurrency } => concurrency.min(MAX_IN_FLIGHT),
        _ => usize::MAX,
    };
    let mut requests = plan.requests();
    let mut next = requests.next();
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beats = Vec::new();
    // An open loop knows by its times; what has its time is sent, however late.
    let is_over = || !plan.is_open() && plan.duration.is_some_and(|limit| origin.elapsed() >= limit);
    while next.is_some() || !load.flying.is_empty() {
        if next.is_some() && is_over() {
            next = None;
            continue;
        }
        let at = next.as_ref().map_or(origin, |planned| origin + planned.at.unwrap_or_default());
        let has_room = load.flying.len() < room;
        let due = pin!(sleep_until(at));
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = due, if next.is_some() && has_room => {
                if let Some(planned) = next.take() {
                    load.launch(planned);
                }
                next = requests.next();
            }
            Some(ended) = load.flying.join_next() => {
                load.samples.extend(ended.ok());
                load.failed += usize::from(load.samples.last().is_some_and(|sample| !sample.is_good()));
                progress(load.done());
            }
            tick = beat.tick() => {
                if beats.len() < MAX_BEATS {
                    beats.push(tick.elapsed());
                }
                progress(load.done());
            }
        }
    }
    let cut_off = load.flying.len();
    load.flying.abort_all();
    let last = load.samples.iter().map(|sample| sample.end).max();
    Outcome {
        took: if cut_off > 0 { origin.elapsed() } else { last.unwrap_or_default() },
        samples: load.samples,
        cut_off,
        was_stopped: stop.is_cancelled(),
        began_unix_ms,
        beats,
    }
}

struct Load {
    client: Arc<Client>,
    origin: Instant,
    flying: JoinSet<Sample>,
    samples: Vec<Sample>,
    failed: usize,
}

impl Load {
    fn launch(&mut self, planned: Planned) {
        if self.flying.len() >= MAX_IN_FLIGHT {
            let now = self.origin.elapsed();
            let mut sample = Sample::new(planned.number, planned.at.unwrap_or(now), now);
            sample.fault = Some(Fault::Crowded);
            self.samples.push(sample);
            self.failed += 1;
            return;
        }
        let (client, origin) = (self.client.clone(), self.origin);
        self.flying.spawn(async move { client.send(&planned, origin).await });
    }

    fn done(&self) -> Done {
        Done {
            ended: self.samples.len(),
            failed: self.failed,
            in_flight: self.flying.len(),
            since: self.origin.elapsed(),
        }
    }
}
