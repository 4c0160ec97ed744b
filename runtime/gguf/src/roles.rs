//! Checks of tensors against the sizes of the model: what llama.cpp computes with without looking.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::architecture::MemoryKind;
use crate::shape::{LayerShape, Shape};
use crate::tensor::Tensor;
use crate::tensor_type::TensorType;
use crate::text::{Quoted, dimensions};

/// Tables of token numbers; all other tensors are weights.
const TABLES: [&str; 2] = ["ffn_gate_tid2eid", "d2t"];

/// Ends of the names of matrices that llama.cpp uses as F32 without a look at their type.
const ALWAYS_F32: [&str; 11] = [
    "_norm.weight",
    ".bias",
    ".scale",
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
    "shortconv.conv.weight",
    "ssm_conv1d.weight",
    "token_types.weight",
    "ssm_a",
    "ssm_d",
];

/// Tensors that llama.cpp takes for optional and then follows: where a layer has the first, it needs the others.
const COMPANIONS: [(&[&str], &str, &[&str]); 2] = [
    (
        &["falcon-h1", "granitehybrid", "nemotron_h", "nemotron_h_moe"],
        "ssm_conv1d.weight",
        &["ssm_conv1d.bias"],
    ),
    (&["qwen35", "qwen35moe"], "ssm_out.weight", &["attn_qkv.weight", "attn_gate.weight"]),
];

/// What is wrong with a tensor for the part that it plays.
#[derive(Debug, Error)]
pub enum RoleFault {
    #[error("it holds no tensors: it is a vocabulary or a header alone, get the whole model")]
    NoTensors,
    #[error("tensor {name} is {kind}, llama.cpp reads it as F32")]
    NotF32 { name: Quoted, kind: TensorType },
    #[error("tensor {name} is {kind}, which is no type for weights")]
    NotWeights { name: Quoted, kind: TensorType },
    #[error("tensor {name} is missing: the file is incomplete, or not what its architecture says")]
    Missing { name: Quoted },
    #[error("tensor {name} has the dimensions {found}, the model's sizes ask for {expected}")]
    Dimensions { name: Quoted, found: String, expected: String },
    #[error("tensor {name} has {rows} rows but the vocabulary has {tokens} tokens")]
    Rows { name: Quoted, rows: u64, tokens: u64 },
}

/// The tensors of a model by their names.
pub(crate) struct Roles<'a> {
    tensors: BTreeMap<&'a str, &'a Tensor>,
}

impl<'a> Roles<'a> {
    pub(crate) fn new(tensors: &'a [Tensor]) -> Self {
        Self { tensors: tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect() }
    }

    /// Checks all tensors against `shape` and a vocabulary of `tokens`.
    pub(crate) fn check(&self, shape: &Shape, tokens: u64) -> Result<(), RoleFault> {
        if self.tensors.is_empty() {
            return Err(RoleFault::NoTensors);
        }
        self.tensors.values().try_for_each(|tensor| check_type(tensor))?;
        self.check_vocabulary(tokens)?;
        self.check_companions(shape)?;
        let plain = !matches!(shape.traits.memory, MemoryKind::Recurrent | MemoryKind::Hybrid);
        if plain && shape.traits.key_is_value {
            self.check_attention(shape)?;
        }
        Ok(())
    }

    fn check_vocabulary(&self, tokens: u64) -> Result<(), RoleFault> {
        const EMBEDDING: &str = "token_embd.weight";
        const OUTPUT: &str = "output.weight";
        if !self.has(EMBEDDING) && !self.has(OUTPUT) {
            return Err(RoleFault::Missing { name: EMBEDDING.into() });
        }
        for name in [EMBEDDING, OUTPUT] {
            let Some(tensor) = self.tensors.get(name) else { continue };
            let rows = tensor.dimensions.get(1).copied().unwrap_or(1);
            if rows != tokens {
                return Err(RoleFault::Rows { name: name.into(), rows, tokens });
            }
        }
        Ok(())
    }

    fn check_companions(&self, shape: &Shape) -> Result<(), RoleFault> {
        let name = |layer: usize, part: &str| format!("blk.{layer}.{part}");
        let lists = COMPANIONS.iter().filter(|(names, ..)| names.contains(&shape.architecture.as_str()));
        for (_, first, others) in lists {
            for layer in (0..shape.layers.len()).filter(|layer| self.has(&name(*layer, first))) {
                if let Some(missing) =
                    others.iter().map(|other| name(layer, other)).find(|other| !self.has(other))
                {
                    return Err(RoleFault::Missing { name: Quoted::new(&missing) });
                }
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn check_attention(&self, shape: &Shape) -> Result<(), RoleFault> {
        let trunk = shape.layers.len() - shape.draft_layers as usize;
        for (index, layer) in shape.layers[..trunk].iter().enumerate() {
            if layer.heads > 0 && layer.kv_heads > 0 && !layer.borrows_kv {
                self.check_layer(shape, index, *layer)?;
            }
        }
        Ok(())
    }

    /// llama.cpp leaves a missing projection null for some architectures and then follows it.
    fn check_layer(&self, shape: &Shape, index: usize, layer: LayerShape) -> Result<(), RoleFault> {
        let rows = |heads: u32, length: u32| u64::from(heads) * u64::from(length);
        let query = rows(layer.heads, layer.key_length);
        let key = rows(layer.kv_heads, layer.key_length);
        let value = rows(layer.kv_heads, layer.value_length);
        let fused = format!("blk.{index}.attn_qkv.weight");
        let parts = [("attn_q", query), ("attn_k", key), ("attn_v", value)];
        if self.has(&fused) {
            return self.check_projection(shape, &fused, query + key + value);
        }
        for (part, rows) in parts {
            self.check_projection(shape, &format!("blk.{index}.{part}.weight"), rows)?;
        }
        Ok(())
    }

    fn check_projection(&self, shape: &Shape, name: &str, rows: u64) -> Result<(), RoleFault> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(RoleFault::Missing { name: name.into() });
        };
        let expected = [shape.embedding_length.into(), rows];
        if shape.traits.rotary_is_head && trimmed(&tensor.dimensions) != trimmed(&expected) {
            return Err(RoleFault::Dimensions {
                name: name.into(),
                found: dimensions(&tensor.dimensions),
                expected: dimensions(&expected),
            });
        }
        Ok(())
    }
}

/// Dimensions without those of 1 at their end, which ggml does not tell from none.
fn trimmed(dimensions: &[u64]) -> &[u64] {
    let length = dimensions.iter().rposition(|dimension| *dimension != 1).map_or(0, |last| last + 1);
    &dimensions[..length]
}

fn check_type(tensor: &Tensor) -> Result<(), RoleFault> {
    let (name, kind) = (tensor.name.as_str(), tensor.kind);
    if TABLES.iter().any(|table| name.contains(table)) {
        return Ok(());
    }
    if kind.is_integer() {
        return Err(RoleFault::NotWeights { name: name.into(), kind });
    }
    let is_vector = trimmed(&tensor.dimensions).len() < 2;
    let always = is_vector || ALWAYS_F32.iter().any(|end| name.ends_with(end));
    if always && kind != TensorType::F32 {
        return Err(RoleFault::NotF32 { name: name.into(), kind });
    }
    Ok(())
}
