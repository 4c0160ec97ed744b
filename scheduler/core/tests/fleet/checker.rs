//! What must hold whatever happens: watches every output, from outside.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_scheduler_core::{AttemptId, Incarnation, InvocationId, NodeId, Outcome, Output, Progress};

#[derive(Debug, Default)]
pub(crate) struct Checker {
    invocations: BTreeMap<InvocationId, Watched>,
    /// Nodes that may be given work: they have joined, and were not fenced since.
    members: BTreeMap<NodeId, Incarnation>,
    resting: BTreeSet<NodeId>,
    running: BTreeMap<NodeId, BTreeSet<AttemptId>>,
    pub(crate) ends: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Default)]
struct Watched {
    delivered: u64,
    attempts: u32,
    current: Option<(AttemptId, NodeId)>,
    ended: bool,
}

impl Checker {
    pub(crate) fn submitted(&mut self, id: InvocationId) {
        self.invocations.insert(id, Watched::default());
    }

    pub(crate) fn joined(&mut self, node: NodeId, incarnation: Incarnation) {
        self.members.insert(node, incarnation);
    }

    /// The node takes no new work.
    pub(crate) fn rests(&mut self, node: NodeId) {
        self.resting.insert(node);
    }

    pub(crate) fn works(&mut self, node: NodeId) {
        self.resting.remove(&node);
    }

    /// `from` is the progress that is being answered, `length` the whole of the output where it ended.
    pub(crate) fn watch(
        &mut self,
        output: &Output,
        from: Option<Progress>,
        whole: impl Fn(InvocationId) -> u64,
        slots: usize,
    ) {
        match output {
            Output::Place(place) => {
                let watched = self.invocations.get_mut(&place.attempt.invocation).expect("submitted");
                assert!(!watched.ended, "{}: placed after its end", place.attempt);
                assert_eq!(place.attempt.number, watched.attempts, "attempts are counted");
                assert_eq!(place.resume_at, watched.delivered, "{}: goes on where it was", place.attempt);
                assert!(
                    watched.current.is_none(),
                    "{}: placed while {:?} runs",
                    place.attempt,
                    watched.current
                );
                let member = self.members.get(&place.node);
                assert_eq!(
                    member,
                    Some(&place.incarnation),
                    "{} on a stranger, {}",
                    place.attempt,
                    place.node
                );
                assert!(
                    !self.resting.contains(&place.node),
                    "{} on {}, which rests",
                    place.attempt,
                    place.node
                );
                watched.attempts += 1;
                watched.current = Some((place.attempt, place.node));
                let running = self.running.entry(place.node).or_default();
                running.insert(place.attempt);
                assert!(running.len() <= slots, "{} has more than its slots", place.node);
            }
            Output::Deliver { invocation, offset, skip, length } => {
                let from = from.expect("it came from somewhere");
                assert_eq!(*offset, from.offset + skip, "{invocation}: these pieces and no others");
                assert!(skip + length <= from.length, "{invocation}: no more than came");
                let watched = self.invocations.get_mut(invocation).expect("submitted");
                assert!(!watched.ended, "{invocation}: delivered after its end");
                assert_eq!(*offset, watched.delivered, "{invocation}: nothing lost, nothing twice");
                assert_eq!(
                    watched.current.map(|(attempt, _)| attempt),
                    Some(from.attempt),
                    "only the current attempt counts"
                );
                watched.delivered += length;
            }
            Output::Ended { invocation, outcome, usage, .. } => {
                let watched = self.invocations.get_mut(invocation).expect("submitted");
                assert!(!watched.ended, "{invocation}: ends once");
                watched.ended = true;
                assert_eq!(usage.nodes.len() as u32, watched.attempts);
                if *outcome == Outcome::Done {
                    assert_eq!(watched.delivered, whole(*invocation), "{invocation}: all of it");
                }
                *self.ends.entry(name(outcome)).or_default() += 1;
            }
            // Comes once for each attempt that was placed, when it is over.
            Output::Measured(measured) => {
                let watched = self.invocations.get_mut(&measured.attempt.invocation).expect("submitted");
                let current = watched.current.take();
                assert_eq!(current, Some((measured.attempt, measured.node)), "measured once");
                self.running.entry(measured.node).or_default().remove(&measured.attempt);
            }
            Output::Fence { node, incarnation, .. } if self.members.get(node) == Some(incarnation) => {
                self.members.remove(node);
            }
            Output::Record(decision) => {
                let again = decision.recomputed();
                let lines = |of: &dunlin_scheduler_core::Decision| {
                    let lines = of.candidates.iter();
                    lines.map(|line| (line.node, line.verdict, line.prediction)).collect::<Vec<_>>()
                };
                assert_eq!(lines(decision), lines(&again), "the record says why");
            }
            _ => {}
        }
    }

    pub(crate) fn all_ended(&self) {
        let open: Vec<_> = self.invocations.iter().filter(|(_, watched)| !watched.ended).collect();
        assert!(open.is_empty(), "never ended: {open:?}");
        assert!(self.running.values().all(BTreeSet::is_empty), "still on the books: {:?}", self.running);
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::Expired => "expired",
        Outcome::Refused(_) => "refused",
    }
}
