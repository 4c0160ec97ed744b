//! Messages of the wire: frames cut anywhere, with lengths, types and depths that lie.
#![no_main]

use dunlin_protocol::{
    AttemptOpening, Decoder, FromAttempt, FromInvocation, FromStore, Hello, JoinRequest, Message, Opening,
    ToAttempt, ToNode, ToScheduler, ToStore, frame,
};
use libfuzzer_sys::fuzz_target;

/// All that there is, in pieces of this size; what was understood is understood again after it was written.
fn read<M: Message>(bytes: &[u8], piece: usize) {
    let mut decoder = Decoder::default();
    for mut input in bytes.chunks(piece.max(1)) {
        loop {
            match decoder.next::<M>(&mut input) {
                Ok(Some(message)) => {
                    let again = frame::encoded(&message).expect("what was read can be written");
                    assert!(Decoder::default().next::<M>(&mut &again[..]).is_ok_and(|read| read.is_some()));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// The golden bytes of all messages, as if each kind were all of them.
fn begin() {
    for (name, hex) in dunlin_fuzz::files("protocol/tests/golden/v1") {
        let digits: Vec<u8> = hex.into_iter().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let frame: Vec<u8> = digits.chunks(2).filter_map(byte).collect();
        for kind in 0..KINDS {
            dunlin_fuzz::seed(&format!("{kind}-{name}"), &[&[kind, u8::MAX], &frame[..]].concat());
        }
    }
}

const KINDS: u8 = 11;

fuzz_target!(init: begin(), |input: (u8, u8, &[u8])| {
    let (message, piece, bytes) = input;
    let read = match message % KINDS {
        0 => read::<Hello>,
        1 => read::<JoinRequest>,
        2 => read::<Opening>,
        3 => read::<ToAttempt>,
        4 => read::<FromAttempt>,
        5 => read::<FromInvocation>,
        6 => read::<ToNode>,
        7 => read::<ToScheduler>,
        8 => read::<ToStore>,
        9 => read::<FromStore>,
        _ => read::<AttemptOpening>,
    };
    read(bytes, piece.into());
});
