use thiserror::Error;

use super::{Keys, LayerShape, ShapeFault};
use crate::architecture::{MemoryKind, Traits, Windows};
use crate::metadata::KeyFault;
use crate::text::Quoted;
use crate::value::Value;

/// Heads of one layer; the most in the wild are 128.
const MAX_HEADS: u32 = 4096;

/// Numbers in the key or value of one head; the most in the wild are 576.
const MAX_HEAD_LENGTH: u32 = 8192;

/// Tokens of a sliding window; llama.cpp multiplies it by up to 256 sequences in 32 bits.
const MAX_WINDOW: u32 = 1 << 22;

/// Layers from which Gemma 3n borrows keys and values are below this one.
const GEMMA3N_OWN_LAYERS: u32 = 20;

/// What is wrong with heads, their sizes and the layers they sit in.
#[derive(Debug, Error)]
pub enum HeadFault {
    #[error("layer {layer} has {heads} attention heads; 1 to {MAX_HEADS} can be")]
    Count { layer: usize, heads: u32 },
    #[error("layer {layer} has {kv_heads} key-value heads, which do not divide its {heads} heads")]
    KvCount { layer: usize, heads: u32, kv_heads: u32 },
    #[error("key {key} differs from layer to layer, which llama.cpp cannot compute for {architecture}")]
    NotUniform { key: Quoted, architecture: Quoted },
    #[error("its embedding length {embedding} is no multiple of its {heads} heads")]
    NotDivisible { embedding: u32, heads: u32 },
    #[error("key {key} is {length}; 1 to {MAX_HEAD_LENGTH} can be")]
    Length { key: Quoted, length: u32 },
    #[error(
        "its keys have {key} numbers a head and its values {value}, for {architecture} they must be as many"
    )]
    KeyIsNotValue { key: u32, value: u32, architecture: Quoted },
    #[error(
        "{rotary} numbers of a head are rotated: that must be even, above 0 and at most the {key} of its key"
    )]
    Rotary { rotary: u32, key: u32 },
    #[error("{rotary} of the {key} numbers of a head are rotated, for {architecture} it must be all of them")]
    RotaryIsNotHead { rotary: u32, key: u32, architecture: Quoted },
    #[error("its sliding window is {window} tokens, more than {MAX_WINDOW}")]
    Window { window: u32 },
    #[error("its sliding window is {window} tokens but no layer uses it, on which llama.cpp aborts")]
    WindowUnused { window: u32 },
    #[error(
        "its layers from number {own} on borrow keys and values, but the two before them are not one of each kind"
    )]
    Borrowed { own: u32 },
}

/// Attention of all layers.
pub(super) struct Attention {
    pub(super) layers: Vec<LayerShape>,
    /// Numbers of a head that are rotated.
    pub(super) rotary: u32,
    /// Tokens that windowed layers keep; `None` where no layer is windowed.
    pub(super) window: Option<u32>,
}

/// Architectures whose graphs ask for the heads of each layer; the others use those of the first for all.
const HEADS_PER_LAYER: &[&str] = &[
    "bailingmoe3",
    "deci",
    "dots3note",
    "gemma4",
    "glm5-next",
    "granite",
    "granite_swa",
    "granitehybrid",
    "graniteswitch",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "laguna",
    "lfm2",
    "lfm2moe",
    "mimo2",
    "nanbeige",
    "nemotron_h",
    "nemotron_h_moe",
    "openelm",
    "plamo2",
    "plamo3",
    "spark2_5",
    "step35",
];

pub(super) fn read(
    keys: Keys<'_>,
    traits: &Traits,
    count: u32,
    embedding: u32,
) -> Result<Attention, ShapeFault> {
    let heads = heads(keys, traits, count)?;
    let kv_heads = keys.per_layer("attention.head_count_kv", count)?.unwrap_or_else(|| heads.clone());
    check_counts(keys, traits, &heads, &kv_heads)?;
    let (key_length, value_length) = lengths(keys, traits, &heads, embedding)?;
    let rotary = rotary(keys, traits, key_length)?;
    let mut layers: Vec<LayerShape> = heads
        .iter()
        .zip(&kv_heads)
        .map(|(heads, kv_heads)| LayerShape {
            heads: *heads,
            kv_heads: *kv_heads,
            key_length,
            value_length,
            ..LayerShape::default()
        })
        .collect();
    let window = mark_windows(keys, traits, &mut layers)?;
    mark_borrowers(keys, &mut layers)?;
    Ok(Attention { layers, rotary, window })
}

fn heads(keys: Keys<'_>, traits: &Traits, count: u32) -> Result<Vec<u32>, ShapeFault> {
    let key = "attention.head_count";
    match keys.per_layer(key, count)? {
        Some(heads) => Ok(heads),
        None if traits.memory == MemoryKind::Recurrent => Ok(vec![0; count as usize]),
        None => Err(KeyFault::Missing { key: Quoted::new(&keys.name(key)) }.into()),
    }
}

fn check_counts(keys: Keys<'_>, traits: &Traits, heads: &[u32], kv_heads: &[u32]) -> Result<(), HeadFault> {
    let per_layer = HEADS_PER_LAYER.contains(&keys.architecture);
    let may_lack = per_layer || matches!(traits.memory, MemoryKind::Recurrent | MemoryKind::Hybrid);
    for (layer, (heads, kv_heads)) in heads.iter().copied().zip(kv_heads.iter().copied()).enumerate() {
        if heads > MAX_HEADS || (heads == 0 && !may_lack) {
            return Err(HeadFault::Count { layer, heads });
        }
        let lacks = kv_heads == 0 && may_lack;
        if !lacks && (kv_heads == 0 || heads % kv_heads != 0) {
            return Err(HeadFault::KvCount { layer, heads, kv_heads });
        }
    }
    for (key, counts) in [("attention.head_count", heads), ("attention.head_count_kv", kv_heads)] {
        if !may_lack && counts.iter().any(|count| *count != counts[0]) {
            return Err(not_uniform(keys, key));
        }
    }
    Ok(())
}

fn not_uniform(keys: Keys<'_>, key: &str) -> HeadFault {
    HeadFault::NotUniform { key: Quoted::new(&keys.name(key)), architecture: keys.architecture.into() }
}

/// Numbers in a key and in a value of one head.
fn lengths(keys: Keys<'_>, traits: &Traits, heads: &[u32], embedding: u32) -> Result<(u32, u32), ShapeFault> {
    // llama.cpp takes them from the first layer, and 0 where that does not attend.
    if heads[0] == 0 {
        return Ok((0, 0));
    }
    let key = length(keys, "attention.key_length", heads[0], embedding)?;
    let value = length(keys, "attention.value_length", heads[0], embedding)?;
    if traits.key_is_value && key != value {
        let architecture = keys.architecture.into();
        return Err(HeadFault::KeyIsNotValue { key, value, architecture }.into());
    }
    Ok((key, value))
}

fn length(keys: Keys<'_>, key: &str, heads: u32, embedding: u32) -> Result<u32, ShapeFault> {
    match stated_length(keys, key)? {
        Some(length) => Ok(length),
        None if embedding.is_multiple_of(heads) => Ok(embedding / heads),
        None => Err(HeadFault::NotDivisible { embedding, heads }.into()),
    }
}

fn stated_length(keys: Keys<'_>, key: &str) -> Result<Option<u32>, ShapeFault> {
    match keys.u32(key)? {
        Some(length) if !(1..=MAX_HEAD_LENGTH).contains(&length) => {
            Err(HeadFault::Length { key: Quoted::new(&keys.name(key)), length }.into())
        }
        length => Ok(length),
    }
}

fn rotary(keys: Keys<'_>, traits: &Traits, key: u32) -> Result<u32, ShapeFault> {
    let stated = keys.u32("rope.dimension_count")?;
    let rotary = stated.unwrap_or(key);
    if traits.rotary_is_head && rotary != key {
        let architecture = keys.architecture.into();
        return Err(HeadFault::RotaryIsNotHead { rotary, key, architecture }.into());
    }
    if key > 0 && (stated.is_some() || traits.rotary_is_head) {
        check_rotary(rotary, key)?;
    }
    Ok(rotary)
}

fn check_rotary(rotary: u32, key: u32) -> Result<(), HeadFault> {
    // At 0 ggml goes round for ever.
    if rotary == 0 || !rotary.is_multiple_of(2) || rotary > key {
        Err(HeadFault::Rotary { rotary, key })
    } else {
        Ok(())
    }
}

/// Marks the layers that keep a window of tokens, and returns its size.
fn mark_windows(
    keys: Keys<'_>,
    traits: &Traits,
    layers: &mut [LayerShape],
) -> Result<Option<u32>, ShapeFault> {
    let Some(windows) = traits.windows else { return Ok(None) };
    let stated = keys.u32("attention.sliding_window")?;
    let window = match stated {
        Some(0) => 0,
        _ if windows.fixed => windows.default,
        stated => stated.unwrap_or(windows.default),
    };
    if window == 0 {
        return Ok(None);
    }
    if window > MAX_WINDOW {
        return Err(HeadFault::Window { window }.into());
    }
    let pattern = pattern(keys, windows, layers.len())?;
    if !pattern.contains(&true) {
        return Err(HeadFault::WindowUnused { window }.into());
    }
    let (key, value) = window_lengths(keys, &layers[0])?;
    for (layer, _) in layers.iter_mut().zip(pattern).filter(|(_, windowed)| *windowed) {
        (layer.windowed, layer.key_length, layer.value_length) = (true, key, value);
    }
    Ok(Some(window))
}

/// Numbers in a key and in a value of one head of windowed layers, those of the others unless the file says so.
fn window_lengths(keys: Keys<'_>, others: &LayerShape) -> Result<(u32, u32), ShapeFault> {
    let key = stated_length(keys, "attention.key_length_swa")?.unwrap_or(others.key_length);
    let value = stated_length(keys, "attention.value_length_swa")?.unwrap_or(others.value_length);
    let rotary = keys.u32("rope.dimension_count_swa")?.or(keys.u32("rope.dimension_count")?);
    check_rotary(rotary.unwrap_or(key), key)?;
    Ok((key, value))
}

/// Which layers are windowed: listed one by one, or every so many as `set_swa_pattern` of llama.cpp has it.
fn pattern(keys: Keys<'_>, windows: Windows, layers: usize) -> Result<Vec<bool>, ShapeFault> {
    let key = keys.name("attention.sliding_window_pattern");
    let period = match keys.metadata.value(&key) {
        Some(Value::Array(_)) => {
            let listed = keys.metadata.per_layer(&key, layers as u32)?.unwrap_or_default();
            return Ok(listed.into_iter().map(|windowed| windowed != 0).collect());
        }
        _ => keys.metadata.u32(&key)?.unwrap_or(windows.period) as usize,
    };
    let windowed = |layer: usize| match period {
        0 => true,
        _ if windows.dense_first => !layer.is_multiple_of(period),
        _ => layer % period < period - 1,
    };
    Ok((0..layers).map(windowed).collect())
}

/// Gemma's last layers read the keys and values of the last two before them, one of each kind.
fn mark_borrowers(keys: Keys<'_>, layers: &mut [LayerShape]) -> Result<(), ShapeFault> {
    let count = layers.len() as u32;
    let own = match keys.architecture {
        "gemma3n" => GEMMA3N_OWN_LAYERS.min(count),
        "gemma4" => count.saturating_sub(keys.u32("attention.shared_kv_layers")?.unwrap_or(0)),
        _ => return Ok(()),
    };
    let lends = own >= 2
        && (own == count || (layers[own as usize - 2].windowed && !layers[own as usize - 1].windowed));
    if !lends {
        return Err(HeadFault::Borrowed { own }.into());
    }
    for layer in &mut layers[own as usize..] {
        layer.borrows_kv = true;
    }
    Ok(())
}
