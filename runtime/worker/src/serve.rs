//! The loop of a worker.

use std::collections::HashMap;

use dunlin_engine_handle::{PULSE_INTERVAL, frame::Codec};
use dunlin_host::Host;
use dunlin_worker_handle::{BOARD_INTERVAL, CallId, Confinement, FromWorker, Measure, ToWorker};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::UnixStream,
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{
    codec::{FramedRead, FramedWrite},
    sync::CancellationToken,
};

use crate::{attempt::Attempt, measure::Findings, models::Models, pipelines::Pipelines};

/// Serves until the agent closes the socket.
pub(crate) async fn serve(socket: UnixStream, host: Host, confinement: Confinement) {
    let (reader, writer) = socket.into_split();
    let mut inbox = FramedRead::new(reader, Codec::<ToWorker, FromWorker>::default());
    let (out, outbox) = mpsc::unbounded_channel();
    drop(out.send(FromWorker::Confined(confinement)));
    let writing = tokio::spawn(write(FramedWrite::new(writer, Codec::default()), outbox));
    let mut worker = Serving {
        models: Models::new(out.clone()),
        host,
        pipelines: Pipelines::default(),
        running: HashMap::new(),
        attempts: JoinSet::new(),
        out,
    };
    let mut pulse = interval(PULSE_INTERVAL);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut board = interval(BOARD_INTERVAL);
    board.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = inbox.next() => match message {
                Some(Ok(message)) => worker.on_message(message),
                Some(Err(error)) => {
                    tracing::error!(%error, "the agent is not understood");
                    return;
                }
                None => return,
            },
            Some(ended) = worker.attempts.join_next() => {
                // A task that panicked has told its end already, by dropping what it held.
                if let Ok(call) = ended {
                    worker.running.remove(&call);
                }
            }
            _ = pulse.tick() => {
                drop(worker.out.send(FromWorker::Pulse));
                worker.models.tell_vitals();
            }
            _ = board.tick() => worker.models.tell_board(),
        }
        if writing.is_finished() {
            return;
        }
    }
}

struct Serving {
    models: Models,
    host: Host,
    pipelines: Pipelines,
    running: HashMap<CallId, CancellationToken>,
    attempts: JoinSet<CallId>,
    out: mpsc::UnboundedSender<FromWorker>,
}

impl Serving {
    fn on_message(&mut self, message: ToWorker) {
        match message {
            ToWorker::Open { model, open } => self.models.open(model, &open),
            ToWorker::Threads { model, threads } => self.models.set_threads(&model, threads),
            ToWorker::Close(model) => self.models.close(&model),
            ToWorker::Board(state) => self.models.set_board(&state),
            ToWorker::Invoke { call, invoke } => {
                let cancel = CancellationToken::new();
                self.running.insert(call, cancel.clone());
                let attempt = Attempt::new(call, self.out.clone(), self.models.meter());
                let engines = invoke.models.iter().map(|bound| self.models.engine(&bound.model)).collect();
                let (host, pipelines) = (self.host.clone(), self.pipelines.clone());
                self.attempts.spawn(async move {
                    attempt.run(&host, &pipelines, *invoke, engines, cancel).await;
                    call
                });
            }
            ToWorker::Measure { call, measure } => {
                let stop = CancellationToken::new();
                self.running.insert(call, stop.clone());
                match *measure {
                    Measure::Probe(probe) => {
                        let engine = self.models.engine(&probe.model);
                        let findings = Findings::new(call, self.out.clone(), self.models.meter());
                        self.attempts.spawn(async move {
                            findings.probe(engine, probe, stop).await;
                            call
                        });
                    }
                    Measure::Profile(profile) => {
                        let start = self.models.starter(&profile.model, &profile.open);
                        let findings = Findings::new(call, self.out.clone(), self.models.meter());
                        self.attempts.spawn(async move {
                            findings.profile(start, *profile, stop).await;
                            call
                        });
                    }
                }
            }
            ToWorker::Cancel(call) => {
                if let Some(cancel) = self.running.get(&call) {
                    cancel.cancel();
                }
            }
        }
    }
}

async fn write(
    mut writer: FramedWrite<tokio::net::unix::OwnedWriteHalf, Codec<ToWorker, FromWorker>>,
    mut outbox: mpsc::UnboundedReceiver<FromWorker>,
) {
    while let Some(message) = outbox.recv().await {
        if writer.feed(message).await.is_err() {
            return;
        }
        // What is there already goes in one write.
        if outbox.is_empty() && writer.flush().await.is_err() {
            return;
        }
    }
}
