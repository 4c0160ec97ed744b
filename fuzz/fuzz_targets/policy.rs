//! Policy files and plans of operators, and their errors, which point into the text.
#![no_main]

use dunlin_scheduler_core::{PlanRules, Policy};
use libfuzzer_sys::fuzz_target;

/// Those that come with Dunlin.
fn begin() {
    for folder in ["examples/policies", "examples/plans"] {
        for (name, text) in dunlin_fuzz::files(folder) {
            dunlin_fuzz::seed(&name, &text);
        }
    }
}

fuzz_target!(init: begin(), |text: &str| {
    match Policy::parse(text) {
        Ok(policy) => _ = policy.routes().len(),
        Err(error) => drop(error.to_string()),
    }
    if let Err(error) = PlanRules::parse(text) {
        drop(error.to_string());
    }
});
