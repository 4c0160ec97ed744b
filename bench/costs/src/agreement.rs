//! Whether a profile that is taken again finds what the first one said.

use std::collections::BTreeMap;

use dunlin_profiler::{Cell, Of, Summary};

use crate::{
    figure::Figure,
    stand::{Extent, Stand},
};

/// Two profiles of one plan, in two orders: of what both measured, how often the median of each lies where the other
/// expects it.
pub(crate) async fn measure(
    stand: &Stand,
    first: &Extent<'_>,
    second: &Extent<'_>,
) -> anyhow::Result<Figure> {
    let (first, second) = (stand.profile(first).await?, stand.profile(second).await?);
    Ok(judge(stand.name(), &first.cells, &second.cells))
}

fn judge(name: &str, first: &[Of], second: &[Of]) -> Figure {
    let by_cell: BTreeMap<Cell, Summary> = second.iter().map(|of| (of.cell, of.seconds)).collect();
    let both = first.iter().filter_map(|of| Some((of.cell, of.seconds, *by_cell.get(&of.cell)?)));
    let (mut asked, mut held, mut apart) = (0, 0, Vec::new());
    for (cell, one, other) in both {
        let finds = |of: Summary, it: Summary| (of.low..=of.high).contains(&it.median);
        let found = [finds(one, other), finds(other, one)].into_iter().filter(|found| *found).count();
        (asked, held) = (asked + 2, held + found);
        if found < 2 {
            apart.push(format!("{cell}: {:.2} and {:.2} ms", 1e3 * one.median, 1e3 * other.median));
        }
    }
    let share = 100.0 * held as f64 / f64::from(asked.max(1));
    let note = match apart.as_slice() {
        [] => format!("all of {} cells", asked / 2),
        apart => format!("of {} cells not {}", asked / 2, apart.join("; ")),
    };
    Figure::at_least(format!("{name}: a profile finds what another said"), 90.0, share, "%").note(note)
}

#[cfg(test)]
mod tests {
    use dunlin_profiler::summarize;

    use super::*;

    fn cell(prompt: u32, seconds: &[f64]) -> Of {
        Of {
            cell: Cell::Prefill { threads: 1, prompt },
            seconds: summarize(seconds).unwrap(),
            spoilt: 0,
            watts: None,
            joules_per_token: None,
            memory: None,
            cores: None,
            switches: None,
            celsius: None,
        }
    }

    #[test]
    fn profiles_that_lie_apart_are_counted() {
        let first = [cell(128, &[1.0, 1.1]), cell(512, &[4.0, 4.0]), cell(2048, &[9.0])];
        let alike = judge("m", &first, &[cell(128, &[1.05, 1.06]), cell(512, &[4.1, 4.1])]);
        assert!(alike.holds && alike.note == "all of 2 cells", "{alike:?}");
        // The wide interval of the one has the other; not the other way round.
        let apart = judge("m", &first, &[cell(128, &[1.0, 1.0]), cell(512, &[5.0, 5.0])]);
        assert!(!apart.holds && apart.measured == "25.0 %" && apart.note.contains("512"), "{apart:?}");
    }
}
