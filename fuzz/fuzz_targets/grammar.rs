//! GBNF: whatever it is, it becomes Lark or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|grammar: &str| drop(dunlin_nn::gbnf::to_lark(grammar)));
