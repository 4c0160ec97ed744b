//! Which cells of the unified KV cache are in use, and by how many sequences.
//!
//! llama.cpp does not tell; this mirrors its rules: a new token takes a cell, a copy shares cells, a cell is free when
//! the last sequence that holds it forgets it.

/// One cell of the mirror. Not llama.cpp's own index, which nobody needs.
type Cell = u32;

/// The cells that one sequence holds, by position.
#[derive(Debug, Default)]
pub(crate) struct Held(Vec<Cell>);

#[cfg(test)]
impl Held {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Debug)]
pub(crate) struct Cells {
    holders: Vec<u32>,
    free: Vec<Cell>,
}

impl Cells {
    pub(crate) fn new(count: u32) -> Self {
        Self { holders: vec![0; count as usize], free: (0..count).rev().collect() }
    }

    pub(crate) fn used(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a cell for each of `count` new positions. False, and nothing taken, where they do not suffice.
    pub(crate) fn extend(&mut self, held: &mut Held, count: usize) -> bool {
        if count > self.free.len() {
            return false;
        }
        for cell in self.free.drain(self.free.len() - count..) {
            self.holders[cell as usize] = 1;
            held.0.push(cell);
        }
        true
    }

    /// The first `length` positions of `held`, held once more.
    pub(crate) fn share(&mut self, held: &Held, length: usize) -> Held {
        let shared = held.0[..length].to_vec();
        shared.iter().for_each(|&cell| self.holders[cell as usize] += 1);
        Held(shared)
    }

    /// Forgets the positions from `length` on.
    pub(crate) fn truncate(&mut self, held: &mut Held, length: usize) {
        for cell in held.0.drain(length.min(held.0.len())..) {
            self.holders[cell as usize] -= 1;
            if self.holders[cell as usize] == 0 {
                self.free.push(cell);
            }
        }
    }

    /// Cells that none of these hold, but somebody does.
    pub(crate) fn beyond<'a>(&self, holders: impl Iterator<Item = &'a Held>) -> usize {
        let mut seen = vec![false; self.holders.len()];
        holders.flat_map(|held| &held.0).for_each(|&cell| seen[cell as usize] = true);
        self.used() - seen.into_iter().filter(|seen| *seen).count()
    }
}
