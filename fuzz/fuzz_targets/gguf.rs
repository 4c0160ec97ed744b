//! Models: what C++ never sees unless this says so.
#![no_main]

use std::{fs::File, io::Write, path::PathBuf, sync::LazyLock};

use dunlin_gguf::{Gguf, corpus};
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| dunlin_fuzz::scratch("model.gguf"));

/// Bytes of weights, which are holes in the file: what is fuzzed is what describes them.
const WEIGHTS: u64 = 1 << 20;

/// A model that is sound, and what is known to have hurt others.
fn begin() {
    dunlin_fuzz::seed("sound", &corpus::sound().header());
    for attack in corpus::attacks() {
        dunlin_fuzz::seed(attack.name, &attack.files[0].1);
    }
}

fuzz_target!(init: begin(), |bytes: &[u8]| {
    let mut file = File::create(&*FILE).expect("a scratch file");
    file.write_all(bytes).expect("a scratch file");
    file.set_len(bytes.len() as u64 + WEIGHTS).expect("a scratch file");
    drop(Gguf::open(&*FILE));
});
