//! Everything random in an invocation comes from its seed, so that a second run of it draws the same.

use std::convert::Infallible;

use rand_core::TryRng;

/// A place in the tree of forks, from which seeds are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    pub(crate) fn of_invocation(seed: u64) -> Self {
        Self(blake3::derive_key("dunlin 2026-11 invocation seed", &seed.to_le_bytes()))
    }

    /// The seed of the `ordinal`-th context made here, by creation or by fork.
    pub(crate) fn context(&self, ordinal: u32) -> Self {
        Self(*self.derive("context", ordinal).as_bytes())
    }

    /// The seed of the `ordinal`-th generation made here.
    pub(crate) fn generation(&self, ordinal: u32) -> u64 {
        let mut seed = [0; 8];
        seed.copy_from_slice(&self.derive("generation", ordinal).as_bytes()[..8]);
        u64::from_le_bytes(seed)
    }

    /// The randomness that a guest gets by WASI under this name.
    pub(crate) fn stream(&self, name: &str) -> Random {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(name.as_bytes());
        Random::new(hasher.finalize_xof())
    }

    fn derive(&self, what: &str, ordinal: u32) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(what.as_bytes()).update(&ordinal.to_le_bytes());
        hasher.finalize()
    }
}

/// An endless stream of bytes: the extended output of BLAKE3, which is made by blocks and so is taken by
/// blocks.
#[derive(Debug)]
pub(crate) struct Random {
    reader: blake3::OutputReader,
    block: [u8; BLOCK],
    used: usize,
}

const BLOCK: usize = 64;

impl Random {
    fn new(reader: blake3::OutputReader) -> Self {
        Self { reader, block: [0; BLOCK], used: BLOCK }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == BLOCK {
                self.reader.fill(&mut self.block);
                self.used = 0;
            }
            let length = bytes.len().min(BLOCK - self.used);
            let (now, later) = bytes.split_at_mut(length);
            now.copy_from_slice(&self.block[self.used..self.used + length]);
            self.used += length;
            bytes = later;
        }
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_core::Rng;

    use super::*;

    #[test]
    fn every_generation_of_every_context_draws_its_own() {
        let root = Seed::of_invocation(7);
        let contexts =
            [root.context(0), root.context(1), root.context(0).context(0), root.context(0).context(1)];
        let seeds: BTreeSet<u64> =
            contexts.iter().flat_map(|context| (0..3).map(|n| context.generation(n))).collect();
        assert_eq!(seeds.len(), 12);
    }

    #[test]
    fn seeds_are_the_same_on_every_machine_and_in_every_version() {
        let seed = Seed::of_invocation(7).context(0);
        assert_eq!(seed.generation(0), 16_009_545_445_149_409_881);
        assert_eq!(seed.stream("random").next_u64(), 5_452_865_411_913_009_046);
    }
}
