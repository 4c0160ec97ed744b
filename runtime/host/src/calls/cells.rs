//! The cells that one sequence is charged for. What forks share is charged once, and until the last of them lets go.

use std::sync::Arc;

use crate::invoke::budget::{Exhausted, Held, Meter};

#[derive(Debug)]
pub(crate) struct Cells {
    /// Where each shared part begins, in order; they end at `shared_length`.
    shared: Vec<(usize, Arc<Held>)>,
    shared_length: usize,
    own: Held,
    meter: Arc<Meter>,
}

impl Cells {
    pub(crate) fn new(meter: Arc<Meter>) -> Result<Self, Exhausted> {
        Ok(Self { shared: Vec::new(), shared_length: 0, own: meter.hold(0)?, meter })
    }

    pub(crate) fn grow(&mut self, tokens: usize) -> Result<(), Exhausted> {
        self.own.grow(tokens as u64)
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.own.shrink_to(length.saturating_sub(self.shared_length) as u64);
        self.keep_shared(length);
    }

    /// For a sequence that is now `length` tokens long, of which the first `kept` are as before.
    pub(crate) fn replace(&mut self, kept: usize, length: usize) -> Result<(), Exhausted> {
        let own = (length - kept.min(self.shared_length)) as u64;
        match own.checked_sub(self.own.amount()) {
            Some(more) => self.own.grow(more)?,
            None => self.own.shrink_to(own),
        }
        self.keep_shared(kept);
        Ok(())
    }

    fn keep_shared(&mut self, length: usize) {
        self.shared_length = self.shared_length.min(length);
        self.shared.retain(|(start, _)| *start < length);
    }

    pub(crate) fn fork(&mut self) -> Result<Self, Exhausted> {
        if self.own.amount() > 0 {
            let start = self.shared_length;
            self.shared_length += self.own.amount() as usize;
            self.shared.push((start, Arc::new(self.own.split(u64::MAX))));
        }
        Ok(Self {
            shared: self.shared.clone(),
            shared_length: self.shared_length,
            own: self.meter.hold(0)?,
            meter: self.meter.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;

    #[test]
    fn forks_share_what_they_have_in_common() {
        let meter = Meter::new(Budget::KvCells, 100);
        let mut root = Cells::new(meter.clone()).unwrap();
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
        let meter = Meter::new(Budget::KvCells, 100);
        let mut root = Cells::new(meter.clone()).unwrap();
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
