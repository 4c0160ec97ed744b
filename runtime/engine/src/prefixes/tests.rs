use std::collections::HashMap;

use super::*;

/// A KV cache that remembers tokens themselves.
#[derive(Default)]
struct Tokens {
    sequences: HashMap<SeqId, Vec<Token>>,
    saves: usize,
}

impl Memory for Tokens {
    fn copy(&mut self, from: SeqId, to: SeqId, length: u32) {
        let shared = self.sequences[&from][..length as usize].to_vec();
        assert!(
            self.sequences.insert(to, shared).is_none_or(|old| old.is_empty()),
            "copied over a live sequence"
        );
    }

    fn forget(&mut self, seq: SeqId, from: u32) -> bool {
        self.sequences.entry(seq).or_default().truncate(from as usize);
        true
    }

    fn save(&mut self, seq: SeqId) -> Option<Vec<u8>> {
        self.saves += 1;
        Some(self.sequences[&seq].iter().flat_map(|token| token.to_le_bytes()).collect())
    }

    fn restore(&mut self, seq: SeqId, state: &[u8]) -> bool {
        let tokens = state.as_chunks().0.iter().map(|bytes| Token::from_le_bytes(*bytes)).collect();
        assert!(
            self.sequences.insert(seq, tokens).is_none_or(|old| old.is_empty()),
            "restored over a live sequence"
        );
        true
    }
}

struct Rig {
    prefixes: Prefixes,
    memory: Tokens,
}

impl Rig {
    fn new(sequences: u32, cells: u32, budget: Budget) -> Self {
        Self { prefixes: Prefixes::new(sequences, cells, budget, true), memory: Tokens::default() }
    }

    fn read(&mut self, seq: SeqId, tokens: &[Token]) -> bool {
        let fits = self.prefixes.extend(seq, tokens);
        if fits {
            self.memory.sequences.entry(seq).or_default().extend_from_slice(tokens);
        }
        fits
    }

    /// Runs a prompt to its end; how much of it was cached.
    fn run(&mut self, tenant: &str, prompt: &[Token]) -> u32 {
        self.run_as(&Owner::new(tenant, 0), prompt)
    }

    fn run_as(&mut self, owner: &Owner, prompt: &[Token]) -> u32 {
        let admitted = self.prefixes.admit(&mut self.memory, owner, prompt, 0).unwrap();
        assert!(self.read(admitted.seq, &prompt[admitted.cached as usize..]));
        self.prefixes.release(&mut self.memory, admitted.seq);
        admitted.cached
    }

    fn check(&self) {
        for (index, slot) in self.prefixes.slots.iter().enumerate() {
            let real = self.memory.sequences.get(&seq_id(index)).cloned().unwrap_or_default();
            assert_eq!(real, slot.tokens, "slot {index}");
            assert_eq!(slot.held.len(), slot.tokens.len(), "slot {index}");
        }
    }
}

const ROOMY: Budget = Budget { idle_cells: 1000, spill_bytes: 1 << 20 };

fn text(range: std::ops::Range<u32>) -> Vec<Token> {
    range.collect()
}

#[test]
fn a_prompt_that_goes_on_takes_its_prefix_over() {
    let mut rig = Rig::new(4, 1000, ROOMY);
    assert_eq!(rig.run("a", &text(0..100)), 0);
    assert_eq!(rig.run("a", &text(0..150)), 100);
    assert_eq!(rig.prefixes.used_cells(), 150);
    assert_eq!(rig.run("a", &text(0..150)), 149, "the last token is always computed");
    rig.check();
}

#[test]
fn prompts_that_part_share_the_cells_of_what_they_have_in_common() {
    let mut rig = Rig::new(4, 1000, ROOMY);
    rig.run("a", &text(0..100));
    let other: Vec<Token> = (0..60).chain(500..540).collect();
    assert_eq!(rig.run("a", &other), 60);
    assert_eq!(rig.prefixes.used_cells(), 140);
    rig.check();
}

#[test]
fn prefixes_never_cross_tenants() {
    let mut rig = Rig::new(4, 1000, Budget { idle_cells: 0, ..ROOMY });
    rig.run("a", &text(0..100));
    assert_eq!(rig.prefixes.cached(&Owner::new("b", 0), &text(0..100)), 0);
    rig.prefixes.trim(&mut rig.memory, 9);
    assert_eq!(rig.prefixes.cached(&Owner::new("b", 0), &text(0..100)), 0);
    assert_eq!(rig.run("b", &text(0..100)), 0);
}

#[test]
fn what_both_tenants_call_public_is_shared_and_no_more() {
    let public = |tenant| Owner::new(tenant, 50);
    for idle_cells in [1000, 0] {
        let mut rig = Rig::new(4, 1000, Budget { idle_cells, ..ROOMY });
        rig.run_as(&public("a"), &text(0..100));
        rig.prefixes.trim(&mut rig.memory, 9);
        assert_eq!(rig.prefixes.cached(&Owner::new("b", 0), &text(0..100)), 0, "b calls nothing public");
        // What was moved out moves as a whole, and a part of it is a's own.
        let shared = if idle_cells > 0 { 50 } else { 0 };
        assert_eq!(rig.prefixes.cached(&public("b"), &text(0..100)), shared);
        assert_eq!(rig.prefixes.cached(&Owner::new("b", 20), &text(0..100)), shared.min(20));
        assert_eq!(rig.run_as(&public("b"), &text(0..100)), shared as u32);
        assert_eq!(rig.run("a", &text(0..100)), 99, "a still has its own");
        rig.check();
    }
}

#[test]
fn a_public_prefix_survives_its_move_to_host_memory() {
    let mut rig = Rig::new(4, 1000, Budget { idle_cells: 0, ..ROOMY });
    let all = |tenant| Owner::new(tenant, 100);
    rig.run_as(&all("a"), &text(0..100));
    rig.prefixes.trim(&mut rig.memory, 9);
    assert_eq!(rig.prefixes.cells.used(), 0);
    assert_eq!(rig.run_as(&all("b"), &text(0..150)), 100);
    rig.check();
}

#[test]
fn prefixes_beyond_the_budget_are_spilled_and_come_back() {
    let mut rig = Rig::new(4, 1000, Budget { idle_cells: 0, ..ROOMY });
    let running = rig.prefixes.admit(&mut rig.memory, &Owner::new("b", 0), &text(0..100), 0).unwrap().seq;
    rig.read(running, &text(0..100));
    rig.run("a", &text(0..100));
    rig.prefixes.trim(&mut rig.memory, 9);
    assert_eq!(rig.memory.saves, 0, "what fits into a block costs nothing");
    rig.run("a", &text(500..600));
    rig.prefixes.trim(&mut rig.memory, 9);
    assert_eq!((rig.prefixes.idle_cells(), rig.memory.saves), (100, 1));
    assert_eq!((rig.prefixes.spilled_bytes(), rig.prefixes.evictions()), (400, 1));
    let other: Vec<Token> = (0..70).chain(900..930).collect();
    assert_eq!(rig.run("a", &other), 70);
    assert_eq!(rig.prefixes.spilled_bytes(), 0);
    rig.check();
}

#[test]
fn the_spill_drops_its_oldest() {
    let mut rig = Rig::new(4, 1000, Budget { idle_cells: 0, spill_bytes: 1000 });
    for start in [0, 1000, 2000] {
        rig.run("a", &text(start..start + 100));
        rig.prefixes.trim(&mut rig.memory, 9);
    }
    assert_eq!(rig.prefixes.spilled_bytes(), 800);
    assert_eq!(rig.prefixes.cached(&Owner::new("a", 0), &text(0..100)), 0);
    assert_eq!(rig.prefixes.cached(&Owner::new("a", 0), &text(2000..2100)), 99);
}

#[test]
fn a_prompt_that_does_not_fit_evicts_kept_prefixes_but_never_running_ones() {
    let mut rig = Rig::new(4, 200, ROOMY);
    rig.run("a", &text(0..100));
    let running = rig.prefixes.admit(&mut rig.memory, &Owner::new("a", 0), &text(500..600), 0).unwrap();
    assert!(rig.read(running.seq, &text(500..600)));
    let admitted = rig.prefixes.admit(&mut rig.memory, &Owner::new("a", 0), &text(900..990), 5).unwrap();
    assert!(rig.read(admitted.seq, &text(900..990)));
    assert_eq!(
        rig.prefixes.admit(&mut rig.memory, &Owner::new("a", 0), &text(300..390), 5),
        Err(Full::Cells)
    );
    rig.check();
}

#[test]
fn sequences_run_out_before_cells() {
    let mut rig = Rig::new(2, 1000, ROOMY);
    for start in [0, 100] {
        rig.prefixes.admit(&mut rig.memory, &Owner::new("a", 0), &text(start..start + 10), 0).unwrap();
    }
    assert_eq!(
        rig.prefixes.admit(&mut rig.memory, &Owner::new("a", 0), &text(200..210), 0),
        Err(Full::Sequences)
    );
}

#[test]
fn a_model_that_cannot_forget_a_part_reuses_whole_prefixes_only() {
    let mut rig = Rig::new(4, 1000, ROOMY);
    rig.prefixes.partial = false;
    rig.run("a", &text(0..100));
    assert_eq!(rig.run("a", &text(0..90)), 0);
    assert_eq!(rig.run("a", &text(0..120)), 100);
    rig.check();
}

#[test]
fn branches_share_and_part() {
    let mut rig = Rig::new(4, 1000, ROOMY);
    let trunk = rig.prefixes.admit(&mut rig.memory, &Owner::new("a", 0), &text(0..50), 10).unwrap().seq;
    rig.read(trunk, &text(0..50));
    let branch = rig.prefixes.branch(&mut rig.memory, trunk).unwrap();
    rig.read(branch, &[7, 8]);
    assert_eq!(rig.prefixes.used_cells(), 52);
    rig.prefixes.discard(&mut rig.memory, branch);
    assert_eq!(rig.prefixes.used_cells(), 50);
    rig.check();
}

/// Whatever happens, the books agree with the cache, and every prompt is read whole.
#[test]
fn the_books_agree_with_the_cache_through_random_use() {
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut rig = Rig::new(6, 700, Budget { idle_cells: 200, spill_bytes: 2000 });
    let mut running: Vec<(SeqId, Vec<Token>)> = Vec::new();
    for _ in 0..5000 {
        match random(4) {
            0 | 1 => {
                let shared = random(3) as u32 * 1000;
                let prompt: Vec<Token> = (shared..shared + 20 + random(100) as u32)
                    .chain((0..random(40)).map(|_| random(5) as u32))
                    .collect();
                let tenant = ["a", "b"][random(2)];
                if let Ok(admitted) = rig.prefixes.admit(&mut rig.memory, &Owner::new(tenant, 0), &prompt, 4)
                {
                    assert_eq!(rig.prefixes.tokens(admitted.seq), &prompt[..admitted.cached as usize]);
                    assert!(rig.read(admitted.seq, &prompt[admitted.cached as usize..]));
                    running.push((admitted.seq, prompt));
                }
            }
            2 if !running.is_empty() => {
                let (seq, prompt) = running.swap_remove(random(running.len()));
                assert_eq!(rig.prefixes.tokens(seq), prompt);
                rig.prefixes.release(&mut rig.memory, seq);
            }
            _ => rig.prefixes.trim(&mut rig.memory, 1),
        }
        rig.check();
        assert!(rig.prefixes.spilled_bytes() <= 2000);
        assert_eq!(rig.prefixes.used_cells() + rig.prefixes.free_cells(), 700);
    }
}
