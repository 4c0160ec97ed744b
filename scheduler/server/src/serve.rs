//! What is done with connections: those of nodes, and the streams of operators and clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use dunlin_link::{Link, Liveness, PULSE, Receiver, SendError, Sender, clock::unix_seconds, welcome};
use dunlin_protocol::{
    Answer, Ask, BlobDigest, Epoch, Failure, FailureCode, Feature, FromInvocation, FromStore, Hello,
    Inventory, InvocationId, Opening, PROFILE_EXTRAS, PROFILES, Parameter, ProfileNode, Profiling, Renewal,
    Role, Submit, ToInvocation, ToNode, ToProfile, ToScheduler, ToStore, Version, Welcome,
    limits::MAX_LABELS,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

use crate::{
    Serve,
    ask::Questions,
    catalog::Labels,
    driver::{ConnectionId, End, Event, Events, Log, Next},
    transfer,
};

/// Features of this build.
const FEATURES: &[&str] = &["resume", PROFILES, PROFILE_EXTRAS];

/// How long a node has not been heard until it is lost, and how often it reports.
const LEASE: Duration = dunlin_scheduler_core::limits::LEASE;
const REPORT_EVERY: Duration = Duration::from_secs(1);

const FOR_OPERATORS: &str =
    "that is for operators: dunlin login with a token made by dunlin token new --role operator";

/// Words of a profile that may wait for whoever asked for it; of more, only the last are told.
const MAX_PROFILING: usize = 1024;

/// Orders that may wait until a node reads them; one that lets more wait is cut.
const MAX_ORDERS: usize = 256;

/// Everything that connections need.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) questions: Arc<Questions>,
    pub(crate) events: Events,
    pub(crate) epoch: Epoch,
    pub(crate) build: String,
    pub(crate) connections: AtomicU64,
}

impl Serve for Members {
    async fn node(&self, link: Link) {
        if let Err(error) = self.serve_node(&link).await {
            tracing::debug!(node = %link.peer().name(), error, "a connection ended");
        }
    }

    async fn operator(&self, link: Link) {
        self.serve_streams(&link).await;
    }

    async fn client(&self, link: Link) {
        self.serve_streams(&link).await;
    }
}

type Ended = Result<(), String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Members {
    async fn hello(
        &self,
        link: &Link,
    ) -> Result<(Sender<dunlin_protocol::HelloReply>, Receiver<Hello>, Vec<Feature>), String> {
        let unix_seconds = unix_seconds();
        let ours = Hello::new(FEATURES, &self.build, unix_seconds);
        let said = Welcome {
            version: Version(0),
            features: Vec::new(),
            build: self.build.clone(),
            epoch: self.epoch,
            unix_seconds,
            lease_ms: LEASE.as_millis() as u64,
            report_every_ms: REPORT_EVERY.as_millis() as u64,
        };
        welcome(link, &ours, said).await.map_err(text)
    }

    /// A node's connection: its control stream, if it reports, and files that it fetches.
    async fn serve_node(&self, link: &Link) -> Ended {
        let (to, from, features) = self.hello(link).await?;
        let connection = ConnectionId(self.connections.fetch_add(1, Relaxed));
        let (mut from, mut to) = (from.then::<ToScheduler>(), to.then::<ToNode>());
        let (orders, mut ordered) = mpsc::channel(MAX_ORDERS);
        let name = link.peer().name().clone();
        let labels = self.labels(link).await;
        let mut liveness = Liveness::new(Duration::ZERO);
        let began = tokio::time::Instant::now();
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut has_joined, mut reports) = (false, true);
        let ended: Ended = loop {
            tokio::select! {
                said = from.receive(), if reports => match said {
                    Ok(Some(ToScheduler::Renew(request))) => {
                        let renewal = self.questions.authority.renew(link.peer(), &request).await;
                        if let Err(error) = to.send(&ToNode::Renewed(renewal)).await {
                            break Err(text(error));
                        }
                    }
                    Ok(Some(ToScheduler::Inventory(mut inventory))) if !has_joined => {
                        has_joined = true;
                        label(&mut inventory, &labels);
                        let joined = Event::NodeJoined {
                            name: name.clone(),
                            connection,
                            link: link.clone(),
                            orders: orders.clone(),
                            features: features.clone(),
                            inventory,
                        };
                        self.tell(joined).await;
                    }
                    Ok(Some(mut message)) => {
                        if let ToScheduler::Inventory(inventory) = &mut message {
                            label(inventory, &labels);
                        }
                        let message = Box::new(message);
                        self.tell(Event::NodeSaid { name: name.clone(), connection, message }).await;
                    }
                    // It came for a file.
                    Ok(None) if !has_joined => reports = false,
                    Ok(None) => break Ok(()),
                    Err(dunlin_link::ReceiveError::Frame(error)) if error.stream_is_intact() => {
                        tracing::warn!(node = %name, %error, "a message that cannot be read");
                    }
                    Err(error) => break Err(text(error)),
                },
                Some(order) = ordered.recv() => {
                    if let Err(error) = to.send(&order).await {
                        break Err(text(error));
                    }
                }
                stream = link.accept::<Opening, Answer>() => match stream {
                    Ok((to, from)) => self.spawn(link, to, from),
                    Err(error) => break Err(text(error)),
                },
                _ = pulse.tick() => {
                    if liveness.observe(began.elapsed(), link.connection()) && has_joined {
                        self.tell(Event::NodeHeard { name: name.clone(), connection }).await;
                    }
                }
            }
        };
        if has_joined {
            drop(self.events.send(Event::NodeGone { name, connection }));
        }
        ended
    }

    /// Those that the token of a node gave it.
    async fn labels(&self, link: &Link) -> Labels {
        let peer = link.peer();
        let labels = self.questions.authority.catalog().labels(peer.role(), peer.name().clone()).await;
        labels.unwrap_or_else(|error| {
            tracing::warn!(node = %peer.name(), %error, "its labels cannot be read");
            Labels::default()
        })
    }

    async fn serve_streams(&self, link: &Link) {
        let _hello = match self.hello(link).await {
            Ok(hello) => hello,
            Err(error) => {
                tracing::debug!(peer = %link.peer().identity, error, "no hello");
                return;
            }
        };
        while let Ok((to, from)) = link.accept::<Opening, Answer>().await {
            self.spawn(link, to, from);
        }
    }

    fn spawn(&self, link: &Link, to: Sender<Answer>, from: Receiver<Opening>) {
        let stream =
            Stream { questions: self.questions.clone(), events: self.events.clone(), link: link.clone() };
        tokio::spawn(async move {
            if let Err(error) = stream.serve(to, from).await {
                tracing::debug!(peer = %stream.link.peer().identity, error, "a stream broke off");
            }
        });
    }

    async fn tell(&self, event: Event) {
        // The driver ends with the process.
        drop(self.events.tell(event).await);
    }
}

/// What an operator wrote into a token stands before what the node says of itself.
fn label(inventory: &mut Inventory, labels: &Labels) {
    inventory.labels.retain(|own| !labels.contains_key(&own.name));
    let given = labels.iter().map(|(name, value)| Parameter { name: name.clone(), value: value.clone() });
    inventory.labels.splice(0..0, given.take(MAX_LABELS));
    inventory.labels.truncate(MAX_LABELS);
}

/// One stream of a member.
struct Stream {
    questions: Arc<Questions>,
    events: Events,
    link: Link,
}

impl Stream {
    async fn serve(&self, mut to: Sender<Answer>, mut from: Receiver<Opening>) -> Ended {
        let Some(opening) = from.receive().await.map_err(text)? else { return Ok(()) };
        match opening {
            Opening::Ask(ask) => {
                let answer = self.ask(*ask).await;
                to.send(&answer).await.map_err(text)?;
                to.finish().await.map_err(text)
            }
            Opening::Submit(submit) => self.submit(*submit, to.then(), from.then()).await,
            Opening::Follow { invocation, offset } => {
                self.follow(invocation, offset, to.then(), from.then()).await
            }
            Opening::Store(first) => {
                let may_put = self.role() == Role::Operator;
                let blobs = &self.questions.blobs;
                transfer::serve(blobs, may_put, first, to.then::<FromStore>(), from.then::<ToStore>()).await
            }
            Opening::Profile(ask) => self.profile(ask, to.then(), from.then()).await,
            Opening::Renew(request) => {
                let renewal = self.questions.authority.renew(self.link.peer(), &request).await;
                let mut to = to.then::<Renewal>();
                to.send(&renewal).await.map_err(text)?;
                to.finish().await.map_err(text)
            }
        }
    }

    fn role(&self) -> Role {
        self.link.peer().role()
    }

    /// Whose invocations it may see: operators see all.
    fn tenant(&self) -> Option<String> {
        (self.role() != Role::Operator).then(|| self.link.peer().name().to_string())
    }

    async fn ask(&self, ask: Ask) -> Answer {
        if self.role() == Role::Node {
            return Answer::Failed(Failure::new(FailureCode::Forbidden, "a node asks nothing"));
        }
        if self.role() == Role::Client && changes_the_fleet(&ask) {
            return Answer::Failed(Failure::new(FailureCode::Forbidden, FOR_OPERATORS));
        }
        self.questions.answer(ask, self.tenant()).await
    }

    async fn submit(
        &self,
        submit: Submit,
        mut to: Sender<FromInvocation>,
        from: Receiver<ToInvocation>,
    ) -> Ended {
        if self.role() == Role::Node {
            let failure = Failure::new(FailureCode::Forbidden, "a node invokes nothing");
            to.send(&FromInvocation::Refused(failure)).await.map_err(text)?;
            return to.finish().await.map_err(text);
        }
        let tenant = self.link.peer().name().to_string();
        // Who has a key can come back.
        let stays = submit.idempotency_key.is_some();
        let (reply, accepted) = oneshot::channel();
        drop(self.events.tell(Event::Submit { submit: Box::new(submit), tenant, reply }).await);
        match accepted.await.map_err(text)? {
            Ok(log) => {
                let accepted = FromInvocation::Accepted { invocation: log.id };
                to.send(&accepted).await.map_err(text)?;
                self.tell(&log, 0, stays, to, from).await
            }
            Err(failure) => {
                to.send(&FromInvocation::Refused(failure)).await.map_err(text)?;
                to.finish().await.map_err(text)
            }
        }
    }

    /// Tells how a profile goes. It is stopped when nobody listens any more.
    async fn profile(&self, ask: ProfileNode, mut to: Sender<Profiling>, from: Receiver<ToProfile>) -> Ended {
        if self.role() != Role::Operator {
            let failure = Failure::new(FailureCode::Forbidden, FOR_OPERATORS);
            to.send(&Profiling::Failed(failure)).await.map_err(text)?;
            return to.finish().await.map_err(text);
        }
        let node = ask.node.clone();
        let files: Vec<BlobDigest> = ask.how.files().map(|file| file.blob).collect();
        self.questions.judged.hold(&files);
        let (reply, told) = mpsc::channel(MAX_PROFILING);
        // The driver holds the only other one: `told` ends with it.
        let mine = reply.downgrade();
        drop(self.events.tell(Event::Profile { ask, reply }).await);
        let stop = || {
            if let Some(reply) = mine.upgrade() {
                drop(self.events.send(Event::EndProfile { node: node.clone(), reply }));
            }
        };
        let ended = self.tell_profile(told, &mut to, from, &stop).await;
        if ended.is_err() {
            stop();
        }
        self.questions.let_go(&files).await;
        ended.map_err(text)
    }

    async fn tell_profile(
        &self,
        mut told: mpsc::Receiver<Profiling>,
        to: &mut Sender<Profiling>,
        mut from: Receiver<ToProfile>,
        stop: &impl Fn(),
    ) -> Result<(), SendError> {
        let mut listens = true;
        loop {
            tokio::select! {
                said = told.recv() => match said {
                    Some(said) => to.send(&said).await?,
                    None => return to.finish().await,
                },
                asked = from.receive(), if listens => match asked {
                    Ok(Some(ToProfile::Stop)) => stop(),
                    Ok(None) => listens = false,
                    Err(_) => return Err(SendError::Finished),
                },
                lost = self.link.closed() => return Err(lost.into()),
            }
        }
    }

    async fn follow(
        &self,
        invocation: InvocationId,
        offset: u64,
        mut to: Sender<FromInvocation>,
        from: Receiver<ToInvocation>,
    ) -> Ended {
        let (reply, found) = oneshot::channel();
        drop(self.events.tell(Event::Follow { invocation, tenant: self.tenant(), reply }).await);
        match found.await.map_err(text)? {
            Some(log) => self.tell(&log, offset, true, to, from).await,
            None => {
                let text_of = format!("no invocation {invocation} is known");
                let failure = Failure::new(FailureCode::NotFound, text_of);
                to.send(&FromInvocation::Refused(failure)).await.map_err(text)?;
                to.finish().await.map_err(text)
            }
        }
    }

    /// Tells all that an invocation says, from an emission on. It is cancelled when nobody listens any more, unless it
    /// `stays`.
    async fn tell(
        &self,
        log: &Arc<Log>,
        mut offset: u64,
        stays: bool,
        mut to: Sender<FromInvocation>,
        mut from: Receiver<ToInvocation>,
    ) -> Ended {
        let told = self.tell_all(log, &mut offset, &mut to, &mut from).await;
        if told.is_err() && !stays && !log.has_ended() {
            drop(self.events.send(Event::Cancel(log.id)));
        }
        told.map_err(text)
    }

    async fn tell_all(
        &self,
        log: &Arc<Log>,
        offset: &mut u64,
        to: &mut Sender<FromInvocation>,
        from: &mut Receiver<ToInvocation>,
    ) -> Result<(), SendError> {
        let (mut changes, mut placed, mut listens) = (log.watch(), 0, true);
        loop {
            changes.mark_unchanged();
            let message = match log.next(placed, *offset) {
                Next::Placed(where_to) => {
                    placed += 1;
                    FromInvocation::Placed(where_to)
                }
                Next::Chunk(chunk) => {
                    *offset = chunk.offset + chunk.emissions.len() as u64;
                    FromInvocation::Chunk(chunk)
                }
                Next::End(end) => {
                    let last = match end {
                        End::Ended(ended) => FromInvocation::Ended(ended),
                        End::Refused(failure) => FromInvocation::Refused(failure),
                    };
                    to.send(&last).await?;
                    return to.finish().await;
                }
                Next::Nothing => {
                    tokio::select! {
                        Ok(()) = changes.changed() => {}
                        said = from.receive(), if listens => match said {
                            Ok(Some(ToInvocation::Cancel)) => {
                                drop(self.events.send(Event::Cancel(log.id)));
                            }
                            // It said all that it has to say, and listens.
                            Ok(None) => listens = false,
                            Err(_) => return Err(SendError::Finished),
                        },
                        // A client that is gone has no use for an answer.
                        lost = self.link.closed() => return Err(lost.into()),
                    }
                    continue;
                }
            };
            to.send(&message).await?;
        }
    }
}

/// What only operators may.
fn changes_the_fleet(ask: &Ask) -> bool {
    !matches!(
        ask,
        Ask::Fleet
            | Ask::Nodes { .. }
            | Ask::Models { .. }
            | Ask::Pipelines { .. }
            | Ask::Invocations { .. }
            | Ask::Explain { .. }
            | Ask::Cancel { .. }
            | Ask::Policies { .. }
            | Ask::ShowPolicy { .. }
            | Ask::CheckPolicy { .. }
    )
}
