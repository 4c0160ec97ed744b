//! The meter of a node at work, on time that is made up or passes by itself.

use dunlin_engine_handle::Share;
use dunlin_meters::Description;
use dunlin_protocol::{AttemptId, EnergyScope, EnergySource, InvocationId};

use super::Metering;

pub(super) fn description() -> Description {
    super::emulated("pi5-8g")
}

fn attempt(number: u128) -> AttemptId {
    AttemptId { invocation: InvocationId(number), number: 0 }
}

fn share(prefill_us: u64, decode_us: u64) -> Share {
    Share { prefill_us, decode_us }
}

#[tokio::test]
async fn an_attempt_says_what_it_took_and_by_which_meter() {
    let metering = Metering::fed(description());
    metering.show(100.0);
    metering.begin(attempt(1));
    metering.begin(attempt(2));
    metering.show(103.0);
    let first = metering.end(attempt(1), share(1000, 2000)).await.expect("metered");
    assert_eq!((first.scope, first.source), (EnergyScope::BoardInput, EnergySource::Emulated));
    assert_eq!((first.marginal_millijoules, first.prefill_millijoules), (3000, Some(1000)));
    // Nothing was drawn since, and nothing was done.
    let second = metering.end(attempt(2), share(0, 0)).await.expect("metered");
    assert_eq!((second.total_millijoules, second.decode_millijoules), (0, Some(0)));
    assert!((metering.totals().metered - 3.0).abs() < 1e-9);
}

#[tokio::test]
async fn without_a_meter_there_are_no_joules() {
    let metering = Metering::none();
    metering.begin(attempt(1));
    assert_eq!(metering.end(attempt(1), share(10, 10)).await, None);
    let silent = Metering::fed(description());
    silent.begin(attempt(1));
    assert_eq!(silent.end(attempt(1), share(10, 10)).await, None, "it never showed anything");
}
