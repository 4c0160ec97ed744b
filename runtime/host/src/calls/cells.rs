//! What one sequence is charged for: cells of the engine, of which those that forks share are charged once
//! and until the last of them lets go; and the host's own copy of its tokens, which every fork has.

use std::sync::Arc;

use crate::invoke::budget::{Exhausted, Held, Meter};

#[derive(Debug)]
pub(crate) struct Cells {
    /// Where each shared part begins, in order; they end at `shared_length`.
    shared: Vec<(usize, Arc<Held>)>,
    shared_length: usize,
    own: Held,
    /// As much as the sequence is long.
    copy: Held,
    meters: CellMeters,
}

#[derive(Debug, Clone)]
pub(crate) struct CellMeters {
    pub(crate) cells: Arc<Meter>,
    pub(crate) copies: Arc<Meter>,
}

impl Cells {
    pub(crate) fn new(meters: CellMeters) -> Result<Self, Exhausted> {
        let (own, copy) = (meters.cells.hold(0)?, meters.copies.hold(0)?);
        Ok(Self { shared: Vec::new(), shared_length: 0, own, copy, meters })
    }

    pub(crate) fn grow(&mut self, tokens: usize) -> Result<(), Exhausted> {
        let length = self.copy.amount() as usize;
        self.replace(length, length + tokens)
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.copy.shrink_to(length as u64);
        self.own.shrink_to(length.saturating_sub(self.shared_length) as u64);
        self.keep_shared(length);
    }

    /// For a sequence that is now `length` tokens long, of which the first `kept` are as before.
    pub(crate) fn replace(&mut self, kept: usize, length: usize) -> Result<(), Exhausted> {
        let own = (length - kept.min(self.shared_length)) as u64;
        // Both or neither.
        let more_copy = self.meters.copies.hold((length as u64).saturating_sub(self.copy.amount()))?;
        self.own.resize(own)?;
        self.copy.shrink_to(length as u64);
        self.copy.join(more_copy);
        self.keep_shared(kept);
        Ok(())
    }

    fn keep_shared(&mut self, length: usize) {
        self.shared_length = self.shared_length.min(length);
        self.shared.retain(|(start, _)| *start < length);
    }

    pub(crate) fn fork(&mut self) -> Result<Self, Exhausted> {
        let (own, copy) = (self.meters.cells.hold(0)?, self.meters.copies.hold(self.copy.amount())?);
        if self.own.amount() > 0 {
            let start = self.shared_length;
            self.shared_length += self.own.amount() as usize;
            self.shared.push((start, Arc::new(self.own.split(u64::MAX))));
        }
        let shared = self.shared.clone();
        Ok(Self { shared, shared_length: self.shared_length, own, copy, meters: self.meters.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;

    fn meters(cells: u64, copies: u64) -> CellMeters {
        CellMeters { cells: Meter::new(Budget::KvCells, cells), copies: Meter::new(Budget::KvCells, copies) }
    }

    #[test]
    fn copies_are_counted_in_full() {
        let meters = meters(100, 100);
        let mut root = Cells::new(meters.clone()).unwrap();
        root.grow(40).unwrap();
        let mut branch = root.fork().unwrap();
        assert!(branch.fork().is_err());
        assert!(branch.grow(21).is_err());
        branch.grow(20).unwrap();
        assert_eq!((meters.cells.used(), meters.copies.used()), (60, 100));
        branch.truncate(10);
        assert_eq!((meters.cells.used(), meters.copies.used()), (40, 50));
    }

    #[test]
    fn forks_share_what_they_have_in_common() {
        let CellMeters { cells: meter, copies } = meters(100, 1_000);
        let mut root = Cells::new(CellMeters { cells: meter.clone(), copies }).unwrap();
        root.grow(40).unwrap();
        let mut branch = root.fork().unwrap();
        branch.grow(10).unwrap();
        let leaf = branch.fork().unwrap();
        assert_eq!(meter.used(), 50);
        assert!(branch.grow(51).is_err());
        drop(root);
        drop(branch);
        assert_eq!(meter.used(), 50);
        drop(leaf);
        assert_eq!(meter.used(), 0);
    }

    #[test]
    fn cutting_gives_back_what_nobody_else_holds() {
        let CellMeters { cells: meter, copies } = meters(100, 1_000);
        let mut root = Cells::new(CellMeters { cells: meter.clone(), copies }).unwrap();
        root.grow(40).unwrap();
        let mut branch = root.fork().unwrap();
        branch.grow(10).unwrap();
        branch.truncate(45);
        assert_eq!(meter.used(), 45);
        branch.truncate(20);
        branch.grow(5).unwrap();
        assert_eq!(meter.used(), 45);
        assert!(branch.replace(15, 76).is_err());
        branch.replace(15, 60).unwrap();
        assert_eq!(meter.used(), 40 + 45);
        branch.truncate(0);
        assert_eq!(meter.used(), 40);
        root.truncate(0);
        assert_eq!(meter.used(), 0);
    }
}
