//! Requests that no row was made of.

use fastrand::Rng;

/// Longest prompt; profiles of this benchmark measure longer ones.
const PROMPTS: std::ops::Range<u32> = 40..360;
const OUTPUTS: std::ops::Range<u32> = 12..48;
/// One request in so many goes on from a prompt that the engine holds.
const CACHED: usize = 4;
/// Others that decode beside it, at most.
const BESIDE: u32 = 3;

/// A request, and what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Tokens that are computed.
    pub(crate) fresh: u32,
    /// Tokens before them that the engine holds.
    pub(crate) cached: u32,
    pub(crate) output: u32,
    /// Sequences that decode beside it.
    pub(crate) beside: u32,
}

/// Other lengths than a profile takes, 1 to 4 at once, some with a prefix that is held.
pub(crate) fn draw(count: usize, seed: u64) -> Vec<Request> {
    let mut rng = Rng::with_seed(seed);
    let request = |number: usize| {
        let fresh = rng.u32(PROMPTS);
        let cached = if number % CACHED == CACHED - 1 { rng.u32(64..256) } else { 0 };
        Request { fresh, cached, output: rng.u32(OUTPUTS), beside: rng.u32(0..=BESIDE) }
    };
    (0..count).map(request).collect()
}

/// One request again and again: how well the machine repeats itself. No more than there are in the mix.
pub(crate) fn identical(most: usize) -> Vec<Request> {
    alike(most.min(12))
}

/// So many of one kind, alone.
pub(crate) fn alike(count: usize) -> Vec<Request> {
    vec![Request { fresh: 200, cached: 0, output: 32, beside: 0 }; count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_mix_of_everything() {
        let mix = draw(60, 1);
        assert_eq!(mix, draw(60, 1));
        assert_ne!(mix, draw(60, 2));
        assert_eq!(mix.iter().filter(|request| request.cached > 0).count(), 15);
        for beside in 0..=BESIDE {
            assert!(mix.iter().filter(|request| request.beside == beside).count() >= 5, "{beside}");
        }
    }
}
