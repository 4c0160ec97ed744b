//! Ten thousand damaged files: each is opened or refused, none makes the reader panic, hang or grow.

#![allow(clippy::unwrap_used, reason = "helpers of tests, to which clippy.toml's exception does not reach")]

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use dunlin_gguf::{Gguf, GgufWriter, corpus};

const MUTANTS: u64 = 10_000;
const MAX_TIME: Duration = Duration::from_secs(2);

/// Numbers at which lengths, counts and sizes go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    7,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// SplitMix64, so that a seed in a failure's message is all that it takes to see it again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn no_damage_is_too_much() {
    let workers = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let opened: u64 = thread::scope(|scope| {
        let start = |worker| scope.spawn(move || opened(worker, workers));
        let started: Vec<_> = (0..workers).map(start).collect();
        started.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let refused = MUTANTS - opened;
    // Both happen, so the damage is neither too little nor too much to tell anything.
    assert!(opened > MUTANTS / 50 && refused > MUTANTS / 4, "{opened} opened, {refused} refused");
}

/// How many of the mutants `first`, `first + step`, ... are opened.
fn opened(first: u64, step: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutant.gguf");
    let sound = corpus::sound();
    let mut opened = 0;
    for seed in (first..MUTANTS).step_by(step as usize) {
        fs::write(&path, mutant(&sound, &mut Random(seed))).unwrap();
        opened += u64::from(verdict(&path, seed));
    }
    opened
}

fn verdict(path: &Path, seed: u64) -> bool {
    let start = Instant::now();
    let result = Gguf::open(path);
    let took = start.elapsed();
    assert!(took <= MAX_TIME, "seed {seed} took {took:?}");
    if let Err(error) = &result {
        let sentence = error.to_string();
        assert!(
            sentence.len() < 1_000 && !sentence.chars().any(char::is_control),
            "seed {seed}: {sentence:?}"
        );
    }
    result.is_ok()
}

fn mutant(sound: &GgufWriter, random: &mut Random) -> Vec<u8> {
    let mut writer = sound.clone();
    if random.below(2) == 0 {
        damage_fields(&mut writer, random);
    }
    let header = writer.header().len();
    let mut bytes = writer.bytes();
    if random.below(2) == 0 {
        damage_bytes(&mut bytes, header, random);
    }
    bytes
}

fn damage_fields(writer: &mut GgufWriter, random: &mut Random) {
    let edge = EDGES[random.below(EDGES.len())];
    let pair = random.below(writer.pairs.len());
    let tensor = random.below(writer.tensors.len());
    match random.below(8) {
        0 => drop(writer.pairs.remove(pair)),
        1 => writer.pairs.push(writer.pairs[pair].clone()),
        2 => writer.pairs[pair].kind = edge as u32 % 14,
        3 => overwrite(&mut writer.pairs[pair].payload, edge, random),
        4 => writer.tensors[tensor].dimensions[0] = edge,
        5 => writer.tensors[tensor].kind = edge as u32 % 45,
        6 => writer.tensors[tensor].dimensions.push(edge),
        _ => writer.tensors.swap(tensor, 0),
    }
}

fn overwrite(payload: &mut [u8], edge: u64, random: &mut Random) {
    let number = edge.to_le_bytes();
    let at = random.below(payload.len());
    let count = (payload.len() - at).min(number.len());
    payload[at..at + count].copy_from_slice(&number[..count]);
}

fn damage_bytes(bytes: &mut Vec<u8>, header: usize, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(header);
        bytes[at] = random.next() as u8;
    }
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
}
