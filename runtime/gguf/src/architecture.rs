use std::fmt;

use serde::Serialize;

/// What a model keeps of the tokens it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryKind {
    /// Keys and values of every token.
    Attention,
    /// As attention, but some layers keep a window of the last tokens only.
    SlidingWindow,
    /// A state of fixed size per sequence.
    Recurrent,
    /// Some layers attend, some are recurrent.
    Hybrid,
    /// Nothing: encoders, which read a text at once, and diffusion models.
    None,
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attention => "attention",
            Self::SlidingWindow => "sliding-window",
            Self::Recurrent => "recurrent",
            Self::Hybrid => "hybrid",
            Self::None => "none",
        })
    }
}

/// Which layers look at a window of the last tokens, where the file does not list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Every how many layers one attends to all tokens: the last of them, or the first.
    pub(crate) period: u32,
    pub(crate) dense_first: bool,
    /// Window in tokens where the file names none; 0 means that all layers attend to all then.
    pub(crate) default: u32,
    /// Whether llama.cpp reads the window's size from the file at all.
    pub(crate) fixed: bool,
}

/// Things to know of an architecture, from llama.cpp's `src/llama-arch.cpp` and `src/models/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) memory: MemoryKind,
    /// llama.cpp asserts that keys and values have one head size.
    pub(crate) key_is_value: bool,
    /// llama.cpp asserts that the whole head is rotated.
    pub(crate) rotary_is_head: bool,
    /// llama.cpp asserts that there are experts, or divides by those that a token uses.
    pub(crate) needs_experts: bool,
    /// Parts of a head are rotated by different positions; ggml asserts that their sizes are given.
    pub(crate) needs_sections: bool,
    pub(crate) windows: Option<Windows>,
    /// Why a file of it cannot be served; such files abort llama.cpp or need a second model.
    pub(crate) unfit: Option<&'static str>,
}

/// The traits of `name`. One that is unknown here is taken for plain attention, for which no special rule holds.
pub(crate) fn traits(name: &str) -> Traits {
    let windows = windows(name);
    Traits {
        memory: memory(name, windows.is_some()),
        key_is_value: KEY_IS_VALUE.contains(&name) || ROTARY_IS_HEAD.contains(&name),
        rotary_is_head: ROTARY_IS_HEAD.contains(&name),
        needs_experts: NEEDS_EXPERTS.contains(&name),
        needs_sections: matches!(
            name,
            "paddleocr" | "qwen2vl" | "qwen3vl" | "qwen3vlmoe" | "qwen35" | "qwen35moe" | "qwen4exp"
        ),
        windows,
        unfit: unfit(name),
    }
}

fn memory(name: &str, windowed: bool) -> MemoryKind {
    match name {
        _ if RECURRENT.contains(&name) => MemoryKind::Recurrent,
        _ if HYBRID.contains(&name) => MemoryKind::Hybrid,
        _ if WITHOUT_MEMORY.contains(&name) => MemoryKind::None,
        _ if windowed => MemoryKind::SlidingWindow,
        _ => MemoryKind::Attention,
    }
}

fn unfit(name: &str) -> Option<&'static str> {
    Some(match name {
        "clip" => "it is the image part of another model (an mmproj file), not a model of its own",
        "eagle3" | "dflash" | "gemma4-assistant" => "it is a draft model that runs only beside its large one",
        "t5" | "t5encoder" => "encoder-decoder models are not supported",
        "wavtokenizer-dec" | "qwen3tts" | "pockettts" => "it makes sound, not text",
        "clef" => "it ranks choices and writes no text",
        _ => return None,
    })
}

fn windows(name: &str) -> Option<Windows> {
    let periodic = |period| Windows { period, dense_first: false, default: 0, fixed: false };
    Some(match name {
        "gemma2" => Windows { default: 4096, ..periodic(2) },
        "gemma3" => periodic(6),
        "gemma3n" => periodic(5),
        "gpt-oss" => periodic(2),
        "llama4" => Windows { default: 8192, fixed: true, ..periodic(4) },
        "smallthinker" => Windows { dense_first: true, ..periodic(4) },
        "cohere2moe" | "laguna" => Windows { dense_first: true, ..periodic(4) },
        "plamo3" => periodic(8),
        "afmoe" | "cohere2" | "exaone-moe" | "mellum" | "muse-glimmer" | "olmo2" => periodic(4),
        // These list their layers in the file; without a list all of them attend to all tokens.
        "gemma4" | "granite_swa" | "mimo2" | "step35" | "maple" | "spark2_5" | "dots3note" => periodic(1),
        _ => return None,
    })
}

const RECURRENT: &[&str] = &["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"];

const HYBRID: &[&str] = &[
    "jamba",
    "falcon-h1",
    "plamo2",
    "granitehybrid",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "qwen3next",
    "kimi-linear",
    "bailingmoe3",
    "kimi-k3",
    "glm5-next",
    "qwen35",
    "qwen35moe",
    "qwen4exp",
    "deepseek4",
    "minimax-01",
];

const WITHOUT_MEMORY: &[&str] = &[
    "bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "eurobert",
    "modern-bert",
    "gemma-embedding",
    "llama-embed",
    "dream",
    "llada",
    "llada-moe",
    "rnd1",
];

const NEEDS_EXPERTS: &[&str] = &[
    "bailingmoe2",
    "grovemoe",
    "lfm2moe",
    "llada-moe",
    "qwen2moe",
    "qwen35moe",
    "qwen3moe",
    "qwen3next",
    "qwen3vlmoe",
    "qwen4exp",
    "rnd1",
    "smallthinker",
];

/// `GGML_ASSERT(n_embd_head == n_rot)` in their graphs, or products of `n_rot` where head sizes belong. Implies the
/// assertion of [`KEY_IS_VALUE`].
const ROTARY_IS_HEAD: &[&str] = &[
    "apertus",
    "arcee",
    "arctic",
    "baichuan",
    "chameleon",
    "codeshell",
    "cogvlm",
    "cohere2moe",
    "dbrx",
    "deci",
    "deepseek",
    "dots1",
    "dream",
    "ernie4_5",
    "ernie4_5-moe",
    "exaone",
    "exaone-moe",
    "exaone4",
    "falcon",
    "gpt-oss",
    "granite",
    "granite_swa",
    "granitemoe",
    "graniteswitch",
    "grok",
    "grovemoe",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan_vl",
    "hy_v3",
    "internlm2",
    "jais2",
    "llada",
    "llada-moe",
    "llama",
    "llama-embed",
    "llama4",
    "maincoder",
    "mellum",
    "minicpm",
    "mistral3",
    "olmo",
    "olmo2",
    "olmoe",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "plamo",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen3moe",
    "qwen3vl",
    "qwen3vlmoe",
    "rnd1",
    "seed_oss",
    "smallthinker",
    "smollm3",
    "starcoder2",
    "talkie",
    "xverse",
];

/// `GGML_ASSERT(n_embd_head == hparams.n_embd_head_k())` in their graphs.
const KEY_IS_VALUE: &[&str] = &[
    "afmoe",
    "bailingmoe2",
    "bert",
    "bitnet",
    "bloom",
    "chatglm",
    "cohere2",
    "command-r",
    "eurobert",
    "glm4",
    "glm4moe",
    "gpt2",
    "gptneox",
    "granitehybrid",
    "jais",
    "laguna",
    "maple",
    "minimax-01",
    "minimax-m2",
    "minimax-m3",
    "modern-bert",
    "mpt",
    "muse-glimmer",
    "nanbeige",
    "nemotron",
    "nemotron_h",
    "nemotron_h_moe",
    "neo-bert",
    "openelm",
    "phi2",
    "phi3",
    "phimoe",
    "qwen",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
    "refact",
    "spark2_5",
    "stablelm",
    "starcoder",
];
