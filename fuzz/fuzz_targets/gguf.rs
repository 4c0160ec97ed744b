//! Models: what C++ never sees unless this says so.
#![no_main]

use std::{path::PathBuf, sync::LazyLock};

use dunlin_gguf::Gguf;
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| dunlin_fuzz::scratch("model.gguf"));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("a scratch file");
    drop(Gguf::open(&*FILE));
});
