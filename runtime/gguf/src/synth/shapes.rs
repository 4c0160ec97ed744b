use std::str::FromStr;

/// The graph that a made-up model runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Llama,
    /// As Llama, with biases on queries, keys and values.
    Qwen2,
}

impl Family {
    /// llama.cpp's name of the architecture.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// The sizes of a made-up model. Input and output share one matrix, as in all small models.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthShape {
    pub name: &'static str,
    pub family: Family,
    pub layers: u32,
    pub embedding_length: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub feed_forward_length: u32,
    /// Tokens, at least 264.
    pub vocabulary: u32,
    pub context_length: u32,
    pub rope_base: f32,
    /// Factor by which Llama 3 stretches its slowest rotations.
    pub rope_stretch: Option<f32>,
    /// The way of splitting words, by llama.cpp's name.
    pub pre: &'static str,
    /// Whether texts begin with a token of their own.
    pub adds_bos: bool,
}

impl SynthShape {
    /// Half a megabyte, for tests.
    pub const TINY: Self = Self {
        name: "tiny",
        family: Family::Llama,
        layers: 2,
        embedding_length: 64,
        heads: 4,
        kv_heads: 2,
        feed_forward_length: 256,
        vocabulary: 512,
        context_length: 512,
        rope_base: 10_000.0,
        rope_stretch: None,
        pre: "smollm",
        adds_bos: false,
    };

    /// From `config.json` of HuggingFaceTB/SmolLM2-135M-Instruct.
    pub const SMOLLM2_135M: Self = Self {
        name: "smollm2-135m",
        family: Family::Llama,
        layers: 30,
        embedding_length: 576,
        heads: 9,
        kv_heads: 3,
        feed_forward_length: 1536,
        vocabulary: 49_152,
        context_length: 8192,
        rope_base: 100_000.0,
        rope_stretch: None,
        pre: "smollm",
        adds_bos: false,
    };

    /// From `config.json` of Qwen/Qwen2.5-0.5B-Instruct.
    pub const QWEN2_5_0_5B: Self = Self {
        name: "qwen2.5-0.5b",
        family: Family::Qwen2,
        layers: 24,
        embedding_length: 896,
        heads: 14,
        kv_heads: 2,
        feed_forward_length: 4864,
        vocabulary: 151_936,
        context_length: 32_768,
        rope_base: 1_000_000.0,
        rope_stretch: None,
        pre: "qwen2",
        adds_bos: false,
    };

    /// From `config.json` of meta-llama/Llama-3.2-1B-Instruct.
    pub const LLAMA_3_2_1B: Self = Self {
        name: "llama-3.2-1b",
        family: Family::Llama,
        layers: 16,
        embedding_length: 2048,
        heads: 32,
        kv_heads: 8,
        feed_forward_length: 8192,
        vocabulary: 128_256,
        context_length: 131_072,
        rope_base: 500_000.0,
        rope_stretch: Some(32.0),
        pre: "llama-bpe",
        adds_bos: true,
    };

    pub const PRESETS: [Self; 4] = [Self::TINY, Self::SMOLLM2_135M, Self::QWEN2_5_0_5B, Self::LLAMA_3_2_1B];

    /// Numbers in the query, key or value of one head.
    pub fn head_length(&self) -> u32 {
        self.embedding_length / self.heads
    }

    /// Names and dimensions of all tensors, in the order of the file.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let width = u64::from(self.embedding_length);
        let mut tensors = vec![("token_embd.weight".to_owned(), vec![width, self.vocabulary.into()])];
        if self.rope_stretch.is_some() {
            tensors.push(("rope_freqs.weight".to_owned(), vec![u64::from(self.head_length() / 2)]));
        }
        for layer in 0..self.layers {
            self.layer_tensors(|name, dimensions| tensors.push((format!("blk.{layer}.{name}"), dimensions)));
        }
        tensors.push(("output_norm.weight".to_owned(), vec![width]));
        tensors
    }

    fn layer_tensors(&self, mut add: impl FnMut(&str, Vec<u64>)) {
        let width = u64::from(self.embedding_length);
        let inner = u64::from(self.feed_forward_length);
        let kept = u64::from(self.kv_heads * self.head_length());
        add("attn_norm.weight", vec![width]);
        for (part, rows) in [("attn_q", width), ("attn_k", kept), ("attn_v", kept)] {
            add(&format!("{part}.weight"), vec![width, rows]);
            if self.family == Family::Qwen2 {
                add(&format!("{part}.bias"), vec![rows]);
            }
        }
        add("attn_output.weight", vec![width, width]);
        add("ffn_norm.weight", vec![width]);
        add("ffn_gate.weight", vec![width, inner]);
        add("ffn_up.weight", vec![width, inner]);
        add("ffn_down.weight", vec![inner, width]);
    }

    /// By how much each rotation is slowed: not at all above 8192 / 4 turns, fully below 8192, linearly between.
    ///
    /// As transformers' `_compute_llama3_parameters`, with the figures of Llama 3.2.
    pub(super) fn rope_factors(&self) -> Vec<f32> {
        const TRAINED: f32 = 8192.0;
        const SLOWEST: f32 = 1.0;
        const FASTEST: f32 = 4.0;
        let stretch = self.rope_stretch.unwrap_or(1.0);
        let pairs = self.head_length() / 2;
        let factor = |pair: u32| {
            let frequency = self.rope_base.powf(-(pair as f32) / pairs as f32);
            let turns = TRAINED * frequency / std::f32::consts::TAU;
            let smooth = ((turns - SLOWEST) / (FASTEST - SLOWEST)).clamp(0.0, 1.0);
            1.0 / ((1.0 - smooth) / stretch + smooth)
        };
        (0..pairs).map(factor).collect()
    }
}

impl FromStr for SynthShape {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::PRESETS.into_iter().find(|shape| shape.name == name);
        found.ok_or_else(|| {
            format!(
                "there is no shape {name:?}; there are {}",
                Self::PRESETS.map(|shape| shape.name).join(", ")
            )
        })
    }
}
