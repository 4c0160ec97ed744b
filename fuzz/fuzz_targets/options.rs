//! Options of guests of wasi-nn: what is refused changes nothing, and what is taken can be used.
#![no_main]

use dunlin_nn::Options;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|documents: (&[u8], &[u8])| {
    let mut options = Options::default();
    for json in [documents.0, documents.1] {
        let before = options.clone();
        match options.merge(json) {
            Ok(()) => drop(options.constraint()),
            // By their texts, since there may be NaN in them.
            Err(_) => assert_eq!(format!("{options:?}"), format!("{before:?}")),
        }
    }
});
