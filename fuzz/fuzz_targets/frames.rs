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

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (message, piece, bytes) = input;
    let read = match message % 11 {
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
