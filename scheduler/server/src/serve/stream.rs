//! Streams of operators and clients: each asks, submits, follows, or carries files and profiles.

use std::sync::Arc;

use dunlin_link::{Link, Receiver, SendError, Sender};
use dunlin_protocol::{
    Answer, Ask, BlobDigest, Failure, FailureCode, FromInvocation, FromStore, InvocationId, Opening,
    ProfileNode, Profiling, Renewal, Role, Submit, ToInvocation, ToProfile, ToStore,
};
use tokio::sync::{mpsc, oneshot};

use super::{Ended, text};
use crate::{
    ask::Questions,
    driver::{End, Event, Events, Log, Next},
    transfer,
};

const FOR_OPERATORS: &str =
    "that is for operators: dunlin login with a token made by dunlin token new --role operator";

/// Words of a profile that may wait for whoever asked for it; of more, only the last are told.
const MAX_PROFILING: usize = 1024;

/// One stream of a member.
pub(super) struct Stream {
    pub(super) questions: Arc<Questions>,
    pub(super) events: Events,
    pub(super) link: Link,
}

impl Stream {
    pub(super) async fn serve(&self, mut to: Sender<Answer>, mut from: Receiver<Opening>) -> Ended {
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
