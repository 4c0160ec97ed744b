//! How long each operator takes, in engines that were started to find out.
//!
//! The backend scheduler of ggml then computes one node at a time and calls before and after each. That costs a start and an
//! end of the threads for every node; what it costs is known from nodes that compute nothing, as views.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_void},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use dunlin_engine_handle::{OperatorKind, OperatorTime, OperatorTimes, StepKind};
use llama_cpp_sys_2 as sys;

/// Operators that are told apart: ggml has some hundred.
const MAX_OPERATORS: usize = 1024;
/// Nodes that compute nothing whose times are kept.
const MAX_EMPTIES: usize = 4096;

/// Sums up what operators take. Only the thread that decodes has to do with it, so nobody waits for the lock.
#[derive(Debug, Default)]
pub(super) struct OperatorTimer(Mutex<Timings>);

#[derive(Debug, Default)]
struct Timings {
    step: Option<StepKind>,
    /// When the node that is computed began.
    began: Option<Instant>,
    /// By the kind of step, what it is for, and the address of its name, which is static.
    operators: BTreeMap<(StepKind, OperatorKind, usize), OperatorTime>,
    empty_ns: Vec<u64>,
    empties: u64,
}

impl OperatorTimer {
    /// A step of this kind begins.
    pub(super) fn begin(&self, step: StepKind) {
        self.timings(|timings| timings.step = Some(step));
    }

    pub(super) fn times(&self) -> OperatorTimes {
        self.timings(|timings| {
            let mut empty = timings.empty_ns.clone();
            empty.sort_unstable();
            OperatorTimes {
                operators: timings.operators.values().cloned().collect(),
                empty_ns: empty.get(empty.len() / 2).copied().unwrap_or(0),
                empties: timings.empties,
            }
        })
    }

    fn timings<T>(&self, use_them: impl FnOnce(&mut Timings) -> T) -> T {
        use_them(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Called by ggml before a node is computed (`ask`), and after. Each is to be computed by itself, and the step goes on.
pub(super) unsafe extern "C" fn observe(node: *mut sys::ggml_tensor, ask: bool, timer: *mut c_void) -> bool {
    // SAFETY: `Context::new` passes a timer that the context keeps alive; ggml passes a node of the graph that it computes,
    // and computes nothing meanwhile.
    let (node, timer) = unsafe { (&*node, &*timer.cast::<OperatorTimer>()) };
    timer.timings(|timings| {
        if ask {
            timings.began = Some(Instant::now());
        } else if let Some(began) = timings.began.take() {
            timings.add(node, began.elapsed().as_nanos() as u64);
        }
    });
    true
}

impl Timings {
    fn add(&mut self, node: &sys::ggml_tensor, ns: u64) {
        if is_empty(node.op) {
            self.empties += 1;
            if self.empty_ns.len() < MAX_EMPTIES {
                self.empty_ns.push(ns);
            }
            return;
        }
        // SAFETY: a node of a graph; its operator has a name in static storage.
        let name = unsafe { sys::ggml_op_desc(node) };
        let (Some(step), false) = (self.step, name.is_null()) else { return };
        let kind = kind(node);
        let key = (step, kind, name as usize);
        if self.operators.len() >= MAX_OPERATORS && !self.operators.contains_key(&key) {
            return;
        }
        let sum = self.operators.entry(key).or_insert_with(|| {
            // SAFETY: not null, NUL-terminated, static.
            let operator = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
            OperatorTime { operator, kind, step, calls: 0, total_ns: 0 }
        });
        sum.calls += 1;
        sum.total_ns += ns;
    }
}

/// Says how bytes that are there are to be seen.
const fn is_empty(op: sys::ggml_op) -> bool {
    matches!(
        op,
        sys::GGML_OP_NONE
            | sys::GGML_OP_RESHAPE
            | sys::GGML_OP_VIEW
            | sys::GGML_OP_PERMUTE
            | sys::GGML_OP_TRANSPOSE
    )
}

fn kind(node: &sys::ggml_tensor) -> OperatorKind {
    match node.op {
        sys::GGML_OP_FLASH_ATTN_EXT => OperatorKind::Attention,
        // Without the fused operator: llama.cpp names these nodes `kq`, `kq_soft_max` and `kqv`, and a layer.
        sys::GGML_OP_MUL_MAT | sys::GGML_OP_SOFT_MAX if is_of_attention(node) => OperatorKind::Attention,
        sys::GGML_OP_MUL_MAT | sys::GGML_OP_MUL_MAT_ID | sys::GGML_OP_OUT_PROD => OperatorKind::MatrixProduct,
        sys::GGML_OP_NORM | sys::GGML_OP_RMS_NORM | sys::GGML_OP_GROUP_NORM | sys::GGML_OP_L2_NORM => {
            OperatorKind::Norm
        }
        sys::GGML_OP_ADD
        | sys::GGML_OP_ADD_ID
        | sys::GGML_OP_ADD1
        | sys::GGML_OP_SUB
        | sys::GGML_OP_MUL
        | sys::GGML_OP_DIV
        | sys::GGML_OP_SQR
        | sys::GGML_OP_SQRT
        | sys::GGML_OP_LOG
        | sys::GGML_OP_SIN
        | sys::GGML_OP_COS
        | sys::GGML_OP_SCALE
        | sys::GGML_OP_CLAMP
        | sys::GGML_OP_ROPE
        | sys::GGML_OP_LEAKY_RELU
        | sys::GGML_OP_SOFT_MAX
        | sys::GGML_OP_UNARY
        | sys::GGML_OP_GLU => OperatorKind::ElementWise,
        sys::GGML_OP_DUP
        | sys::GGML_OP_CPY
        | sys::GGML_OP_CONT
        | sys::GGML_OP_SET
        | sys::GGML_OP_REPEAT
        | sys::GGML_OP_CONCAT
        | sys::GGML_OP_PAD
        | sys::GGML_OP_ROLL
        | sys::GGML_OP_GET_ROWS
        | sys::GGML_OP_SET_ROWS => OperatorKind::Copy,
        _ => OperatorKind::Other,
    }
}

fn is_of_attention(node: &sys::ggml_tensor) -> bool {
    node.name[0] as u8 == b'k' && node.name[1] as u8 == b'q'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: sys::ggml_op, name: &[u8]) -> sys::ggml_tensor {
        // SAFETY: numbers and pointers, for which zeros are values.
        let mut node: sys::ggml_tensor = unsafe { std::mem::zeroed() };
        node.op = op;
        for (to, from) in node.name.iter_mut().zip(name) {
            *to = from.cast_signed() as _;
        }
        node
    }

    #[test]
    fn a_node_is_of_the_kind_that_its_operator_is_for() {
        let check = |op, name: &[u8], expected| assert_eq!(kind(&node(op, name)), expected);
        check(sys::GGML_OP_MUL_MAT, b"ffn_up-3", OperatorKind::MatrixProduct);
        check(sys::GGML_OP_MUL_MAT, b"kqv-3", OperatorKind::Attention);
        check(sys::GGML_OP_SOFT_MAX, b"kq_soft_max-3", OperatorKind::Attention);
        check(sys::GGML_OP_SOFT_MAX, b"ffn_moe_probs-3", OperatorKind::ElementWise);
        check(sys::GGML_OP_FLASH_ATTN_EXT, b"", OperatorKind::Attention);
        check(sys::GGML_OP_RMS_NORM, b"attn_norm-3", OperatorKind::Norm);
        check(sys::GGML_OP_SET_ROWS, b"cache_k_l3", OperatorKind::Copy);
        check(sys::GGML_OP_SSM_SCAN, b"", OperatorKind::Other);
    }

    #[test]
    fn times_are_summed_by_operator_and_step_and_what_computes_nothing_apart() {
        let timer = OperatorTimer::default();
        for (step, ns) in [(StepKind::Prefill, 500), (StepKind::Decode, 20), (StepKind::Decode, 30)] {
            timer.begin(step);
            timer.timings(|timings| {
                timings.add(&node(sys::GGML_OP_MUL_MAT, b"x"), ns);
                timings.add(&node(sys::GGML_OP_VIEW, b""), ns / 10);
            });
        }
        let times = timer.times();
        let told: Vec<_> = times.operators.iter().map(|of| (of.step, of.calls, of.total_ns)).collect();
        assert_eq!(told, [(StepKind::Prefill, 1, 500), (StepKind::Decode, 2, 50)]);
        assert_eq!((times.operators[0].operator.as_str(), times.empties, times.empty_ns), ("MUL_MAT", 3, 3));
    }
}
