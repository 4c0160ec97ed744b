//! Models of random weights at real shapes: they load, tokenize and compute like real ones, and say nothing.

mod mix;
mod random;
mod shapes;
mod vocabulary;
mod weights;

use std::io;
use std::path::Path;

use crate::tensor_type::TensorType;
use crate::writer::{GgufWriter, Planned, WriteError};

pub use mix::Mix;
pub use shapes::{Family, SynthShape};

use random::Random;
use vocabulary::Vocabulary;

/// How far the writing has come, in bytes of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub written: u64,
    pub total: u64,
}

/// Writes a model of `shape` with weights drawn from `seed` to `path`; the same arguments give the same bytes.
///
/// `progress` is called after each tensor. At an error nothing is left at `path`.
pub fn synth(
    shape: &SynthShape,
    mix: Mix,
    seed: u64,
    path: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<(), WriteError> {
    let plan = plan(shape, mix);
    let mut random = Random::new(seed);
    let mut done = Progress { written: 0, total: plan.tensors.iter().map(|tensor| tensor.bytes).sum() };
    plan.write(path, |tensor, sink| {
        fill(shape, tensor, &mut random, sink)?;
        done.written += tensor.bytes;
        progress(done);
        Ok(())
    })
}

/// The header and the tensors of a model of `shape`, without its weights.
pub fn plan(shape: &SynthShape, mix: Mix) -> GgufWriter {
    let mut writer = GgufWriter::new();
    describe(&mut writer, shape, mix);
    Vocabulary::new(shape).describe(&mut writer, shape);
    for (name, dimensions) in shape.tensors() {
        writer.tensor(&name, mix.tensor_type(shape, &name, &dimensions), &dimensions);
    }
    writer
}

fn describe(writer: &mut GgufWriter, shape: &SynthShape, mix: Mix) {
    let family = shape.family.name();
    let key = |key: &str| format!("{family}.{key}");
    writer.text("general.architecture", family);
    writer.text("general.name", &format!("{} (random weights)", shape.name));
    writer.u32("general.file_type", mix.file_type());
    writer.u32("general.quantization_version", 2);
    writer.u32(&key("block_count"), shape.layers);
    writer.u32(&key("context_length"), shape.context_length);
    writer.u32(&key("embedding_length"), shape.embedding_length);
    writer.u32(&key("feed_forward_length"), shape.feed_forward_length);
    writer.u32(&key("attention.head_count"), shape.heads);
    writer.u32(&key("attention.head_count_kv"), shape.kv_heads);
    writer.f32(&key("attention.layer_norm_rms_epsilon"), 1e-5);
    writer.f32(&key("rope.freq_base"), shape.rope_base);
    if shape.family == Family::Llama {
        writer.u32(&key("rope.dimension_count"), shape.head_length());
        writer.u32(&key("vocab_size"), shape.vocabulary);
    }
}

fn fill(
    shape: &SynthShape,
    tensor: &Planned,
    random: &mut Random,
    sink: &mut dyn io::Write,
) -> io::Result<()> {
    let name = String::from_utf8_lossy(&tensor.name);
    if name == "rope_freqs.weight" {
        let factors = shape.rope_factors();
        return sink.write_all(&factors.iter().flat_map(|factor| factor.to_le_bytes()).collect::<Vec<u8>>());
    }
    let kind = TensorType::all().find(|kind| kind.id() == tensor.kind).unwrap_or(TensorType::F32);
    let spread = match tensor.dimensions.as_slice() {
        // Rows of unit length keep activations as large as they came in.
        [row, _] => weights::Spread::around(0.0, gain(&name) / (*row as f32).sqrt()),
        _ if name.ends_with("_norm.weight") => weights::Spread::around(1.0, 0.05),
        _ => weights::Spread::around(0.0, 0.02),
    };
    weights::write(kind, spread, tensor.bytes, random, sink)
}

/// The output matrix is larger, so that logits differ by several units and answers are not mere noise.
fn gain(name: &str) -> f32 {
    if name == "token_embd.weight" || name == "output.weight" { 2.5 } else { 1.0 }
}
