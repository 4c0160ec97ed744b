//! Thread counts that are worth measuring on: successive halving (Jamieson and Talwalkar, 2016) on what is seen so far.

/// So many stay to the end, for the choice between speed and joules or idle cores.
const LAST: usize = 2;

/// What is known of a thread count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) threads: u16,
    /// Median.
    pub(crate) seconds: f64,
    /// A token's, where they are metered.
    pub(crate) joules: Option<f64>,
}

/// The better half, and what nothing beats in both time and joules; in order of the counts.
pub(crate) fn survivors(seen: &[Seen]) -> Vec<u16> {
    let keep = seen.len().div_ceil(2).max(LAST.min(seen.len()));
    let mut ranked: Vec<&Seen> = seen.iter().collect();
    ranked.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(a.threads.cmp(&b.threads)));
    let mut kept: Vec<u16> = ranked.iter().take(keep).map(|seen| seen.threads).collect();
    let thriftiest =
        seen.iter().filter_map(|seen| Some((seen.joules?, seen.threads))).min_by(|a, b| a.0.total_cmp(&b.0));
    kept.extend(thriftiest.map(|(_, threads)| threads));
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Rounds of it until no more are left out.
pub(crate) fn rounds(counts: usize) -> u32 {
    let mut left = counts;
    let mut rounds = 0;
    while left > LAST {
        left = left.div_ceil(2).max(LAST);
        rounds += 1;
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(times: &[(u16, f64, Option<f64>)]) -> Vec<u16> {
        let seen: Vec<Seen> = times
            .iter()
            .map(|(threads, seconds, joules)| Seen { threads: *threads, seconds: *seconds, joules: *joules })
            .collect();
        survivors(&seen)
    }

    #[test]
    fn the_better_half_stays_and_so_does_the_thriftiest() {
        let slow_ends = [(1, 4.0, None), (2, 1.0, None), (3, 1.1, None), (4, 1.2, None)];
        assert_eq!(seen(&slow_ends), [2, 3]);
        let thrifty = [(1, 4.0, Some(0.5)), (2, 1.0, Some(0.7)), (3, 1.1, Some(0.9)), (4, 1.2, Some(1.0))];
        assert_eq!(seen(&thrifty), [1, 2, 3]);
        assert_eq!(seen(&slow_ends[..2]), [1, 2]);
        assert_eq!(seen(&slow_ends[..1]), [1]);
        assert_eq!([1, 2, 3, 4, 8, 10].map(rounds), [0, 0, 1, 1, 2, 3]);
    }
}
