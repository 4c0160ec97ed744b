//! One connection with a scheduler: what is reported on it, what is ordered, and a stream for each attempt.

use std::{sync::Arc, time::Duration};

use dunlin_link::{
    GreetError, Link, Lost, ReceiveError, Receiver, SendError, Sender, clock::unix_seconds, greet,
};
use dunlin_protocol::{
    AttemptOpening, BlobDigest, Command, CommandId, Failure, FailureCode, FromAttempt, Hello, Order,
    PROFILE_EXTRAS, PROFILES, ProfileModel, Rows, Started, ToAttempt, ToNode, ToScheduler, Welcome,
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{AttemptLog, End, Next},
    costs::{OwnCosts, OwnRows},
    execute::execute,
    node::Node,
};

/// Why a connection came to its end.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("the scheduler refuses this node: {0}")]
    Greet(#[from] GreetError),
    #[error("the scheduler closed the control stream")]
    Closed,
}

/// Features of this build.
const FEATURES: &[&str] = &["resume", PROFILES, PROFILE_EXTRAS];

/// News are told at once after a pause, and else so far apart: attempts that come and go by the thousand are not worth a report
/// each, as their own streams tell of them.
const NEWS_INTERVAL: Duration = Duration::from_millis(50);

type Control = (Sender<ToScheduler>, Receiver<ToNode>);

/// Says hello, and everything that the node holds.
pub(crate) async fn begin(node: &Node, link: &Link) -> Result<(Control, Welcome), SessionError> {
    let (to, from, welcome) = greet(link, &hello(node)).await?;
    let (mut to, from) = (to.then::<ToScheduler>(), from.then::<ToNode>());
    to.send(&ToScheduler::Inventory(Box::new(node.inventory()))).await?;
    Ok(((to, from), welcome))
}

pub(crate) fn hello(node: &Node) -> Hello {
    Hello::new(FEATURES, &node.options.build, unix_seconds())
}

/// Serves until the connection is lost, or the node has drained.
pub(crate) async fn serve(
    node: &Arc<Node>,
    link: &Link,
    (mut to, mut from): Control,
    welcome: &Welcome,
    mut leaving: watch::Receiver<Option<Duration>>,
) -> Result<(), SessionError> {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    let (mut news, mut shelf) = (node.news.subscribe(), node.shelf.subscribe());
    let every = Duration::from_millis(welcome.report_every_ms.clamp(50, 10_000));
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_beat = Instant::now();
    let mut costs = OwnCosts::of(&node.options);
    tell_costs(&mut costs, &mut to).await?;
    let (mut last_news, mut news_due) = (Instant::now(), None);
    loop {
        tokio::select! {
            command = from.receive() => match command? {
                Some(ToNode::Command(command)) => obey(node, command, &answers),
                Some(ToNode::Renewed(_)) => {}
                None => return Err(SessionError::Closed),
            },
            stream = link.accept::<AttemptOpening, FromAttempt>() => {
                let (sender, receiver) = stream?;
                streams.spawn(attempt(node.clone(), sender, receiver));
            }
            Some(answer) = answered.recv() => to.send(&answer).await?,
            Some(_) = streams.join_next() => {}
            Ok(()) = shelf.changed() => {
                to.send(&ToScheduler::Inventory(Box::new(node.inventory()))).await?;
            }
            Ok(()) = news.changed(), if news_due.is_none() => news_due = Some(last_news + NEWS_INTERVAL),
            () = sleep_until(news_due.unwrap_or(last_news)), if news_due.is_some() => {
                (last_news, news_due) = (Instant::now(), None);
                to.send(&ToScheduler::Report(Box::new(node.report(0)))).await?;
            }
            _ = beat.tick() => {
                let stalled = last_beat.elapsed().saturating_sub(every).as_millis() as u64;
                last_beat = Instant::now();
                node.tidy();
                tell_costs(&mut costs, &mut to).await?;
                to.send(&ToScheduler::Report(Box::new(node.report(stalled)))).await?;
            }
            Ok(()) = leaving.changed() => {
                let within = leaving.borrow_and_update().unwrap_or_default();
                node.drain();
                to.send(&ToScheduler::Leaving { within_ms: within.as_millis() as u64 }).await?;
            }
        }
    }
}

/// What was measured here, where the scheduler has not heard it.
async fn tell_costs(costs: &mut OwnCosts, to: &mut Sender<ToScheduler>) -> Result<(), SessionError> {
    match costs.changed() {
        Some(Ok(own)) => {
            tracing::info!(path = %costs.path().display(), %own, "cost rows");
            for toml in own.documents() {
                to.send(&ToScheduler::Rows(Rows { toml })).await?;
            }
        }
        Some(Err(error)) => tracing::warn!(path = %costs.path().display(), error, "cost rows are not used"),
        None => {}
    }
    Ok(())
}

/// Does what the scheduler says, and says later how it went.
fn obey(node: &Arc<Node>, command: Command, answers: &mpsc::UnboundedSender<ToScheduler>) {
    let (node, answers) = (node.clone(), answers.clone());
    tokio::spawn(async move {
        let result = if node.memory.obeys(command.epoch) {
            match command.order {
                Order::Profile(profile) => self::profile(&node, command.id, profile, &answers).await,
                Order::Mode { mode } => {
                    let changed = node.change_mode(mode).await;
                    // Whoever hears that it is done sees the mode, too.
                    drop(answers.send(ToScheduler::Report(Box::new(node.report(0)))));
                    changed
                }
                order => follow(&node, order).await,
            }
        } else {
            let text = format!("{} obeys a scheduler of a later epoch", node.name);
            Err(Failure::new(FailureCode::StaleEpoch, text))
        };
        if let Err(failure) = &result {
            tracing::warn!(%failure, "an order could not be followed");
        }
        // The connection that asked may be gone.
        drop(answers.send(ToScheduler::Done { id: command.id, result }));
    });
}

/// Measures a model, and says how far it is and what it found. A connection that is lost ends it.
async fn profile(
    node: &Arc<Node>,
    id: CommandId,
    order: ProfileModel,
    answers: &mpsc::UnboundedSender<ToScheduler>,
) -> Result<(), Failure> {
    let gone = CancellationToken::new();
    let tell = |said| drop(answers.send(ToScheduler::Profiling { id, said: Box::new(said) }));
    let profiling = node.profile(order, &tell, gone.clone());
    tokio::pin!(profiling);
    let outcome = tokio::select! {
        outcome = &mut profiling => outcome,
        () = answers.closed() => {
            gone.cancel();
            profiling.await
        }
    };
    let rows = OwnRows { rows: outcome?.rows, ..OwnRows::default() };
    for toml in rows.documents() {
        drop(answers.send(ToScheduler::Rows(Rows { toml })));
    }
    Ok(())
}

async fn follow(node: &Arc<Node>, order: Order) -> Result<(), Failure> {
    match order {
        // With what they say meanwhile, above.
        Order::Profile(_) | Order::Mode { .. } => Ok(()),
        Order::EndProfile => {
            node.bench.end_profile();
            Ok(())
        }
        Order::Fetch { blob: BlobDigest::Sha256(model), .. } => node.fetch_model(model).await.map(drop),
        Order::Fetch { blob, .. } => node.fetch(blob).await.map(drop),
        Order::Load { model, point } => {
            let model = match node.model(&model) {
                Some(model) => model,
                None => node.fetch_model(model).await?,
            };
            let threads = node.threads(&point);
            let engine = node.engine(&model);
            node.residents.hold(&model, engine, &node.point_of(&point), threads).await?;
            node.tell();
            Ok(())
        }
        Order::Evict { model } => {
            let evicted = node.residents.evict(&model);
            node.tell();
            let in_use = || Failure::new(FailureCode::Conflict, format!("{model} is in use, or pinned"));
            evicted.then_some(()).ok_or_else(in_use)
        }
        Order::Remove { blob } => {
            if let BlobDigest::Sha256(model) = &blob {
                node.residents.evict(model);
                node.forget_model(model);
            }
            node.blobs.remove(blob).map_err(|error| Failure::new(error.code(), error.to_string()))
        }
        Order::Pin { model, pinned } => {
            node.residents.pin(&model, pinned);
            Ok(())
        }
        Order::Step { model, point } => {
            let threads = dunlin_engine_handle::Threads {
                prefill: point.prefill_threads.into(),
                decode: point.decode_threads.into(),
            };
            node.residents.set_threads(&model, threads);
            Ok(())
        }
        Order::Cordon { cordoned } => {
            node.cordon(cordoned);
            Ok(())
        }
        Order::Drain { .. } => {
            node.cordon(true);
            Ok(())
        }
        Order::Cancel { attempt } => {
            node.held(attempt).iter().for_each(|log| log.cancel.cancel());
            Ok(())
        }
        Order::Forget { attempt } => {
            node.forget(attempt);
            Ok(())
        }
        Order::Report => {
            node.tell();
            Ok(())
        }
    }
}

/// One stream: begins an attempt, or goes on sending what it says.
async fn attempt(node: Arc<Node>, mut to: Sender<FromAttempt>, mut from: Receiver<AttemptOpening>) {
    let Ok(Some(opening)) = from.receive().await else { return };
    let (log, offset) = match open(&node, opening) {
        Ok(opened) => opened,
        Err(failure) => {
            // Nobody to tell, if that fails.
            drop(to.send(&FromAttempt::Refused(failure)).await);
            drop(to.finish().await);
            return;
        }
    };
    if let Err(error) = tell(&node, &log, offset, &mut to, from.then()).await {
        // It runs on, and waits for another stream.
        tracing::debug!(attempt = %log.id, %error, "the stream of an attempt was lost");
    }
}

fn open(node: &Arc<Node>, opening: AttemptOpening) -> Result<(Arc<AttemptLog>, u64), Failure> {
    let (epoch, id) = match &opening {
        AttemptOpening::Invoke(invoke) => (invoke.epoch, invoke.attempt),
        AttemptOpening::Attach { attempt, epoch, .. } => (*epoch, *attempt),
    };
    if !node.memory.obeys(epoch) {
        let text = format!("{} obeys a scheduler of a later epoch", node.name);
        return Err(Failure::new(FailureCode::StaleEpoch, text));
    }
    match opening {
        AttemptOpening::Invoke(invoke) => {
            let offset = invoke.resume.offset;
            let (log, is_new) = node.attempt(id, epoch, offset)?;
            if is_new {
                tokio::spawn(execute(node.clone(), *invoke, log.clone()));
            }
            Ok((log, offset))
        }
        AttemptOpening::Attach { offset, .. } => {
            let unknown =
                || Failure::new(FailureCode::NotFound, format!("{} knows nothing of {id}", node.name));
            Ok((node.held(id).ok_or_else(unknown)?, offset))
        }
    }
}

/// Sends what the log has and what comes, to the end.
async fn tell(
    node: &Node,
    log: &AttemptLog,
    mut offset: u64,
    to: &mut Sender<FromAttempt>,
    mut from: Receiver<ToAttempt>,
) -> Result<(), SessionError> {
    let mut changes = log.watch();
    let (mut told_start, mut has_ended) = (None, false);
    loop {
        changes.mark_unchanged();
        if let Some(loads) = log.has_started().filter(|loads| told_start != Some(*loads)) {
            told_start = Some(loads);
            to.send(&FromAttempt::Started(Started { loads })).await?;
        }
        match log.next(offset) {
            Next::Chunk(chunk) => {
                offset = chunk.offset + chunk.emissions.len() as u64;
                to.send(&FromAttempt::Chunk(chunk)).await?;
                continue;
            }
            Next::End(end) if !has_ended => {
                has_ended = true;
                let last = match end {
                    End::Ended(ended) => FromAttempt::Ended(ended),
                    End::Refused(failure) => FromAttempt::Refused(failure),
                };
                to.send(&last).await?;
                to.finish().await?;
            }
            Next::End(_) | Next::Nothing => {}
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            order = from.receive() => match order? {
                Some(ToAttempt::Again { offset: again }) => offset = again.min(offset),
                Some(ToAttempt::Cancel { epoch }) if node.memory.obeys(epoch) => log.cancel.cancel(),
                Some(ToAttempt::Cancel { .. }) => {}
                Some(ToAttempt::Forget) => {
                    node.forget(log.id);
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }
}
