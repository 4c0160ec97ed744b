use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::architecture::MemoryKind;
use crate::error::Refusal;
use crate::metadata::Metadata;
use crate::quantization::Quantization;
use crate::roles::Roles;
use crate::shape::{Experts, LayerShape, Shape};
use crate::template::ChatTemplates;
use crate::tensor::Tensor;
use crate::tensor_type::TensorType;
use crate::text::{Bytes, Grouped, dimensions};
use crate::tokenizer::Tokenizer;

/// What a checked file holds.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The family, by llama.cpp's name: `llama`, `qwen2`, `gemma3`, ...
    pub architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub quantization: Quantization,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Longest context in tokens that it was trained for.
    pub context_length: u32,
    /// Positions that it has a vector for each of; a longer context ends llama.cpp. `None` where positions are
    /// computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned_positions: Option<u64>,
    /// Numbers that stand for one token between layers.
    pub embedding_length: u32,
    /// Numbers in the widest feed-forward part of a layer; 0 where the file does not say.
    pub feed_forward_length: u32,
    pub memory: MemoryKind,
    /// Tokens that windowed layers keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
    /// One entry per layer that takes part in answers.
    pub layers: Vec<Layer>,
    pub tokenizer: Tokenizer,
    pub chat_templates: ChatTemplates,
    pub weights: Weights,
}

/// One layer, by what it keeps of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Heads that ask.
    pub heads: u32,
    /// Heads that keys and values are kept for; 0 where the layer does not attend.
    pub kv_heads: u32,
    /// Numbers in the key of one head.
    pub key_length: u32,
    /// Numbers in the value of one head; 0 where it is recomputed from a compressed key.
    pub value_length: u32,
    /// Whether it keeps the last tokens only.
    pub windowed: bool,
    /// Whether it reads the keys and values of an earlier layer and keeps none.
    pub borrows_kv: bool,
    /// Bytes of its recurrent state per sequence.
    pub state_bytes: u64,
}

/// Sizes of the weights.
#[derive(Clone, Debug, Serialize)]
pub struct Weights {
    /// Bytes of all tensors.
    pub bytes: u64,
    pub bytes_by_type: BTreeMap<TensorType, u64>,
    /// The token embedding, where it is the output matrix too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied: Option<Tied>,
    pub tensors: u32,
}

/// A matrix that serves input and output. llama.cpp keeps two copies where it repacks those of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tied {
    #[serde(rename = "type")]
    pub kind: TensorType,
    pub bytes: u64,
}

impl Model {
    /// Checks metadata and tensors of a model, all parts together, and reads what they say.
    pub(crate) fn read(metadata: &Metadata, tensors: &[Tensor]) -> Result<Self, Refusal> {
        let shape = Shape::read(metadata)?;
        let tokenizer = Tokenizer::read(metadata)?;
        Roles::new(tensors).check(&shape, tokenizer.vocabulary.into())?;
        let trunk = shape.layers.len() - shape.draft_layers as usize;
        let layer = |layer: &LayerShape| Layer::new(layer, shape.latent_attention);
        Ok(Self {
            name: metadata.text("general.name")?.map(str::to_owned),
            quantization: Quantization::read(metadata, tensors)?,
            parameters: tensors.iter().map(|tensor| tensor.dimensions.iter().product::<u64>()).sum(),
            context_length: shape.context_length,
            learned_positions: learned_positions(tensors),
            embedding_length: shape.embedding_length,
            feed_forward_length: shape.feed_forward_length,
            memory: shape.memory(),
            sliding_window: shape.window,
            experts: shape.experts,
            layers: shape.layers[..trunk].iter().map(layer).collect(),
            tokenizer,
            chat_templates: ChatTemplates::read(metadata)?,
            weights: Weights::new(tensors),
            architecture: shape.architecture,
        })
    }
}

fn learned_positions(tensors: &[Tensor]) -> Option<u64> {
    let vectors = tensors.iter().find(|tensor| tensor.name == "position_embd.weight")?;
    vectors.dimensions.get(1).copied()
}

impl Layer {
    fn new(shape: &LayerShape, latent: bool) -> Self {
        Self {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            key_length: shape.key_length,
            value_length: if latent { 0 } else { shape.value_length },
            windowed: shape.windowed,
            borrows_kv: shape.borrows_kv,
            state_bytes: shape.state * size_of::<f32>() as u64,
        }
    }
}

impl Weights {
    fn new(tensors: &[Tensor]) -> Self {
        let mut bytes_by_type = BTreeMap::new();
        for tensor in tensors {
            *bytes_by_type.entry(tensor.kind).or_default() += tensor.bytes;
        }
        let named = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let tied = if named("output.weight").is_none() { named("token_embd.weight") } else { None };
        Self {
            bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
            bytes_by_type,
            tied: tied.map(|tensor| Tied { kind: tensor.kind, bytes: tensor.bytes }),
            tensors: tensors.len() as u32,
        }
    }
}

/// Lines of a name and a figure each, for a person.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |label: &str, figure: String| writeln!(f, "{label:<14} {figure}");
        if let Some(name) = &self.name {
            line("name", name.escape_debug().to_string())?;
        }
        line("architecture", self.architecture.clone())?;
        line("quantization", self.quantization.to_string())?;
        line("parameters", Grouped(self.parameters).to_string())?;
        line("weights", self.weights.to_string())?;
        line("context", format!("{} tokens", Grouped(self.context_length.into())))?;
        line("vocabulary", self.vocabulary_line())?;
        line("layers", format!("{} of {} numbers", self.layers.len(), self.embedding_length))?;
        line("attention", self.attention_line())?;
        line("memory", self.memory_line())?;
        if let Some(experts) = self.experts {
            line("experts", format!("{} of {} per token", experts.used, experts.count))?;
        }
        line("chat template", self.template_line())
    }
}

impl Model {
    fn vocabulary_line(&self) -> String {
        let tokens = Grouped(self.tokenizer.vocabulary.into());
        match &self.tokenizer.pre {
            Some(pre) => format!("{tokens} tokens, {} ({pre})", self.tokenizer.model),
            None => format!("{tokens} tokens, {}", self.tokenizer.model),
        }
    }

    fn attention_line(&self) -> String {
        let attending: Vec<&Layer> = self.layers.iter().filter(|layer| layer.kv_heads > 0).collect();
        let Some(first) = attending.first() else { return "none".to_owned() };
        let uniform =
            attending.iter().all(|layer| (layer.heads, layer.kv_heads) == (first.heads, first.kv_heads));
        let heads =
            format!("{} heads, {} for keys and values, of {}", first.heads, first.kv_heads, first.key_length);
        if uniform { heads } else { format!("{heads}; other layers differ") }
    }

    fn memory_line(&self) -> String {
        let windowed = self.layers.iter().filter(|layer| layer.windowed).count();
        match self.sliding_window {
            Some(window) => format!("{}, {windowed} layers keep {window} tokens", self.memory),
            None => self.memory.to_string(),
        }
    }

    fn template_line(&self) -> String {
        let mut names: Vec<&str> = self.chat_templates.named.keys().map(String::as_str).collect();
        if self.chat_templates.default.is_some() {
            names.insert(0, "yes");
        }
        if names.is_empty() { "none".to_owned() } else { names.join(", ").escape_debug().to_string() }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut types: Vec<_> = self.bytes_by_type.iter().collect();
        types.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
        let types: Vec<String> =
            types.into_iter().map(|(kind, bytes)| format!("{} {kind}", Bytes(*bytes))).collect();
        write!(f, "{} in {} tensors ({})", Bytes(self.bytes), self.tensors, types.join(", "))
    }
}

/// The name, type and dimensions of a tensor on a line.
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name.escape_debug(), self.kind, dimensions(&self.dimensions))
    }
}
