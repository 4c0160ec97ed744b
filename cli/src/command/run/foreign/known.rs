//! The guests that are known: prebuilt modules of second-state/WasmEdge-WASINN-examples (`wasmedge-ggml`, Apache-2.0) and of
//! LlamaEdge, all of WASI preview 1 and `wasi_ephemeral_nn`.

/// One guest, and how it is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// How the digest of the file begins.
    pub(super) sha256: &'static str,
    pub(super) arguments: &'static [&'static str],
    pub(super) environment: &'static [(&'static str, &'static str)],
    pub(super) input: &'static str,
    /// Whether `default` is granted.
    pub(super) has_model: bool,
    /// Whether it generates text.
    pub(super) generates: bool,
    /// Something that it says if all goes well.
    pub(super) says: &'static str,
    pub(super) end: End,
}

impl Known {
    /// Whether a file of this name, the extension left out, is a build of it.
    pub(super) fn is_called(&self, stem: &str) -> bool {
        let stem = stem.strip_prefix("wasmedge-ggml-").unwrap_or(stem);
        stem == self.name || (stem == "llama-embedding" && self.name == "embedding")
    }
}

/// When a guest is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Returns,
    /// It asks for more input for ever, and has to be stopped.
    Stopped,
}

/// What the guests are asked, after the template of the model.
pub(super) const PROMPT: &str = "Once upon a time";

/// Most of them: the model's name and a prompt, and the options that they read from variables.
const ASKED: Known = Known {
    name: "",
    sha256: "",
    arguments: &["default", PROMPT],
    environment: &[("n_predict", "32"), ("ctx_size", "512"), ("n_gpu_layers", "100")],
    input: "",
    has_model: true,
    generates: true,
    says: "",
    end: End::Returns,
};

const QUESTION: &str = "Once upon a time\n";

const SIMPLE: &[&str] = &["--prompt", PROMPT, "--ctx-size", "512", "--n-predict", "32"];

/// What those say last that count tokens.
const COUNTED: &str = "[INFO] Number of output tokens: ";

pub(super) const KNOWN: [Known; 19] = [
    Known { name: "basic", sha256: "e808cd04", says: "Response:", ..ASKED },
    Known { name: "chatml", sha256: "a870f10b", says: COUNTED, ..ASKED },
    Known { name: "command-r", sha256: "670a6627", says: COUNTED, ..ASKED },
    Known { name: "embedding", sha256: "457beb52", generates: false, says: "embd[4] = ", ..ASKED },
    Known { name: "gemma", sha256: "12cd90f6", says: "Response:", ..ASKED },
    Known { name: "gemma-4", sha256: "2a9cab21", says: COUNTED, ..ASKED },
    Known { name: "grammar", sha256: "89d666a0", says: COUNTED, ..ASKED },
    Known { name: "json-schema", sha256: "c53ddf07", says: COUNTED, ..ASKED },
    Known { name: "llama", sha256: "7dfe842d", says: "Response:", ..ASKED },
    Known { name: "llama-stream", sha256: "59019cf3", says: COUNTED, ..ASKED },
    Known { name: "nnrpc", sha256: "d3d02588", says: COUNTED, ..ASKED },
    Known { name: "phi-3", sha256: "8a599a91", says: "Response:", ..ASKED },
    Known { name: "unload", sha256: "edf8ceae", says: "----- Test 4 -----", ..ASKED },
    Known {
        name: "set-input-twice",
        sha256: "ede9e34b",
        generates: false,
        says: "[INFO] Number of input tokens: ",
        ..ASKED
    },
    Known {
        name: "model-not-found",
        sha256: "2a5fc970",
        arguments: &["default"],
        has_model: false,
        generates: false,
        says: "Model not found",
        ..ASKED
    },
    // One of its versions takes a prompt as an argument, others ask for it.
    Known { name: "llama-interactive", sha256: "5edb29db", input: QUESTION, end: End::Stopped, ..ASKED },
    Known {
        name: "llama-chat",
        sha256: "067cc971",
        arguments: &["--prompt-template", "chatml", "--ctx-size", "512", "--n-predict", "32"],
        input: QUESTION,
        says: "[Bot]:",
        end: End::Stopped,
        ..ASKED
    },
    Known { name: "llama-simple", sha256: "d3917628", arguments: SIMPLE, says: "[Answer]:", ..ASKED },
    Known { name: "llama-simple (older)", sha256: "af9f39c3", arguments: SIMPLE, says: "[Answer]:", ..ASKED },
];
