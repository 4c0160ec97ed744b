//! Policy files of operators, and their errors, which point into the text.
#![no_main]

use dunlin_scheduler_core::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match Policy::parse(text) {
    Ok(policy) => _ = policy.routes().len(),
    Err(error) => drop(error.to_string()),
});
