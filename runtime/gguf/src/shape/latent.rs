use thiserror::Error;

use super::attention::Attention;
use super::{Keys, ShapeFault};

/// Architectures that compress keys and values of all heads into one row.
const LATENT: &[&str] = &["deepseek2", "deepseek2-ocr", "minicpm3", "mistral4", "plm"];

/// What is wrong with attention over compressed keys.
#[derive(Debug, Error)]
pub enum LatentFault {
    #[error("it has the length of uncompressed keys or values but not of both")]
    Half,
    #[error("layer {layer} has {kv_heads} key-value heads; over compressed keys it must be {expected}")]
    KvHeads { layer: usize, kv_heads: u32, expected: u32 },
    #[error(
        "its keys have {key} numbers and its values {value}; compressed to {rank} with {rotary} rotated they must have {rank} + {rotary} and {rank}"
    )]
    Lengths { key: u32, value: u32, rank: u32, rotary: u32 },
    #[error(
        "{rotary} of the {key} numbers of an uncompressed key are rotated, which leaves none to compress"
    )]
    Rotary { rotary: u32, key: u32 },
}

/// Checks compressed attention, and says whether values are recomputed from the keys that are kept.
///
/// The graph of `deepseek2.cpp` joins compressed and rotated numbers and stores them without a look at the sizes
/// that the cache was made for.
pub(super) fn check(keys: Keys<'_>, attention: &Attention) -> Result<bool, ShapeFault> {
    let key = keys.u32("attention.key_length_mla")?.unwrap_or(0);
    let value = keys.u32("attention.value_length_mla")?.unwrap_or(0);
    if (key == 0) != (value == 0) {
        return Err(LatentFault::Half.into());
    }
    let absorbed = key > 0;
    if !absorbed && !LATENT.contains(&keys.architecture) {
        return Ok(false);
    }
    check_heads(attention, absorbed)?;
    let first = attention.layers[0];
    let whole = if absorbed { key } else { first.key_length };
    if attention.rotary >= whole {
        return Err(LatentFault::Rotary { rotary: attention.rotary, key: whole }.into());
    }
    if absorbed {
        check_lengths(keys, attention)?;
    }
    Ok(absorbed)
}

/// One key serves all heads, or each has its own once they are uncompressed.
fn check_heads(attention: &Attention, absorbed: bool) -> Result<(), LatentFault> {
    for (layer, shape) in attention.layers.iter().enumerate() {
        let expected = if absorbed { 1 } else { shape.heads };
        if shape.kv_heads != 0 && shape.kv_heads != expected {
            return Err(LatentFault::KvHeads { layer, kv_heads: shape.kv_heads, expected });
        }
    }
    Ok(())
}

fn check_lengths(keys: Keys<'_>, attention: &Attention) -> Result<(), ShapeFault> {
    let rank = keys.required_u32("attention.kv_lora_rank")?;
    let rotary = attention.rotary;
    let (key, value) = (attention.layers[0].key_length, attention.layers[0].value_length);
    if rank.checked_add(rotary) != Some(key) || value != rank {
        return Err(LatentFault::Lengths { key, value, rank, rotary }.into());
    }
    Ok(())
}
