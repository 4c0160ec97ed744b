//! The meter of a node at work, on time that is made up or passes by itself.

use std::time::Instant;

use dunlin_engine_handle::Share;
use dunlin_meters::{Declared, Description, MeterConfig};
use dunlin_protocol::{AttemptId, EnergyScope, EnergySource, InvocationId};

use super::Metering;

pub(super) fn description() -> Description {
    super::emulated("pi5-8g")
}

fn attempt(number: u128) -> AttemptId {
    AttemptId { invocation: InvocationId(number), number: 0 }
}

/// Joules: another reading, of the same energy.
const NOTHING: f64 = 1e-9;

fn share(prefill_us: u64, decode_us: u64) -> Share {
    Share { prefill_us, decode_us }
}

#[tokio::test]
async fn an_attempt_says_what_it_took_and_by_which_meter() {
    let metering = Metering::fed(description());
    metering.show(100.0);
    let first = metering.begin(attempt(1));
    let second = metering.begin(attempt(2));
    // From here on it is theirs.
    metering.show(100.0 + NOTHING);
    metering.show(103.0);
    let first = first.end(share(1000, 2000)).await.expect("metered");
    assert_eq!((first.scope, first.source), (EnergyScope::BoardInput, EnergySource::Emulated));
    assert_eq!((first.marginal_millijoules, first.prefill_millijoules), (3000, Some(1000)));
    // Nothing was drawn since, and nothing was done.
    let second = second.end(share(0, 0)).await.expect("metered");
    assert_eq!((second.total_millijoules, second.decode_millijoules), (0, Some(0)));
    let drawn = metering.drawn().expect("metered");
    assert_eq!((drawn.millijoules, drawn.requests_millijoules, drawn.idle_millijoules), (3000, 3000, 0));
}

#[tokio::test]
async fn without_a_meter_there_are_no_joules() {
    let metering = Metering::none();
    assert_eq!(metering.begin(attempt(1)).end(share(10, 10)).await, None);
    assert_eq!((metering.drawn(), metering.board_watts()), (None, None));
    let silent = Metering::fed(description());
    assert_eq!(silent.begin(attempt(1)).end(share(10, 10)).await, None, "it never showed anything");
}

#[tokio::test]
async fn a_step_that_is_longer_than_the_interval_is_no_idle_time() {
    let metering = Metering::fed(description());
    metering.show(0.0);
    let account = metering.begin(attempt(1));
    metering.show(NOTHING);
    for joules in 1..=8 {
        metering.show(f64::from(joules));
        metering.settle_now();
        let drawn = metering.drawn().map_or(0, |drawn| drawn.millijoules);
        assert_eq!(drawn, 0, "nobody knows yet for whom the step is");
    }
    let energy = account.end(share(800_000, 0)).await.expect("metered");
    assert_eq!((energy.marginal_millijoules, energy.prefill_millijoules), (8000, Some(8000)));
}

#[tokio::test]
async fn a_counter_that_starts_anew_leaves_the_joules_of_those_that_run_unknown() {
    let metering = Metering::fed(description());
    metering.show(50.0);
    let unlucky = metering.begin(attempt(1));
    metering.show(51.0);
    metering.show(0.2);
    unlucky.note(share(0, 1000));
    metering.show(0.3);
    metering.settle_now();
    assert_eq!(unlucky.end(share(0, 2000)).await, None);
    let next = metering.begin(attempt(2));
    metering.show(0.3 + NOTHING);
    metering.show(1.3);
    let next = next.end(share(0, 1000)).await.expect("metered again");
    assert_eq!(next.decode_millijoules, Some(1000));
}

#[tokio::test]
async fn declared_watts_are_told_as_modelled() {
    let watts = Declared { idle_w: 3.0, load_w: 5.0, prefill_w: 9.0, decode_w: 8.0 };
    let config = MeterConfig { declared: Some(watts), ..MeterConfig::default() };
    let nothing = tempfile::tempdir().expect("a folder");
    let metering = super::of_machine(nothing.path(), &config);
    let energy = metering.begin(attempt(1)).end(share(500_000, 2_000_000)).await.expect("declared");
    assert_eq!((energy.scope, energy.source), (EnergyScope::BoardInput, EnergySource::Modelled));
    assert_eq!((energy.prefill_millijoules, energy.decode_millijoules), (Some(3000), Some(10_000)));
    assert_eq!((energy.total_millijoules, energy.error_thousandths), (20_500, Some(250)));
    assert_eq!((metering.drawn(), metering.board_watts()), (None, None), "nothing was measured");
}

#[tokio::test]
async fn a_sensor_of_the_machine_is_read() {
    let root = tempfile::tempdir().expect("a folder");
    let zone = root.path().join("sys/class/powercap/intel-rapl:0");
    std::fs::create_dir_all(&zone).expect("a folder");
    let set = |file: &str, text: &str| std::fs::write(zone.join(file), text).expect("written");
    set("name", "package-0\n");
    set("max_energy_range_uj", "262143328850\n");
    set("energy_uj", "1000000\n");
    let metering = super::of_machine(root.path(), &MeterConfig::default());
    let account = metering.begin(attempt(1));
    let sampled = async |since: Option<Instant>| {
        while metering.settle_now() <= since {
            tokio::task::yield_now().await;
        }
    };
    sampled(Some(Instant::now())).await;
    set("energy_uj", "3000000\n");
    sampled(Some(Instant::now())).await;
    account.note(share(0, 1000));
    sampled(Some(Instant::now())).await;
    let energy = account.end(share(0, 1000)).await.expect("metered");
    assert_eq!((energy.scope, energy.source), (EnergyScope::Package, EnergySource::EnergyCounter));
    assert_eq!(energy.marginal_millijoules, 2000);
    assert_eq!(metering.board_watts(), None, "the package is not the board");
}
