//! Manifests: beside a component, and within one.
#![no_main]

use dunlin_host::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        _ = (manifest.budget.asked(), manifest.budget.limits(), manifest.budget.granted());
    }
    drop(Manifest::of_component(bytes));
});
