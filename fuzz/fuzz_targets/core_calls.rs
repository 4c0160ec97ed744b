//! `wasi_ephemeral_nn`: any of its functions with any pointers, lengths, handles and numbers, in any order.
#![no_main]

use dunlin_fuzz::{Once, Stage};
use dunlin_host::InvokeError;
use libfuzzer_sys::fuzz_target;

static STAGE: Once = Once::new(|| {
    let module = wat::parse_str(include_str!("../../runtime/host/tests/host/calls.wat")).expect("the guest");
    Stage::new("calls", &module)
});

fuzz_target!(|records: &[u8]| {
    let outcome = STAGE.run(records.to_vec(), Vec::new());
    match outcome.result {
        // This guest has no instruction that traps: the calls answer with a number, whatever they are given.
        Ok(_) | Err(InvokeError::Exhausted(_) | InvokeError::Memory { .. } | InvokeError::Deadline) => {}
        Err(error) => panic!("{error}\n{}", outcome.log.text),
    }
});
