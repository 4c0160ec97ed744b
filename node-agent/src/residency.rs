//! Which models stay in memory: those that are pinned or at work, and of the others those that would be missed most.

use std::time::Duration;

use dunlin_protocol::ModelDigest;
use thiserror::Error;

/// A use counts half after this.
const HALF_LIFE: Duration = Duration::from_mins(10);

/// How far one looks ahead.
const HORIZON: Duration = Duration::from_mins(5);

/// Models among which the best choice is searched; of more, those that are missed least for their size.
const MAX_SEARCHED: usize = 16;

/// How often a model was asked for of late. Times are since any fixed moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Demand {
    /// Uses, each halved for every [`HALF_LIFE`] since.
    weight: f64,
    at: Duration,
}

impl Demand {
    pub fn note_use(&mut self, now: Duration) {
        self.weight = self.faded(now) + 1.0;
        self.at = self.at.max(now);
    }

    /// That it is used within [`HORIZON`], 0 to 1: as if uses came independently of each other at their recent rate.
    pub fn likelihood(&self, now: Duration) -> f64 {
        // A steady rate has this weight in the long run: rate x half-life / ln 2.
        let rate = self.faded(now) * std::f64::consts::LN_2 / HALF_LIFE.as_secs_f64();
        1.0 - (-rate * HORIZON.as_secs_f64()).exp()
    }

    fn faded(&self, now: Duration) -> f64 {
        self.weight * (-(now.saturating_sub(self.at)).as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

/// A model in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResidentModel {
    pub model: ModelDigest,
    /// What its eviction gives back.
    pub bytes: u64,
    pub hold: Hold,
    /// What loading it again would take.
    pub reload: Duration,
    /// See [`Demand::likelihood`].
    pub likelihood: f64,
}

/// What keeps a model in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// By the operator.
    Pinned,
    /// Something runs on it, or it is loading.
    Busy,
    Idle,
}

/// Why there is no room for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoRoom {
    #[error(
        "the model needs {} MB; {} MB are free and {} MB are held by pinned models: unpin one, or take a smaller model",
        megabytes(*needed), megabytes(*free), megabytes(*pinned)
    )]
    Never { needed: u64, free: u64, pinned: u64 },
    /// Later, when what runs has ended.
    #[error("the model needs {} MB; {} MB are free, and models that are at work hold {} MB", megabytes(*needed), megabytes(*free), megabytes(*busy))]
    Busy { needed: u64, free: u64, busy: u64 },
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

/// The models to evict, so that `needed` bytes fit where `free` are free now: those whose reload, times the likelihood
/// that it is needed, is least in sum. Empty if there is room.
///
/// # Errors
/// [`NoRoom`]; then nothing is to be evicted.
pub fn evictions(needed: u64, free: u64, residents: &[ResidentModel]) -> Result<Vec<ModelDigest>, NoRoom> {
    let held =
        |hold: Hold| residents.iter().filter(|model| model.hold == hold).map(|model| model.bytes).sum();
    let (idle, busy, pinned): (u64, u64, u64) = (held(Hold::Idle), held(Hold::Busy), held(Hold::Pinned));
    if needed > free.saturating_add(idle).saturating_add(busy) {
        return Err(NoRoom::Never { needed, free, pinned });
    }
    if needed > free.saturating_add(idle) {
        return Err(NoRoom::Busy { needed, free, busy });
    }
    let candidates = candidates(residents);
    let missing = needed.saturating_sub(free);
    let (searched, certain) = candidates.split_at(candidates.len().min(MAX_SEARCHED));
    match cheapest(searched, missing) {
        Some(chosen) => Ok(chosen),
        // Only together with some that are missed more.
        None => Ok(in_order(searched.iter().chain(certain), missing)),
    }
}

/// Those that may go, the least missed for their size first.
fn candidates(residents: &[ResidentModel]) -> Vec<&ResidentModel> {
    let mut idle: Vec<_> = residents.iter().filter(|model| model.hold == Hold::Idle).collect();
    let by_size = |model: &ResidentModel| regret(model) / model.bytes.max(1) as f64;
    idle.sort_by(|a, b| by_size(a).total_cmp(&by_size(b)).then(a.model.cmp(&b.model)));
    idle
}

/// Seconds that an eviction is expected to cost.
fn regret(model: &ResidentModel) -> f64 {
    model.reload.as_secs_f64() * model.likelihood
}

/// Of all sets of at least so many bytes the one of least regret; of several, the one with the fewest models.
fn cheapest(candidates: &[&ResidentModel], missing: u64) -> Option<Vec<ModelDigest>> {
    let members = |set: u32| candidates.iter().enumerate().filter(move |(at, _)| set >> at & 1 == 1);
    let enough = |set: &u32| members(*set).map(|(_, model)| model.bytes).sum::<u64>() >= missing;
    let cost = |set: u32| members(set).map(|(_, model)| regret(model)).sum::<f64>();
    let sets = (0..1u32 << candidates.len()).filter(enough);
    let best = sets
        .map(|set| (cost(set), set.count_ones(), set))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)))?;
    Some(members(best.2).map(|(_, model)| model.model).collect())
}

fn in_order<'a>(models: impl Iterator<Item = &'a &'a ResidentModel>, missing: u64) -> Vec<ModelDigest> {
    let mut freed = 0;
    let mut chosen = Vec::new();
    for model in models {
        if freed >= missing {
            break;
        }
        freed += model.bytes;
        chosen.push(model.model);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn model(number: u8, megabytes: u64, hold: Hold, reload_s: u64, likelihood: f64) -> ResidentModel {
        ResidentModel {
            model: ModelDigest([number; 32]),
            bytes: megabytes * MB,
            hold,
            reload: Duration::from_secs(reload_s),
            likelihood,
        }
    }

    fn check(needed: u64, free: u64, residents: &[ResidentModel], expected: &[u8]) {
        let chosen = evictions(needed * MB, free * MB, residents).unwrap();
        let mut numbers: Vec<u8> = chosen.iter().map(|model| model.0[0]).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn the_least_missed_go() {
        use Hold::Idle;
        check(500, 500, &[model(1, 100, Idle, 1, 0.0)], &[]);
        // The one that is unlikely to be used, the one that is cheap to load.
        check(100, 0, &[model(1, 100, Idle, 10, 0.9), model(2, 100, Idle, 10, 0.1)], &[2]);
        check(100, 0, &[model(1, 100, Idle, 10, 0.5), model(2, 100, Idle, 2, 0.5)], &[2]);
        // One that is large instead of two, and two instead of one that is missed.
        let small = [model(1, 60, Idle, 5, 0.5), model(2, 60, Idle, 5, 0.5)];
        check(100, 0, &[small[0], small[1], model(3, 200, Idle, 6, 0.5)], &[3]);
        check(100, 0, &[small[0], small[1], model(3, 200, Idle, 60, 0.5)], &[1, 2]);
        // No more than is needed: one that would cost nothing more to keep stays.
        check(100, 0, &[model(1, 100, Idle, 0, 0.0), model(2, 100, Idle, 0, 0.0)], &[1]);
    }

    #[test]
    fn what_is_pinned_or_at_work_stays() {
        let residents = [
            model(1, 300, Hold::Pinned, 1, 0.0),
            model(2, 300, Hold::Busy, 1, 0.0),
            model(3, 300, Hold::Idle, 100, 1.0),
        ];
        check(300, 0, &residents, &[3]);
        let busy = evictions(400 * MB, 50 * MB, &residents).unwrap_err();
        assert_eq!(busy, NoRoom::Busy { needed: 400 * MB, free: 50 * MB, busy: 300 * MB });
        let never = evictions(700 * MB, 50 * MB, &residents).unwrap_err();
        assert_eq!(
            never.to_string(),
            "the model needs 700 MB; 50 MB are free and 300 MB are held by pinned models: unpin one, or take a smaller model"
        );
        assert!(evictions(u64::MAX, u64::MAX - 1, &residents).is_ok());
    }

    #[test]
    fn any_load_ends_within_memory_or_is_refused() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..300 {
            let count = random(22) as u8;
            let residents: Vec<ResidentModel> = (0..count)
                .map(|number| {
                    let hold = [Hold::Pinned, Hold::Busy, Hold::Idle, Hold::Idle][random(4) as usize];
                    model(number, 1 + random(900), hold, random(20), random(100) as f64 / 100.0)
                })
                .collect();
            let (needed, free) = (random(6000) * MB, random(800) * MB);
            let Ok(chosen) = evictions(needed, free, &residents) else { continue };
            let of = |digest: &ModelDigest| residents.iter().find(|model| model.model == *digest).unwrap();
            let freed: u64 = chosen.iter().map(|digest| of(digest).bytes).sum();
            assert!(free + freed >= needed);
            assert!(chosen.iter().all(|digest| of(digest).hold == Hold::Idle));
            let mut once = chosen.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), chosen.len());
            // Each of them is needed.
            assert!(
                chosen
                    .iter()
                    .all(|digest| free + freed - of(digest).bytes < needed || of(digest).likelihood == 0.0)
            );
        }
    }

    #[test]
    fn uses_fade() {
        let minutes = |count: u64| Duration::from_mins(count);
        let mut demand = Demand::default();
        assert_eq!(demand.likelihood(minutes(1)), 0.0);
        demand.note_use(minutes(1));
        let once = demand.likelihood(minutes(1));
        assert!(demand.likelihood(minutes(11)) < 0.55 * once);
        // Once a minute for an hour: five within five minutes are expected.
        (2..62).for_each(|minute| demand.note_use(minutes(minute)));
        let often = demand.likelihood(minutes(62));
        assert!((often - (1.0 - (-5.0f64).exp())).abs() < 0.01, "{often}");
        assert!(demand.likelihood(minutes(62 + 24 * 60)) < 1e-6);
    }
}
