use thiserror::Error;

use super::{Keys, LayerShape, ShapeFault};
use crate::architecture::{MemoryKind, Traits};
use crate::metadata::KeyFault;
use crate::text::Quoted;

/// Largest size of a state space; the largest in the wild is 16,384.
const MAX_SIZE: u32 = 1 << 20;

/// What is wrong with the sizes of a recurrent state.
#[derive(Debug, Error)]
pub enum RecurrentFault {
    #[error("key {key} is {value}; 1 to {MAX_SIZE} can be")]
    Size { key: Quoted, value: u32 },
    #[error("key {key} is {value}, which does not divide the {whole} of {of}")]
    NotDivisible { key: Quoted, value: u32, whole: u32, of: &'static str },
    #[error("its inner size is {inner}, by its other sizes it must be {expected}")]
    Inner { inner: u64, expected: u64 },
    #[error("it shifts {count} tokens; llama.cpp computes {expected}")]
    TokenShift { count: u32, expected: u32 },
}

/// Gives each recurrent layer the size of its state, as `n_embd_r` and `n_embd_s` of llama.cpp count it.
pub(super) fn read(
    keys: Keys<'_>,
    traits: &Traits,
    layers: &mut [LayerShape],
    embedding: u32,
) -> Result<(), ShapeFault> {
    let recurrent = match traits.memory {
        MemoryKind::Recurrent => vec![true; layers.len()],
        MemoryKind::Hybrid => recurrent_layers(keys, layers)?,
        _ => return Ok(()),
    };
    let state = state(keys, &layers[0], embedding)?;
    for (layer, _) in layers.iter_mut().zip(recurrent).filter(|(_, recurrent)| *recurrent) {
        layer.state = state;
        if keys.architecture != BOTH_AT_ONCE {
            layer.kv_heads = 0;
        }
    }
    Ok(())
}

/// The architecture whose layers attend and are recurrent side by side.
const BOTH_AT_ONCE: &str = "falcon-h1";

/// Which layers of a hybrid are recurrent: listed, all but every so many, or those without key-value heads.
fn recurrent_layers(keys: Keys<'_>, layers: &[LayerShape]) -> Result<Vec<bool>, ShapeFault> {
    let interval = match keys.architecture {
        BOTH_AT_ONCE => return Ok(vec![true; layers.len()]),
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" => 4,
        "minimax-01" => 8,
        _ => return Ok(layers.iter().map(|layer| layer.kv_heads == 0).collect()),
    };
    if let Some(listed) = keys.per_layer("attention.recurrent_layers", layers.len() as u32)? {
        return Ok(listed.into_iter().map(|recurrent| recurrent != 0).collect());
    }
    let interval = keys.u32("full_attention_interval")?.unwrap_or(interval).max(1) as usize;
    Ok((1..=layers.len()).map(|layer| !layer.is_multiple_of(interval)).collect())
}

fn state(keys: Keys<'_>, first: &LayerShape, embedding: u32) -> Result<u64, ShapeFault> {
    let embedding_numbers = u64::from(embedding);
    if let Some(head) = size(keys, "wkv.head_size")? {
        return rwkv(keys, head, embedding);
    }
    if let Some(kept) = size(keys, "shortconv.l_cache")? {
        return Ok(embedding_numbers * u64::from(kept - 1));
    }
    if let Some(head) = size(keys, "kda.head_dim")? {
        let convolved = u64::from(size(keys, "ssm.conv_kernel")?.unwrap_or(4) - 1);
        let (head, heads) = (u64::from(head), u64::from(first.heads));
        return Ok(3 * convolved * heads * head + head * head * heads);
    }
    match keys.architecture {
        // One square matrix per head.
        "minimax-01" => Ok(u64::from(first.heads) * u64::from(first.key_length).pow(2)),
        // Its state follows from sizes that are not read here.
        "deepseek4" => Ok(0),
        _ => state_space(keys, embedding),
    }
}

fn rwkv(keys: Keys<'_>, head: u32, embedding: u32) -> Result<u64, ShapeFault> {
    if !embedding.is_multiple_of(head) {
        let key = Quoted::new(&keys.name("wkv.head_size"));
        return Err(
            RecurrentFault::NotDivisible { key, value: head, whole: embedding, of: "its embedding" }.into()
        );
    }
    // The graphs of RWKV proper shift two tokens, those grown out of Qwen one.
    let expected = if matches!(keys.architecture, "rwkv6" | "rwkv7") { 2 } else { 1 };
    let count = keys.u32("token_shift_count")?.unwrap_or(2);
    if count != expected {
        return Err(RecurrentFault::TokenShift { count, expected }.into());
    }
    Ok(u64::from(embedding) * u64::from(count) + u64::from(embedding) * u64::from(head))
}

fn state_space(keys: Keys<'_>, embedding: u32) -> Result<u64, ShapeFault> {
    let sizes = Sizes::read(keys)?;
    sizes.check(keys, embedding)?;
    let convolved = u64::from(sizes.inner) + 2 * u64::from(sizes.groups) * u64::from(sizes.state);
    Ok(u64::from(sizes.kernel - 1) * convolved + u64::from(sizes.inner) * u64::from(sizes.state))
}

/// The sizes of a state space, as Mamba has them.
struct Sizes {
    kernel: u32,
    inner: u32,
    state: u32,
    /// Heads, in all but the first Mamba.
    steps: u32,
    groups: u32,
}

impl Sizes {
    fn read(keys: Keys<'_>) -> Result<Self, ShapeFault> {
        let grouped = !matches!(keys.architecture, "jamba" | "mamba" | "plamo2");
        let groups = if grouped { required(keys, "ssm.group_count")? } else { 0 };
        Ok(Self {
            kernel: required(keys, "ssm.conv_kernel")?,
            inner: required(keys, "ssm.inner_size")?,
            state: required(keys, "ssm.state_size")?,
            steps: required(keys, "ssm.time_step_rank")?,
            groups,
        })
    }

    /// The divisions and assertions of `mamba-base.cpp`, `delta-net-base.cpp` and the graphs that use them.
    fn check(&self, keys: Keys<'_>, embedding: u32) -> Result<(), RecurrentFault> {
        if !matches!(keys.architecture, "jamba" | "mamba") {
            divides(keys, "ssm.time_step_rank", self.steps, self.inner, "the inner size")?;
        }
        if self.groups > 0 {
            divides(keys, "ssm.group_count", self.groups, self.steps, "the time step rank")?;
            divides(keys, "ssm.group_count", self.groups, self.inner, "the inner size")?;
        }
        let (inner, expected) = (
            u64::from(self.inner),
            match keys.architecture {
                "granitehybrid" | "jamba" | "mamba" => 2 * u64::from(embedding),
                "qwen35" | "qwen35moe" | "qwen3next" | "qwen4exp" => {
                    u64::from(self.state) * u64::from(self.steps)
                }
                _ => self.inner.into(),
            },
        );
        if inner == expected { Ok(()) } else { Err(RecurrentFault::Inner { inner, expected }) }
    }
}

fn divides(
    keys: Keys<'_>,
    key: &str,
    value: u32,
    whole: u32,
    of: &'static str,
) -> Result<(), RecurrentFault> {
    if whole.is_multiple_of(value) {
        return Ok(());
    }
    Err(RecurrentFault::NotDivisible { key: Quoted::new(&keys.name(key)), value, whole, of })
}

fn required(keys: Keys<'_>, key: &str) -> Result<u32, ShapeFault> {
    size(keys, key)?.ok_or_else(|| KeyFault::Missing { key: Quoted::new(&keys.name(key)) }.into())
}

fn size(keys: Keys<'_>, key: &str) -> Result<Option<u32>, ShapeFault> {
    match keys.u32(key)? {
        Some(value) if !(1..=MAX_SIZE).contains(&value) => {
            Err(RecurrentFault::Size { key: Quoted::new(&keys.name(key)), value }.into())
        }
        value => Ok(value),
    }
}
