//! Bytes that earlier builds wrote, before a message got one more field: they are read, with that field's default.

use std::fs;

use dunlin_protocol::{Answer, Decoder, Message};

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
