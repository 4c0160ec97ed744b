//! The sizes of a model, checked for what llama.cpp divides by, multiplies or asserts.

mod attention;
mod experts;
mod latent;
mod recurrent;

use thiserror::Error;

use crate::architecture::{MemoryKind, Traits, traits};
use crate::metadata::{KeyFault, Metadata};
use crate::text::{Grouped, Quoted};

pub use attention::HeadFault;
pub use experts::{ExpertFault, Experts};
pub use latent::LatentFault;
pub use recurrent::RecurrentFault;

/// `LLAMA_MAX_LAYERS`: llama.cpp keeps per-layer figures in arrays of this length.
pub(crate) const MAX_LAYERS: u32 = 512;

/// Ten times the longest context that any model was trained for, 10,485,760 tokens.
const MAX_CONTEXT: u32 = 1 << 27;

/// Sixty times the widest known, 16,384. Products with heads and experts stay within 32 bits below it.
const MAX_EMBEDDING: u32 = 1 << 20;

/// Highest number that llama.cpp's `llama_pooling_type` has a name for.
const MAX_POOLING: u32 = 4;

/// Sizes that hold for one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerShape {
    /// Heads that ask.
    pub(crate) heads: u32,
    /// Heads that keys and values are kept for; 0 where the layer does not attend.
    pub(crate) kv_heads: u32,
    /// Numbers in the key of one head.
    pub(crate) key_length: u32,
    /// Numbers in the value of one head.
    pub(crate) value_length: u32,
    /// Whether it keeps the last tokens only.
    pub(crate) windowed: bool,
    /// Whether it reads the keys and values of an earlier layer and keeps none.
    pub(crate) borrows_kv: bool,
    /// Numbers of 32 bits in its state per sequence; 0 where it is not recurrent.
    pub(crate) state: u64,
}

/// The sizes of a model.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) architecture: String,
    pub(crate) traits: Traits,
    pub(crate) context_length: u32,
    pub(crate) embedding_length: u32,
    pub(crate) feed_forward_length: u32,
    pub(crate) layers: Vec<LayerShape>,
    /// Last layers that llama.cpp keeps for drafting and leaves out of its cache.
    pub(crate) draft_layers: u32,
    pub(crate) window: Option<u32>,
    pub(crate) experts: Option<Experts>,
    /// Whether one compressed key serves all heads and values are recomputed from it.
    pub(crate) latent_attention: bool,
}

/// What is wrong with the sizes of a model.
#[derive(Debug, Error)]
pub enum ShapeFault {
    #[error("its architecture {name} is no plain lower-case name")]
    ArchitectureName { name: Quoted },
    #[error("its architecture is {name}, which cannot be served: {why}")]
    Unfit { name: Quoted, why: &'static str },
    #[error("it has {layers} layers; llama.cpp takes 1 to {MAX_LAYERS}")]
    Layers { layers: u32 },
    #[error("{draft} of its {layers} layers are for drafting, which leaves none to answer with")]
    DraftLayers { draft: u32, layers: u32 },
    #[error("its context length is {}; 1 to {} can be", Grouped((*length).into()), Grouped(MAX_CONTEXT.into()))]
    ContextLength { length: u32 },
    #[error("its embedding length is {}; 1 to {} can be", Grouped((*length).into()), Grouped(MAX_EMBEDDING.into()))]
    EmbeddingLength { length: u32 },
    #[error("key {key} is {value}; it must be a number of at least 0 and at most 1")]
    Epsilon { key: Quoted, value: f32 },
    #[error("key {key} is {value}, which is no number to compute with")]
    NotFinite { key: Quoted, value: f32 },
    #[error("its attention cools by {scale} but key \"attention.temperature_length\" is missing or 0")]
    Temperature { scale: f32 },
    #[error("its rope scaling is {name}; llama.cpp knows none, linear, yarn and longrope")]
    RopeScaling { name: Quoted },
    #[error("key {key} is 0, by which llama.cpp divides")]
    Divisor { key: Quoted },
    #[error("its pooling type is {value}; llama.cpp knows 0 to {MAX_POOLING}")]
    Pooling { value: u32 },
    #[error("its rope sections are missing, on which ggml aborts")]
    NoRopeSections,
    #[error("its rope sections {sections} do not fit into the {rotary} rotated numbers of a head")]
    RopeSections { sections: String, rotary: u32 },
    #[error(transparent)]
    Heads(#[from] HeadFault),
    #[error(transparent)]
    Experts(#[from] ExpertFault),
    #[error(transparent)]
    Latent(#[from] LatentFault),
    #[error(transparent)]
    Recurrent(#[from] RecurrentFault),
    #[error(transparent)]
    Key(#[from] KeyFault),
}

/// The keys of one architecture.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) architecture: &'a str,
}

impl Keys<'_> {
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn u32(&self, key: &str) -> Result<Option<u32>, KeyFault> {
        self.metadata.u32(&self.name(key))
    }

    pub(super) fn required_u32(&self, key: &str) -> Result<u32, KeyFault> {
        self.metadata.required_u32(&self.name(key))
    }

    pub(super) fn per_layer(&self, key: &str, layers: u32) -> Result<Option<Vec<u32>>, KeyFault> {
        self.metadata.per_layer(&self.name(key), layers)
    }
}

impl Shape {
    /// Reads and checks the sizes out of a model's metadata.
    pub(crate) fn read(metadata: &Metadata) -> Result<Self, ShapeFault> {
        let architecture = architecture(metadata)?;
        let traits = traits(&architecture);
        if let Some(why) = traits.unfit {
            return Err(ShapeFault::Unfit { name: Quoted::new(&architecture), why });
        }
        let keys = Keys { metadata, architecture: &architecture };
        let (layers, draft_layers) = layer_count(keys)?;
        let context_length = within(keys.required_u32("context_length")?, MAX_CONTEXT)
            .map_err(|length| ShapeFault::ContextLength { length })?;
        let embedding_length = within(keys.required_u32("embedding_length")?, MAX_EMBEDDING)
            .map_err(|length| ShapeFault::EmbeddingLength { length })?;
        check_numbers(keys)?;
        let experts = experts::read(keys, &traits, layers)?;
        let mut attention = attention::read(keys, &traits, layers, embedding_length)?;
        check_rope_sections(keys, &traits, attention.rotary)?;
        let latent_attention = latent::check(keys, &attention)?;
        recurrent::read(keys, &traits, &mut attention.layers, embedding_length)?;
        let feed_forward = keys.per_layer("feed_forward_length", layers)?.unwrap_or_default();
        Ok(Self {
            traits,
            context_length,
            embedding_length,
            feed_forward_length: feed_forward.into_iter().max().unwrap_or(0),
            layers: attention.layers,
            draft_layers,
            window: attention.window,
            experts,
            latent_attention,
            architecture,
        })
    }

    /// What it keeps of the tokens it has read; a window that no layer uses does not count.
    pub(crate) fn memory(&self) -> MemoryKind {
        match self.traits.memory {
            MemoryKind::SlidingWindow if self.window.is_none() => MemoryKind::Attention,
            kind => kind,
        }
    }
}

fn architecture(metadata: &Metadata) -> Result<String, ShapeFault> {
    const KEY: &str = "general.architecture";
    let name = metadata.text(KEY)?.ok_or_else(|| KeyFault::Missing { key: KEY.into() })?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(ShapeFault::ArchitectureName { name: Quoted::new(name) });
    }
    Ok(name.to_owned())
}

/// All layers, and how many of them are for drafting.
fn layer_count(keys: Keys<'_>) -> Result<(u32, u32), ShapeFault> {
    let layers = keys.required_u32("block_count")?;
    if !(1..=MAX_LAYERS).contains(&layers) {
        return Err(ShapeFault::Layers { layers });
    }
    let draft = keys.u32("nextn_predict_layers")?.unwrap_or(0);
    if draft >= layers {
        return Err(ShapeFault::DraftLayers { draft, layers });
    }
    Ok((layers, draft))
}

fn within(value: u32, limit: u32) -> Result<u32, u32> {
    if (1..=limit).contains(&value) { Ok(value) } else { Err(value) }
}

fn check_numbers(keys: Keys<'_>) -> Result<(), ShapeFault> {
    check_divisors(keys)?;
    check_epsilons(keys)?;
    check_rope_numbers(keys)?;
    check_temperature(keys)?;
    let scaling = keys.name("rope.scaling.type");
    if let Some(name) = keys.metadata.text(&scaling)?
        && !matches!(name, "none" | "linear" | "yarn" | "longrope")
    {
        return Err(ShapeFault::RopeScaling { name: Quoted::new(name) });
    }
    match keys.u32("pooling_type")? {
        Some(value) if value > MAX_POOLING => Err(ShapeFault::Pooling { value }),
        _ => Ok(()),
    }
}

/// Numbers that are optional, but not 0 where they are there.
fn check_divisors(keys: Keys<'_>) -> Result<(), ShapeFault> {
    const DIVISORS: [&str; 5] = [
        "full_attention_interval",
        "experts_per_group",
        "num_loops",
        "attention.output_group_count",
        "attention.indexer.block_size",
    ];
    // Llama 4 without experts has this at 0.
    let step = (keys.architecture == "ernie4_5-moe").then_some("interleave_moe_layer_step");
    for key in DIVISORS.into_iter().chain(step) {
        if keys.u32(key)? == Some(0) {
            return Err(ShapeFault::Divisor { key: Quoted::new(&keys.name(key)) });
        }
    }
    Ok(())
}

/// ggml asserts that what it adds under the root of a norm is not negative.
fn check_epsilons(keys: Keys<'_>) -> Result<(), ShapeFault> {
    const EPSILONS: [&str; 3] =
        ["attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.group_norm_epsilon"];
    for key in EPSILONS.map(|key| keys.name(key)) {
        match keys.metadata.f32(&key)? {
            Some(value) if !(0.0..=1.0).contains(&value) => {
                return Err(ShapeFault::Epsilon { key: Quoted::new(&key), value });
            }
            _ => {}
        }
    }
    Ok(())
}

/// llama.cpp asserts that attention which cools with the length of the context has a length to cool by.
fn check_temperature(keys: Keys<'_>) -> Result<(), ShapeFault> {
    let scale = keys.metadata.f32(&keys.name("attention.temperature_scale"))?.unwrap_or(0.0);
    let length = keys.u32("attention.temperature_length")?;
    // Llama 4 has both built in.
    if scale != 0.0 && length.unwrap_or(0) == 0 && keys.architecture != "llama4" {
        return Err(ShapeFault::Temperature { scale });
    }
    Ok(())
}

fn check_rope_numbers(keys: Keys<'_>) -> Result<(), ShapeFault> {
    const NUMBERS: [&str; 9] = [
        "rope.freq_base",
        "rope.freq_base_swa",
        "rope.scale_linear",
        "rope.scaling.factor",
        "rope.scaling.attn_factor",
        "rope.scaling.yarn_log_multiplier",
        "rope.scaling.yarn_ext_factor",
        "attention.scale",
        "attention.max_alibi_bias",
    ];
    for key in NUMBERS.map(|key| keys.name(key)) {
        match keys.metadata.f32(&key)? {
            // At a base of 0 all that is computed is NaN.
            Some(value) if !value.is_finite() || (value <= 0.0 && key.contains(".freq_base")) => {
                return Err(ShapeFault::NotFinite { key: Quoted::new(&key), value });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Models that see images rotate parts of a head by different positions; ggml asserts that there are parts.
fn check_rope_sections(keys: Keys<'_>, traits: &Traits, rotary: u32) -> Result<(), ShapeFault> {
    let key = keys.name("rope.dimension_sections");
    let Some(array) = keys.metadata.array(&key)? else {
        return if traits.needs_sections { Err(ShapeFault::NoRopeSections) } else { Ok(()) };
    };
    let sections = array.integers().unwrap_or_default();
    let sum: i64 = sections.iter().sum();
    let sound = sections.len() == 4 && sections.iter().all(|section| *section >= 0);
    // Those for time, height and width; the fourth is never the only one.
    let rotates = sections.iter().take(3).any(|section| *section > 0);
    if !sound || !rotates || sum > i64::from(rotary) {
        return Err(ShapeFault::RopeSections { sections: format!("{sections:?}"), rotary });
    }
    Ok(())
}
