//! The scheduler for whoever is in its process: questions, invocations, and what changes. HTTP is made of it.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use dunlin_blobs::BlobHasher;
use dunlin_protocol::{
    Answer, Ask, BlobDigest, ComponentDigest, Failure, FailureCode, FleetId, FromInvocation, InvocationId,
    Submit,
};
use dunlin_traces::Exporter;
use tokio::sync::{oneshot, watch};

use crate::{
    ask::Questions,
    catalog::KeyRecord,
    driver::{
        End, Event, Log, Next,
        look::{Invocation, Look, Observe, Which},
    },
};

/// A handle of the scheduler; clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Front {
    questions: Arc<Questions>,
    changes: watch::Receiver<u64>,
    traces: Option<Exporter>,
}

/// What an invocation says, from its beginning or from some emission on.
#[derive(Debug)]
pub struct Following {
    log: Arc<Log>,
    changes: watch::Receiver<u64>,
    placed: usize,
    offset: u64,
}

impl Front {
    pub(crate) fn new(
        questions: Arc<Questions>,
        changes: watch::Receiver<u64>,
        traces: Option<Exporter>,
    ) -> Self {
        Self { questions, changes, traces }
    }

    /// Who is told of spans, if anybody is.
    pub fn traces(&self) -> Option<&Exporter> {
        self.traces.as_ref()
    }

    pub fn fleet(&self) -> &FleetId {
        &self.questions.authority.trust().fleet
    }

    /// `tenant`: whose invocations may be seen; `None`: all.
    pub async fn ask(&self, ask: Ask, tenant: Option<String>) -> Answer {
        self.questions.answer(ask, tenant).await
    }

    /// Begins an invocation.
    ///
    /// # Errors
    /// If it is refused before it is queued. One that is refused later says so when it is followed.
    pub async fn submit(&self, submit: Submit, tenant: String) -> Result<Following, Failure> {
        let (reply, accepted) = oneshot::channel();
        self.tell(Event::Submit { submit: Box::new(submit), tenant, reply }).await;
        accepted.await.map_err(|_| going_down())?.map(|log| Following::new(log, 0))
    }

    /// One that there is; `None`: it is not known, or is another tenant's.
    pub async fn follow(
        &self,
        invocation: InvocationId,
        tenant: Option<String>,
        offset: u64,
    ) -> Option<Following> {
        let (reply, found) = oneshot::channel();
        self.tell(Event::Follow { invocation, tenant, reply }).await;
        found.await.ok().flatten().map(|log| Following::new(log, offset))
    }

    /// Keeps the bytes of a component and gives them a name, as `dunlin deploy` does.
    ///
    /// # Errors
    /// Of the disk, and of the catalog.
    pub async fn deploy(&self, name: String, bytes: Vec<u8>) -> Result<ComponentDigest, Failure> {
        let blobs = self.questions.blobs.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let mut hasher = BlobHasher::like(BlobDigest::Blake3(ComponentDigest([0; 32])));
            hasher.update(&bytes);
            let blob = hasher.finish();
            blobs.put(blob, &bytes).map(|_| blob)
        });
        let kept = kept.await.map_err(|_| going_down())?;
        let blob = kept.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let BlobDigest::Blake3(component) = blob else { return Err(going_down()) };
        match self.ask(Ask::Deploy { name, component }, None).await {
            Answer::Failed(failure) => Err(failure),
            _ => Ok(component),
        }
    }

    pub fn cancel(&self, invocation: InvocationId) {
        // Once of each invocation, and by whoever is being dropped.
        drop(self.questions.events.send(Event::Cancel(invocation)));
    }

    /// The fleet as it is now.
    ///
    /// # Errors
    /// If the scheduler is going down.
    pub async fn look(&self) -> Result<Look, Failure> {
        let (reply, seen) = oneshot::channel();
        self.tell(Event::Look(reply)).await;
        seen.await.map_err(|_| going_down())
    }

    /// Invocations, the newest first.
    ///
    /// # Errors
    /// If the scheduler is going down.
    pub async fn invocations(&self, of: Which) -> Result<Vec<Invocation>, Failure> {
        let (reply, seen) = oneshot::channel();
        self.tell(Event::Invocations { of, reply }).await;
        seen.await.map_err(|_| going_down())
    }

    /// Counts what may be seen differently by [`Self::look`] and [`Self::invocations`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Keys of the HTTP API, as they are now and as they change.
    pub fn keys(&self) -> watch::Receiver<Arc<Vec<KeyRecord>>> {
        self.questions.keys.subscribe()
    }

    /// Other machines can send keys here, and nothing encrypts them: whoever makes a key is told.
    pub fn hears_keys_unencrypted(&self) {
        self.questions.unencrypted.store(true, Relaxed);
    }

    /// Takes the place of the observer before.
    pub fn observe(&self, observer: Arc<dyn Observe>) {
        drop(self.questions.events.send(Event::Observe(observer)));
    }

    /// Waits while the driver has too much to do.
    async fn tell(&self, event: Event) {
        // Whoever waits for an answer learns of it by the sender that is dropped.
        drop(self.questions.events.tell(event).await);
    }
}

impl Following {
    fn new(log: Arc<Log>, offset: u64) -> Self {
        let changes = log.watch();
        Self { log, changes, placed: 0, offset }
    }

    pub fn invocation(&self) -> InvocationId {
        self.log.id
    }

    pub fn has_ended(&self) -> bool {
        self.log.has_ended()
    }

    /// The next thing that it says; after `Ended` or `Refused` the same again. Safe to drop and to call anew.
    pub async fn next(&mut self) -> FromInvocation {
        loop {
            self.changes.mark_unchanged();
            match self.log.next(self.placed, self.offset) {
                Next::Placed(placed) => {
                    self.placed += 1;
                    return FromInvocation::Placed(placed);
                }
                Next::Chunk(chunk) => {
                    self.offset = chunk.offset + chunk.emissions.len() as u64;
                    return FromInvocation::Chunk(chunk);
                }
                Next::End(End::Ended(ended)) => return FromInvocation::Ended(ended),
                Next::End(End::Refused(failure)) => return FromInvocation::Refused(failure),
                Next::Nothing => {
                    // The log is held here, and so is the other end.
                    drop(self.changes.changed().await);
                }
            }
        }
    }
}

fn going_down() -> Failure {
    Failure::new(FailureCode::Unavailable, "the scheduler is going down").retry_after_ms(2000)
}
