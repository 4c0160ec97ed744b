//! What a prediction takes: placement makes thousands of them in 50 us.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dunlin_costs::{Calibration, Class, Load, Phase, Running, Situation, Work};

fn predict(criterion: &mut Criterion) {
    let Ok(class) = Class::find("pi5-8g") else { return };
    let rows: Vec<_> = class.table.rows().collect();
    let work = Work { prompt_tokens: 512, cached_tokens: 128, output_tokens: 128 };
    let mut calibration = Calibration::default();
    for phase in [Phase::Prefill, Phase::Decode, Phase::Joules] {
        calibration.observe(phase, 1.0, 1.1);
    }
    let alone = Situation::default();
    let running = Running { sequences: 5, context: 4000, backlog_tokens: 700 };
    let busy = Situation { queue: 0.3, load: Load::Warm, reuse: 10.0, running, neighbours: 1 };
    for (name, situation) in [("alone", alone), ("busy", busy)] {
        let mut next = rows.iter().cycle();
        criterion.bench_function(&format!("predict/{name}"), |bencher| {
            bencher.iter(|| {
                let row = next.next()?;
                Some(black_box(row.predict(black_box(&work), black_box(&situation), black_box(&calibration))))
            });
        });
    }
    criterion.bench_function("calibration/observe", |bencher| {
        bencher.iter(|| calibration.observe(Phase::Decode, black_box(0.1), black_box(0.11)));
    });
}

criterion_group!(benches, predict);
criterion_main!(benches);
