//! GGUF model files: checked in safe Rust before llama.cpp sees a byte, described, weighed, and made up for tests.
//!
//! [`Gguf::open`] reads headers only, in bounded memory, and refuses in one sentence whatever would abort or
//! overrun llama.cpp; each rule names the assertion or the published attack behind it. Read [`Gguf`] and [`Model`]
//! first. [`Estimate`] says what a model needs before it is loaded, [`synth`] writes models of random weights.
//!
//! Absent: tensor data (never read), llama.cpp (never linked), chat templates (measured, not parsed), `unsafe`.

mod architecture;
mod array;
#[cfg(any(test, feature = "corpus"))]
pub mod corpus;
mod cursor;
mod error;
mod header;
mod memory;
mod metadata;
mod model;
mod open;
mod quantization;
mod roles;
mod shape;
mod split;
pub mod synth;
mod template;
mod tensor;
mod tensor_type;
mod text;
mod tokenizer;
mod value;
mod writer;

pub use architecture::MemoryKind;
pub use array::{Array, Strings};
pub use cursor::ReadFault;
pub use error::{FileFault, GgufError, Refusal};
pub use header::{HeaderFault, Impostor};
pub use memory::{
    Advice, AvailableError, Estimate, KvType, Limit, LoadPoint, MemoryAvailable, MemoryRefusal, Processor,
    WindowCache, admit,
};
pub use metadata::{KeyFault, Metadata};
pub use model::{Layer, Model, Tied, Weights};
pub use open::{Gguf, Part};
pub use quantization::Quantization;
pub use roles::RoleFault;
pub use shape::{ExpertFault, Experts, HeadFault, LatentFault, RecurrentFault, ShapeFault};
pub use split::SplitFault;
pub use template::{ChatTemplates, MAX_TEMPLATE_BYTES, TemplateFault};
pub use tensor::{Tensor, TensorFault};
pub use tensor_type::TensorType;
pub use text::{Bytes, Grouped, Quoted};
pub use tokenizer::{SpecialToken, SpecialTokens, Tokenizer, TokenizerFault};
pub use value::{Value, ValueType};
pub use writer::{GgufWriter, Pair, Planned, WriteError};
