//! Bytes that earlier builds wrote, before a message got one more field: they are read, with that field's default.

use std::fs;

use dunlin_protocol::{Answer, Decoder, Message, NodePlan, Page, Parked};

use crate::{from_hex, golden, samples};

fn read<M: Message>(file: &str) -> M {
    let text = fs::read_to_string(golden().join("older").join(file)).unwrap();
    Decoder::default().next(&mut &from_hex(&text)[..]).unwrap().expect("a whole frame")
}

#[test]
fn a_candidate_once_did_not_say_what_its_row_rests_on() {
    let mut expected = samples::explanation();
    for candidate in expected.decisions.iter_mut().flat_map(|decision| &mut decision.candidates) {
        candidate.origin = Default::default();
    }
    assert_eq!(read::<Answer>("answer.Explanation.1.hex"), Answer::Explanation(Box::new(expected)));
}

#[test]
fn a_plan_once_did_not_say_since_when_and_until_when() {
    let mut expected = samples::planned_node();
    let plan = expected.plan.as_deref_mut().unwrap();
    let NodePlan { wished_unix_seconds, due_unix_seconds, saves, changes_to, barred_unix_seconds, .. } = plan;
    (*wished_unix_seconds, *due_unix_seconds, *barred_unix_seconds) = (None, None, None);
    (*saves, *changes_to) = (None, None);
    plan.parked = plan.parked.map(|parked| Parked { stage: Default::default(), ..parked });
    let expected = Answer::Nodes(Page { items: vec![expected], more: false });
    assert_eq!(read::<Answer>("answer.Nodes.Plan.1.hex"), expected);
}
