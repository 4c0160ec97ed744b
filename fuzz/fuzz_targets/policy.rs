//! Policy files of operators, and their errors, which point into the text.
#![no_main]

use dunlin_scheduler_core::Policy;
use libfuzzer_sys::fuzz_target;

/// Those that come with Dunlin.
fn begin() {
    for (name, text) in dunlin_fuzz::files("examples/policies") {
        dunlin_fuzz::seed(&name, &text);
    }
}

fuzz_target!(init: begin(), |text: &str| match Policy::parse(text) {
    Ok(policy) => _ = policy.routes().len(),
    Err(error) => drop(error.to_string()),
});
