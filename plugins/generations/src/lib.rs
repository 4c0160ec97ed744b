//! Many generations at once, as many as the job allows, and their answers in order.
//!
//! The engine runs them side by side whether they are waited for or not, so [`in_order`] waits for the first alone:
//! one host call a step, however many there are.

use std::collections::VecDeque;

use dunlin_guest::{Answer, Budget, Error, Generation, job};

/// Generations at once. Engines run 32 by default; the others wait there, ready for when one ends.
const MAX_AT_ONCE: usize = 64;

/// What a generation may take of the job's budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// To generate.
    pub tokens: u32,
    /// Of the prompt, at most; no tokenizer known makes more tokens than bytes.
    pub prompt: usize,
}

impl Need {
    /// Whether another like this can be started now.
    fn is_left(self) -> bool {
        let left = |budget, needed| job::remaining(budget).is_none_or(|left| left >= needed);
        left(Budget::Generations, 1)
            && left(Budget::Contexts, 1)
            && left(Budget::Tokens, self.tokens.into())
            && left(Budget::KvCells, self.prompt as u64 + 2 * u64::from(self.tokens))
    }
}

/// Starts a generation for each item and hands its answer over once all before it were; many run at once.
///
/// # Errors
/// The first, in the order of the items: whatever came before it was handed over. What still runs is cancelled.
pub fn in_order<T>(
    items: impl IntoIterator<Item = T>,
    need: impl Fn(&T) -> Need,
    start: impl Fn(&T) -> Result<Generation, Error>,
    mut done: impl FnMut(T, Answer) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut running: VecDeque<(T, Generation)> = VecDeque::new();
    for item in items {
        while running.len() >= MAX_AT_ONCE || !need(&item).is_left() {
            // With nothing to wait for, what is left has to do.
            let Some((first, generation)) = running.pop_front() else { break };
            done(first, generation.finish()?.unless_stopped()?)?;
        }
        match start(&item) {
            Ok(generation) => running.push_back((item, generation)),
            Err(error) => {
                finish(running, &mut done)?;
                return Err(error);
            }
        }
    }
    finish(running, &mut done)
}

fn finish<T>(
    running: VecDeque<(T, Generation)>,
    done: &mut impl FnMut(T, Answer) -> Result<(), Error>,
) -> Result<(), Error> {
    running.into_iter().try_for_each(|(item, generation)| done(item, generation.finish()?.unless_stopped()?))
}
