//! Sequences of the KV cache: who runs on them, which are kept as prefixes for later, which were moved out.
//!
//! In a unified cache every row attends over all cells up to the highest one in use, so kept prefixes slow down
//! whatever else runs. They have a budget of cells; beyond it they are spilled to host memory, and restored when a
//! prompt begins with them.

use std::sync::Arc;

use dunlin_engine_handle::Token;

use crate::{
    cells::{Cells, Held},
    llama::{Context, SeqId},
};

/// Shorter prefixes are not kept: computing them again costs less than looking after them.
const MIN_KEPT: usize = 8;

/// Shorter prefixes are dropped rather than spilled.
const MIN_SPILLED: usize = 64;

/// llama.cpp attends over cells in blocks of this many.
const CELL_BLOCK: usize = 256;

/// What this module asks of the KV cache; a test puts a simple model in the place of llama.cpp's.
pub(crate) trait Memory {
    /// Lets the empty `to` share the first `length` positions of `from`.
    fn copy(&mut self, from: SeqId, to: SeqId, length: u32);
    /// Forgets positions from `from` on; false where only the whole can be forgotten.
    fn forget(&mut self, seq: SeqId, from: u32) -> bool;
    fn save(&mut self, seq: SeqId) -> Option<Vec<u8>>;
    fn restore(&mut self, seq: SeqId, state: &[u8]) -> bool;
}

impl Memory for Context {
    fn copy(&mut self, from: SeqId, to: SeqId, length: u32) {
        Self::copy(self, from, to, length);
    }

    fn forget(&mut self, seq: SeqId, from: u32) -> bool {
        Self::forget(self, seq, from)
    }

    fn save(&mut self, seq: SeqId) -> Option<Vec<u8>> {
        Self::save(self, seq)
    }

    fn restore(&mut self, seq: SeqId, state: &[u8]) -> bool {
        Self::restore(self, seq, state)
    }
}

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Cells that kept prefixes may occupy.
    pub idle_cells: usize,
    /// Bytes of host memory for spilled prefixes.
    pub spill_bytes: usize,
}

/// Who may use a prefix: the tenant that it belongs to; others only what is public in its eyes and in theirs. (Were
/// either enough, one could find out by the time that a prompt takes whether another tenant has sent it.)
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    tenant: Arc<str>,
    /// Leading tokens that are public.
    public: usize,
}

impl Owner {
    pub(crate) fn new(tenant: &str, public: u32) -> Self {
        Self { tenant: tenant.into(), public: public as usize }
    }

    pub(crate) fn is_same_tenant(&self, other: &Self) -> bool {
        self.tenant == other.tenant
    }

    /// How many leading tokens of one sequence the owner of another may see.
    fn shared_with(&self, other: &Self) -> usize {
        if self.is_same_tenant(other) { usize::MAX } else { self.public.min(other.public) }
    }
}

#[derive(Debug)]
enum Use {
    Free,
    Running {
        owner: Owner,
    },
    /// Kept for later; when it was last used.
    Kept {
        owner: Owner,
        used: u64,
    },
}

#[derive(Debug)]
struct Slot {
    used: Use,
    /// The tokens whose keys and values are in the cache.
    tokens: Vec<Token>,
    held: Held,
}

#[derive(Debug)]
struct Spilled {
    owner: Owner,
    tokens: Vec<Token>,
    state: Vec<u8>,
    used: u64,
}

/// A sequence that was made ready for a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub seq: SeqId,
    /// Tokens of the prompt that are in the cache already.
    pub cached: u32,
}

/// Why a prompt cannot start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Sequences,
    Cells,
}

#[derive(Debug)]
pub(crate) struct Prefixes {
    slots: Vec<Slot>,
    cells: Cells,
    spilled: Vec<Spilled>,
    budget: Budget,
    /// The model can share and forget a part of a sequence (attention can, a recurrent state cannot).
    partial: bool,
    clock: u64,
    /// Whether kept prefixes may exceed their budget: something was released since the last look.
    untrimmed: bool,
    /// Kept prefixes that had to leave.
    evictions: u64,
}

impl Prefixes {
    pub(crate) fn new(sequences: u32, cells: u32, budget: Budget, partial: bool) -> Self {
        let slot = || Slot { used: Use::Free, tokens: Vec::new(), held: Held::default() };
        Self {
            slots: (0..sequences).map(|_| slot()).collect(),
            cells: Cells::new(cells),
            spilled: Vec::new(),
            budget,
            partial,
            clock: 0,
            untrimmed: false,
            evictions: 0,
        }
    }

    /// Finds a sequence for a prompt, with the longest prefix of it in the cache that this owner may use, and sees that
    /// `room` further cells are free.
    ///
    /// At most all but the last token of the prompt count as cached: its logits have to be computed.
    pub(crate) fn admit(
        &mut self,
        memory: &mut impl Memory,
        owner: &Owner,
        prompt: &[Token],
        room: usize,
    ) -> Result<Admitted, Full> {
        let source = self.longest(owner, prompt);
        let missing = prompt.len() - source.length();
        match source {
            Source::Slot { index, length } => {
                if !self.make_room(memory, missing + room, Some(index)) {
                    return Err(Full::Cells);
                }
                if self.extends(index, length) {
                    return Ok(self.start(index, owner));
                }
                let seq = self.free_slot(memory, Some(index)).ok_or(Full::Sequences)?;
                self.share(memory, index, seq, length);
                Ok(self.start(seq, owner))
            }
            Source::Spilled { index, length } => {
                // Taken out first: making room may spill others, and drop the oldest.
                let spilled = self.spilled.swap_remove(index);
                let admitted = self.admit_spilled(memory, owner, &spilled, length, missing + room);
                if admitted.is_err() {
                    self.spilled.push(spilled);
                }
                admitted
            }
            Source::None => {
                if !self.make_room(memory, missing + room, None) {
                    return Err(Full::Cells);
                }
                let seq = self.free_slot(memory, None).ok_or(Full::Sequences)?;
                Ok(self.start(seq, owner))
            }
        }
    }

    fn admit_spilled(
        &mut self,
        memory: &mut impl Memory,
        owner: &Owner,
        spilled: &Spilled,
        length: usize,
        room: usize,
    ) -> Result<Admitted, Full> {
        if !self.make_room(memory, spilled.tokens.len() + room, None) {
            return Err(Full::Cells);
        }
        let seq = self.free_slot(memory, None).ok_or(Full::Sequences)?;
        if memory.restore(seq_id(seq), &spilled.state)
            && self.cells.extend(&mut self.slots[seq].held, spilled.tokens.len())
        {
            self.slots[seq].tokens.clone_from(&spilled.tokens);
            if length < spilled.tokens.len() {
                self.truncate(memory, seq_id(seq), length);
            }
        } else {
            self.clear(memory, seq);
        }
        Ok(self.start(seq, owner))
    }

    /// Hands a slot that holds nothing but a prefix of the prompt to a call.
    fn start(&mut self, index: usize, owner: &Owner) -> Admitted {
        self.slots[index].used = Use::Running { owner: owner.clone() };
        // What was kept beside nothing is now kept beside something.
        self.untrimmed = true;
        Admitted { seq: seq_id(index), cached: self.slots[index].tokens.len() as u32 }
    }

    /// How many tokens of the prompt are there for this owner, running sequences included.
    pub(crate) fn cached(&self, owner: &Owner, prompt: &[Token]) -> usize {
        self.longest(owner, prompt).length()
    }

    /// A further sequence that shares all of `seq`, for branches of one call. It is the caller's to release.
    pub(crate) fn branch(&mut self, memory: &mut impl Memory, seq: SeqId) -> Option<SeqId> {
        let from = seq.0 as usize;
        let Use::Running { owner } = &self.slots[from].used else { return None };
        let owner = owner.clone();
        let to = self.free_slot(memory, Some(from))?;
        let length = self.slots[from].tokens.len();
        self.share(memory, from, to, length);
        self.slots[to].used = Use::Running { owner };
        Some(seq_id(to))
    }

    /// Takes note that `tokens` are about to join a running sequence. False where the cells do not suffice.
    pub(crate) fn extend(&mut self, seq: SeqId, tokens: &[Token]) -> bool {
        let slot = &mut self.slots[seq.0 as usize];
        let fits = self.cells.extend(&mut slot.held, tokens.len());
        if fits {
            slot.tokens.extend_from_slice(tokens);
        }
        fits
    }

    /// Takes back the positions from `length` on, of a step that failed or of tokens that are not wanted.
    pub(crate) fn truncate(&mut self, memory: &mut impl Memory, seq: SeqId, length: usize) {
        let index = seq.0 as usize;
        if memory.forget(seq, length as u32) {
            self.forget_from(index, length);
        } else {
            memory.forget(seq, 0);
            self.forget_from(index, 0);
        }
    }

    /// A running sequence is over; what it read and wrote is kept as a prefix if it is worth it.
    pub(crate) fn release(&mut self, memory: &mut impl Memory, seq: SeqId) {
        let index = seq.0 as usize;
        self.clock += 1;
        let used = self.clock;
        let Use::Running { owner } = std::mem::replace(&mut self.slots[index].used, Use::Free) else {
            return;
        };
        if self.slots[index].tokens.len() >= MIN_KEPT && !self.is_covered(index, &owner) {
            self.slots[index].used = Use::Kept { owner, used };
            self.untrimmed = true;
        } else {
            self.clear(memory, index);
        }
    }

    /// Forgets a running sequence altogether.
    pub(crate) fn discard(&mut self, memory: &mut impl Memory, seq: SeqId) {
        self.clear(memory, seq.0 as usize);
    }

    /// Brings kept prefixes back into their budget, the least recently used first. At most `steps` are moved: each
    /// costs a copy out of the cache.
    pub(crate) fn trim(&mut self, memory: &mut impl Memory, steps: usize) {
        for _ in 0..steps {
            if !self.untrimmed {
                return;
            }
            let candidate = if self.is_over_budget() { self.least_recently_used(None) } else { None };
            match candidate {
                Some(index) => self.spill(memory, index),
                None => self.untrimmed = false,
            }
        }
    }

    /// Moves all kept prefixes out but the latest, as far as they exceed the budget.
    pub(crate) fn tidy(&mut self, memory: &mut impl Memory) {
        let kept = |slot: &Slot| matches!(slot.used, Use::Kept { .. });
        while self.slots.iter().filter(|slot| kept(slot)).count() > 1 && self.is_over_budget() {
            let Some(index) = self.least_recently_used(None) else { return };
            self.spill(memory, index);
        }
    }

    /// Kept prefixes make steps slower than the budget allows. Rows attend over whole blocks of cells, so what fits
    /// into the last block that is in use anyway costs nothing.
    fn is_over_budget(&self) -> bool {
        let (used, idle) = (self.cells.used(), self.idle_cells());
        idle > self.budget.idle_cells && used.div_ceil(CELL_BLOCK) > (used - idle).div_ceil(CELL_BLOCK)
    }

    /// Sees that `count` cells are free, at the cost of kept prefixes other than `keep`.
    pub(crate) fn make_room(&mut self, memory: &mut impl Memory, count: usize, keep: Option<usize>) -> bool {
        while self.cells.free() < count {
            let Some(index) = self.least_recently_used(keep) else { return false };
            self.spill(memory, index);
        }
        true
    }

    #[cfg(test)]
    pub(crate) fn tokens(&self, seq: SeqId) -> &[Token] {
        &self.slots[seq.0 as usize].tokens
    }

    #[cfg(test)]
    pub(crate) fn free_cells(&self) -> usize {
        self.cells.free()
    }

    pub(crate) fn used_cells(&self) -> usize {
        self.cells.used()
    }

    /// Cells that only kept prefixes hold.
    pub(crate) fn idle_cells(&self) -> usize {
        let running = self.slots.iter().filter(|slot| matches!(slot.used, Use::Running { .. }));
        self.cells.beyond(running.map(|slot| &slot.held))
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(crate) fn spilled_bytes(&self) -> usize {
        self.spilled.iter().map(|spilled| spilled.state.len()).sum()
    }

    fn longest(&self, reader: &Owner, prompt: &[Token]) -> Source {
        let most = prompt.len().saturating_sub(1);
        let usable = |tokens: &[Token], owner: &Owner| {
            let common = tokens.iter().zip(&prompt[..most]).take_while(|(a, b)| a == b).count();
            let common = common.min(owner.shared_with(reader));
            if self.partial || common == tokens.len() { common } else { 0 }
        };
        let slots = self.slots.iter().enumerate().filter_map(|(index, slot)| match &slot.used {
            // A recurrent state that still moves is nobody else's prefix.
            Use::Running { owner } if self.partial => Some((index, slot, owner)),
            Use::Kept { owner, .. } => Some((index, slot, owner)),
            _ => None,
        });
        let slots =
            slots.map(|(index, slot, owner)| Source::Slot { index, length: usable(&slot.tokens, owner) });
        let spilled = self.spilled.iter().enumerate().filter_map(|(index, spilled)| {
            let length = usable(&spilled.tokens, &spilled.owner);
            // Whoever takes it takes all of it.
            (spilled.owner.shared_with(reader) >= spilled.tokens.len())
                .then_some(Source::Spilled { index, length })
        });
        // Of equals the first wins: what is in the cache before what would have to be restored.
        slots
            .chain(spilled)
            .filter(|source| source.length() > 0)
            .fold(Source::None, |best, source| if source.length() > best.length() { source } else { best })
    }

    /// The kept prefix ends where the prompt goes on, so the prompt can simply take it over.
    fn extends(&self, index: usize, length: usize) -> bool {
        matches!(self.slots[index].used, Use::Kept { .. }) && self.slots[index].tokens.len() == length
    }

    /// Another sequence of the tenant begins with all tokens of this one.
    fn is_covered(&self, index: usize, owner: &Owner) -> bool {
        let tokens = &self.slots[index].tokens;
        self.partial
            && self.slots.iter().enumerate().any(|(other, slot)| {
                let same_tenant = match &slot.used {
                    Use::Running { owner: other } | Use::Kept { owner: other, .. } => {
                        other.is_same_tenant(owner) && other.public >= owner.public
                    }
                    Use::Free => false,
                };
                other != index && same_tenant && slot.tokens.starts_with(tokens)
            })
    }

    fn free_slot(&mut self, memory: &mut impl Memory, keep: Option<usize>) -> Option<usize> {
        if let Some(index) = self.slots.iter().position(|slot| matches!(slot.used, Use::Free)) {
            return Some(index);
        }
        let index = self.least_recently_used(keep)?;
        self.spill(memory, index);
        Some(index)
    }

    fn least_recently_used(&self, keep: Option<usize>) -> Option<usize> {
        let kept = self.slots.iter().enumerate().filter_map(|(index, slot)| match slot.used {
            Use::Kept { used, .. } if Some(index) != keep => Some((used, index)),
            _ => None,
        });
        kept.min().map(|(_, index)| index)
    }

    fn share(&mut self, memory: &mut impl Memory, from: usize, to: usize, length: usize) {
        self.clock += 1;
        let now = self.clock;
        if let Use::Kept { used, .. } = &mut self.slots[from].used {
            *used = now;
        }
        memory.copy(seq_id(from), seq_id(to), length as u32);
        self.slots[to].held = self.cells.share(&self.slots[from].held, length);
        self.slots[to].tokens = self.slots[from].tokens[..length].to_vec();
    }

    /// Moves a kept prefix to host memory, or drops it where that is not worth it or there is no room.
    fn spill(&mut self, memory: &mut impl Memory, index: usize) {
        if let Use::Kept { owner, used } = std::mem::replace(&mut self.slots[index].used, Use::Free) {
            let tokens = std::mem::take(&mut self.slots[index].tokens);
            self.evictions += 1;
            if tokens.len() >= MIN_SPILLED && self.budget.spill_bytes > 0 {
                let state = memory.save(seq_id(index));
                self.spilled.extend(state.map(|state| Spilled { owner, tokens, state, used }));
            }
        }
        self.clear(memory, index);
        while self.spilled_bytes() > self.budget.spill_bytes {
            let oldest = self.spilled.iter().enumerate().min_by_key(|(_, spilled)| spilled.used);
            let Some((oldest, _)) = oldest else { return };
            self.spilled.swap_remove(oldest);
        }
    }

    fn clear(&mut self, memory: &mut impl Memory, index: usize) {
        memory.forget(seq_id(index), 0);
        self.slots[index].used = Use::Free;
        self.forget_from(index, 0);
    }

    fn forget_from(&mut self, index: usize, length: usize) {
        let slot = &mut self.slots[index];
        slot.tokens.truncate(length);
        self.cells.truncate(&mut slot.held, length);
    }
}

/// Where a prefix comes from, and how much of it is of use.
#[derive(Debug, Clone, Copy)]
enum Source {
    None,
    Slot { index: usize, length: usize },
    Spilled { index: usize, length: usize },
}

impl Source {
    fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::Slot { length, .. } | Self::Spilled { length, .. } => length,
        }
    }
}

fn seq_id(index: usize) -> SeqId {
    SeqId(index as u32)
}

#[cfg(test)]
mod tests;
