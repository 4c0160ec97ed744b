//! Attempts: a stream each, and what comes of it.

use dunlin_link::{Link, Receiver, Sender};
use dunlin_protocol::{
    AttemptId, AttemptOpening, Binding, Chunk, Emission, Ended, Epoch, Failure, FailureCode, FromAttempt,
    Invoke, Outcome, PipelineRef, ToAttempt, TraceContext,
};
use dunlin_scheduler_core::{self as core, AttemptEnd, Input, NodeEvent, Place, Progress};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Duration, Instant, timeout},
};

use super::{ConnectionId, Driver, End, Event, Events, convert, placed, records::MAX_SAID};

/// How long a node that was told to forget may take to hear it.
const FAREWELL: Duration = Duration::from_secs(5);

/// Orders to one attempt that may wait for their turn on its stream.
const MAX_ORDERS: usize = 32;

/// What the stream of an attempt can be told.
#[derive(Debug)]
pub(super) struct Stream(Option<mpsc::Sender<ToAttempt>>);

impl Stream {
    pub(super) fn cancel(&mut self, epoch: Epoch) {
        self.tell(ToAttempt::Cancel { epoch });
    }

    pub(super) fn again(&mut self, offset: u64) {
        self.tell(ToAttempt::Again { offset });
    }

    fn forget(&mut self) {
        self.tell(ToAttempt::Forget);
    }

    /// A node that leaves so much unread is not heard any more; that the stream is lost then comes as an event.
    fn tell(&mut self, message: ToAttempt) {
        let sent = self.0.as_ref().map(|orders| orders.try_send(message));
        if let Some(Err(TrySendError::Full(_))) = sent {
            self.0 = None;
        }
    }
}

impl Driver {
    pub(super) fn on_place(&mut self, place: &Place) {
        let attempt = convert::attempt_of(place.attempt);
        let Some(name) = self.names.name(place.node).cloned() else { return };
        let Some(node) = self.nodes.get(&name) else { return };
        let (link, connection) = (node.link.clone(), node.connection);
        let Some(record) = self.records.get_mut(&attempt.invocation) else { return };
        let submit = &record.submit;
        let pipeline = match self.catalog.pipelines.get(&submit.pipeline) {
            Some(component) => PipelineRef::Component(*component),
            None => PipelineRef::Builtin(submit.pipeline.clone()),
        };
        let limit_ms = submit.limits.time_ms.or(submit.targets.deadline_ms);
        let left = |ms: u64| ms.saturating_sub(record.submitted.elapsed().as_millis() as u64).max(1);
        let invoke = Invoke {
            attempt,
            epoch: self.epoch,
            pipeline,
            request: submit.request.clone(),
            tenant: record.tenant.clone(),
            models: vec![Binding {
                alias: record.alias.clone(),
                model: convert::digest_of(place.model),
                point: convert::point_of(&place.point),
            }],
            grants: submit.grants.clone(),
            limits: submit.limits,
            seed: record.seed,
            deadline_ms: limit_ms.map(left),
            prefixes: Vec::new(),
            resume: record.log.resume(),
            trace: submit.trace,
        };
        let TraceContext { trace, span, .. } = TraceContext::of(attempt, submit.trace);
        tracing::debug!(%attempt, node = %name, resume = invoke.resume.offset, trace_id = %trace, span_id = %span, "placed");
        record.log.place(placed(attempt, name, place));
        let opening = AttemptOpening::Invoke(Box::new(invoke));
        record.stream = Some((attempt, open(attempt, connection, link, opening, self.events.clone())));
    }

    /// Goes on listening to an attempt whose node has come back.
    pub(super) fn attach(&mut self, attempt: AttemptId, connection: ConnectionId, link: Link) {
        let Some(record) = self.records.get_mut(&attempt.invocation) else { return };
        if record.stream.as_ref().is_none_or(|(current, _)| *current != attempt) {
            return;
        }
        let opening = AttemptOpening::Attach { attempt, epoch: self.epoch, offset: record.log.offset() };
        record.stream = Some((attempt, open(attempt, connection, link, opening, self.events.clone())));
    }

    pub(super) fn on_attempt(&mut self, attempt: AttemptId, said: FromAttempt) {
        match said {
            FromAttempt::Started(started) => {
                if !started.loads {
                    self.node_event(attempt, NodeEvent::AttemptStarted(convert::attempt(attempt)));
                }
            }
            FromAttempt::Chunk(chunk) => self.on_chunk(attempt, chunk),
            FromAttempt::Ended(ended) => self.on_attempt_ended(attempt, *ended),
            FromAttempt::Refused(failure) => {
                let end = AttemptEnd {
                    next_offset: self
                        .records
                        .get(&attempt.invocation)
                        .map_or(0, |record| record.log.offset()),
                    metered: core::Metered::default(),
                    failure: Some(convert::failed(failure.code)),
                };
                if let Some(record) = self.records.get_mut(&attempt.invocation) {
                    record.last_failure = Some(failure);
                }
                self.end_attempt(attempt, end);
            }
        }
    }

    fn on_chunk(&mut self, attempt: AttemptId, chunk: Chunk) {
        let drawn = |emission: &Emission| match emission {
            Emission::Tokens { tokens, .. } => tokens.0.len() as u32,
            _ => 0,
        };
        let progress = Progress {
            attempt: convert::attempt(attempt),
            epoch: core::Epoch(self.epoch.0),
            offset: chunk.offset,
            length: chunk.emissions.len() as u64,
            tokens: chunk.emissions.iter().map(drawn).sum(),
        };
        self.pending = chunk.emissions;
        self.node_event(attempt, NodeEvent::AttemptProgress(progress));
        // What nobody was told to deliver is of an attempt that does not count.
        self.pending.clear();
    }

    fn on_attempt_ended(&mut self, attempt: AttemptId, ended: Ended) {
        let end = convert::ended(&ended);
        if let Some(record) = self.records.get_mut(&attempt.invocation) {
            if let Outcome::Failed(failure) = &ended.outcome {
                record.last_failure = Some(failure.clone());
            }
            let bytes = record.submit.request.body.len();
            if matches!(ended.outcome, Outcome::Done { .. }) && attempt.number == 0 {
                let read = ended.usage.prompt_tokens + ended.usage.cached_tokens;
                self.expectations.learn(&record.submit.pipeline, bytes, read, ended.usage.output_tokens);
            }
            record.ended.insert(attempt.number, (ended, Instant::now()));
        }
        self.end_attempt(attempt, end);
    }

    fn end_attempt(&mut self, attempt: AttemptId, ended: AttemptEnd) {
        let epoch = core::Epoch(self.epoch.0);
        let id = convert::attempt(attempt);
        self.node_event(attempt, NodeEvent::AttemptEnded { attempt: id, epoch, ended });
        if let Some(stream) = self.stream(attempt) {
            stream.forget();
        }
    }

    /// The stream is gone, but not the connection: something is wrong with the attempt.
    pub(super) fn on_stream_lost(&mut self, attempt: AttemptId, connection: ConnectionId) {
        let Some(name) = self.node_of(attempt) else { return };
        let is_gone = self.nodes.get(&name).is_none_or(|node| {
            node.connection != connection || node.link.connection().close_reason().is_some()
        });
        if is_gone {
            return;
        }
        let failure = Failure::new(FailureCode::Internal, format!("{name} broke off"));
        self.on_attempt(attempt, FromAttempt::Refused(failure));
    }

    /// Tells the core what the node of an attempt said.
    fn node_event(&mut self, attempt: AttemptId, event: NodeEvent) {
        let Some(name) = self.node_of(attempt) else { return };
        let (Some(node), Some(of)) = (self.names.known(&name), self.nodes.get(&name)) else { return };
        let incarnation = core::Incarnation(of.inventory.incarnation.0);
        self.handle(Input::Node { node, incarnation, event });
    }

    /// Where an attempt was placed.
    fn node_of(&self, attempt: AttemptId) -> Option<dunlin_protocol::NodeId> {
        let record = self.records.get(&attempt.invocation)?;
        record.log.node_of(attempt)
    }

    pub(super) fn on_ended(
        &mut self,
        invocation: dunlin_protocol::InvocationId,
        outcome: core::Outcome,
        usage: &core::Usage,
    ) {
        let now = self.now();
        let Some(record) = self.records.get_mut(&invocation) else { return };
        let offset = record.log.offset();
        let last = record.ended.values().next_back().map(|(ended, _)| ended);
        let node = record.log.last_node().unwrap_or_else(|| self.scheduler.clone());
        let is_emulated = self.nodes.get(&node).is_some_and(|node| node.inventory.emulated);
        let mut told = last.map_or_else(|| dunlin_protocol::Usage::of(node), |ended| ended.usage.clone());
        // Of all attempts, from the submission on.
        told.queue_us += usage.queued.as_micros() as u64;
        told.ttft_us = usage.ttft.map_or(told.ttft_us, |ttft| ttft.as_micros() as u64);
        told.total_us = usage.total.as_micros() as u64;
        told.emulated |= usage.emulated || is_emulated;
        let log = last.map(|ended| ended.log.clone()).unwrap_or_default();
        let end = match outcome {
            core::Outcome::Refused(refusal) => End::Refused(convert::refusal(&refusal)),
            outcome => {
                let outcome = match outcome {
                    core::Outcome::Done => {
                        let content_type = last.and_then(|ended| match &ended.outcome {
                            Outcome::Done { content_type } => Some(content_type.clone()),
                            _ => None,
                        });
                        Outcome::Done { content_type: content_type.unwrap_or_default() }
                    }
                    core::Outcome::Cancelled if record.overflows => {
                        let text = format!("it said more than {} MB, which is the limit", MAX_SAID >> 20);
                        Outcome::Failed(Failure::new(FailureCode::Exhausted, text))
                    }
                    core::Outcome::Cancelled => Outcome::Cancelled,
                    core::Outcome::Expired => Outcome::Expired,
                    core::Outcome::Failed(fault) => {
                        Outcome::Failed(convert::fault(&fault, record.last_failure.take()))
                    }
                    core::Outcome::Refused(refusal) => Outcome::Failed(convert::refusal(&refusal)),
                };
                End::Ended(Box::new(Ended { offset, outcome, usage: told, log }))
            }
        };
        record.log.end(end);
        if let (Some((ended, _)), Some((decision, _))) =
            (record.ended.values().next_back(), record.decisions.last())
        {
            self.planning.note(ended, decision, now);
        }
        self.records.ended(invocation, Instant::now());
        self.tell_finished(invocation);
        self.tell_trace(invocation);
    }
}

/// Opens the stream of an attempt; all that comes on it becomes events.
fn open(
    attempt: AttemptId,
    connection: ConnectionId,
    link: Link,
    opening: AttemptOpening,
    events: Events,
) -> Stream {
    let (tell, orders) = mpsc::channel(MAX_ORDERS);
    tokio::spawn(async move {
        let has_ended = match link.open::<AttemptOpening, FromAttempt>().await {
            Ok((to, from)) => listen(attempt, opening, to, from, orders, &events).await,
            Err(_) => false,
        };
        if !has_ended {
            drop(events.send(Event::AttemptLost { attempt, connection }));
        }
    });
    Stream(Some(tell))
}

/// True where the attempt came to its end.
async fn listen(
    attempt: AttemptId,
    opening: AttemptOpening,
    mut to: Sender<AttemptOpening>,
    mut from: Receiver<FromAttempt>,
    mut orders: mpsc::Receiver<ToAttempt>,
    events: &Events,
) -> bool {
    if to.send(&opening).await.is_err() {
        return false;
    }
    let mut to = to.then::<ToAttempt>();
    let mut has_ended = false;
    loop {
        tokio::select! {
            said = from.receive(), if !has_ended => {
                let Ok(Some(said)) = said else { return false };
                has_ended = matches!(said, FromAttempt::Ended(_) | FromAttempt::Refused(_));
                if events.tell(Event::Attempt { attempt, said: Box::new(said) }).await.is_err() {
                    return has_ended;
                }
            }
            order = orders.recv() => {
                let Some(order) = order else { return has_ended };
                let is_last = order == ToAttempt::Forget;
                if to.send(&order).await.is_err() {
                    return has_ended;
                }
                if is_last {
                    // It is forgotten after a minute in any case.
                    drop(to.finish().await);
                    drop(timeout(FAREWELL, to.delivered()).await);
                    return true;
                }
            }
        }
    }
}
