//! What is done with connections: those of nodes here, the streams of operators and clients in `stream`.

mod stream;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use dunlin_link::{Link, Liveness, PULSE, Receiver, Sender, clock::unix_seconds, welcome};
use dunlin_protocol::{
    Answer, Epoch, Feature, Hello, Inventory, Opening, PROFILE_EXTRAS, PROFILES, Parameter, ToNode,
    ToScheduler, Version, Welcome, limits::MAX_LABELS,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use self::stream::Stream;
use crate::{
    Serve,
    ask::Questions,
    catalog::Labels,
    driver::{ConnectionId, Event, Events},
};

/// Features of this build.
const FEATURES: &[&str] = &["resume", PROFILES, PROFILE_EXTRAS];

/// How long a node has not been heard until it is lost, and how often it reports.
const LEASE: Duration = dunlin_scheduler_core::limits::LEASE;
const REPORT_EVERY: Duration = Duration::from_secs(1);

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
