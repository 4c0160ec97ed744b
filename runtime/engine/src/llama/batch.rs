//! What one step computes.

use dunlin_engine_handle::Token;
use llama_cpp_sys_2 as sys;

use super::SeqId;

/// One token of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub seq: SeqId,
    pub token: Token,
    pub position: u32,
    /// Its logits (or embedding) are wanted.
    pub output: bool,
}

/// The rows of one step, in the layout that llama.cpp reads. Reused from step to step.
#[derive(Debug, Default)]
pub struct Batch {
    rows: Vec<Row>,
    tokens: Vec<i32>,
    positions: Vec<i32>,
    sequences: Vec<i32>,
    sequence_counts: Vec<i32>,
    sequence_lists: Vec<*mut i32>,
    outputs: Vec<i8>,
}

// SAFETY: the pointers in `sequence_lists` are written and read within `raw`'s borrow only.
unsafe impl Send for Batch {}

impl Batch {
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// llama.cpp's view of the rows, valid while `self` is not touched.
    pub(super) fn raw(&mut self) -> sys::llama_batch {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
        for row in &self.rows {
            self.tokens.push(row.token as i32);
            self.positions.push(row.position as i32);
            self.sequences.push(row.seq.0 as i32);
            self.outputs.push(i8::from(row.output));
        }
        self.sequence_counts.resize(self.rows.len().max(self.sequence_counts.len()), 1);
        self.sequence_lists.clear();
        self.sequence_lists.extend(self.sequences.iter_mut().map(std::ptr::from_mut));
        sys::llama_batch {
            n_tokens: self.rows.len() as i32,
            token: self.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.sequence_counts.as_mut_ptr(),
            seq_id: self.sequence_lists.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}
