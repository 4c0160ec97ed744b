use super::{Attack, changed, of};
use crate::tensor_type::TensorType;
use crate::writer::{GgufWriter, Planned};

/// Wrong in a tensor for the part that it plays.
pub(super) fn attacks() -> Vec<Attack> {
    let named = |name, tensor: &'static str, change: fn(&mut Planned)| {
        changed(name, |writer| {
            rebuilt(writer, |planned| {
                if planned.name == tensor.as_bytes() {
                    change(planned)
                }
            })
        })
    };
    vec![
        changed("no-tensors", |writer| writer.tensors.clear()),
        // ggml multiplies and adds F32 vectors only, and aborts at the first token.
        named("norm-as-f16", "output_norm.weight", |tensor| tensor.kind = TensorType::F16.id()),
        named("norm-as-q8-0", "blk.0.attn_norm.weight", |tensor| tensor.kind = TensorType::Q8_0.id()),
        named("embedding-as-i32", "token_embd.weight", |tensor| tensor.kind = TensorType::I32.id()),
        named("matrix-as-f64", "blk.1.ffn_up.weight", |tensor| tensor.kind = 28),
        named("embedding-missing", "token_embd.weight", |tensor| tensor.name = b"tok.weight".to_vec()),
        named("values-missing", "blk.1.attn_v.weight", |tensor| {
            tensor.name = b"blk.1.attn_w.weight".to_vec()
        }),
        named("embedding-of-fewer-tokens", "token_embd.weight", |tensor| tensor.dimensions = vec![32, 271]),
        named("queries-too-wide", "blk.0.attn_q.weight", |tensor| tensor.dimensions = vec![32, 64]),
        // llama.cpp takes this bias for optional, and then follows it.
        of("granitehybrid", "convolution-without-bias", |writer| {
            let sizes = [("conv_kernel", 4), ("inner_size", 64), ("state_size", 16), ("time_step_rank", 4)];
            for (key, value) in sizes.into_iter().chain([("group_count", 1)]) {
                writer.u32(&format!("granitehybrid.ssm.{key}"), value);
            }
            writer.tensor("blk.0.ssm_conv1d.weight", TensorType::F32, &[4, 96]);
        }),
        changed("convolution-as-f16", |writer| {
            writer.tensor("blk.0.shortconv.conv.weight", TensorType::F16, &[3, 32]);
        }),
        changed("token-types-as-q8-0", |writer| {
            writer.tensor("token_types.weight", TensorType::Q8_0, &[32, 2]);
        }),
        changed("rotations-as-f16", |writer| {
            writer.tensor("rope_freqs.weight", TensorType::F16, &[4]);
        }),
        changed("output-of-more-tokens", |writer| {
            writer.tensor("output.weight", TensorType::F16, &[32, 273]);
        }),
    ]
}

/// Changes tensors and lays them out anew, so that nothing else is wrong.
fn rebuilt(writer: &mut GgufWriter, mut change: impl FnMut(&mut Planned)) {
    for mut tensor in std::mem::take(&mut writer.tensors) {
        change(&mut tensor);
        let kind = TensorType::all().find(|kind| kind.id() == tensor.kind).unwrap_or(TensorType::F32);
        writer.tensor(&String::from_utf8_lossy(&tensor.name), kind, &tensor.dimensions);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::check;
    use super::*;

    #[test]
    fn all_are_refused() {
        check(
            &attacks(),
            &expect![[r#"
                Role NoTensors
                    no-tensors/no-tensors.gguf: it holds no tensors: it is a vocabulary or a header alone, get the whole model
                Role NotF32
                    norm-as-f16/norm-as-f16.gguf: tensor "output_norm.weight" is F16, llama.cpp reads it as F32
                Role NotF32
                    norm-as-q8-0/norm-as-q8-0.gguf: tensor "blk.0.attn_norm.weight" is Q8_0, llama.cpp reads it as F32
                Role NotWeights
                    embedding-as-i32/embedding-as-i32.gguf: tensor "token_embd.weight" is I32, which is no type for weights
                Role NotWeights
                    matrix-as-f64/matrix-as-f64.gguf: tensor "blk.1.ffn_up.weight" is F64, which is no type for weights
                Role Missing
                    embedding-missing/embedding-missing.gguf: tensor "token_embd.weight" is missing: the file is incomplete, or not what its architecture says
                Role Missing
                    values-missing/values-missing.gguf: tensor "blk.1.attn_v.weight" is missing: the file is incomplete, or not what its architecture says
                Role Rows
                    embedding-of-fewer-tokens/embedding-of-fewer-tokens.gguf: tensor "token_embd.weight" has 271 rows but the vocabulary has 272 tokens
                Role Dimensions
                    queries-too-wide/queries-too-wide.gguf: tensor "blk.0.attn_q.weight" has the dimensions [32, 64], the model's sizes ask for [32, 32]
                Role Missing
                    convolution-without-bias/convolution-without-bias.gguf: tensor "blk.0.ssm_conv1d.bias" is missing: the file is incomplete, or not what its architecture says
                Role NotF32
                    convolution-as-f16/convolution-as-f16.gguf: tensor "blk.0.shortconv.conv.weight" is F16, llama.cpp reads it as F32
                Role NotF32
                    token-types-as-q8-0/token-types-as-q8-0.gguf: tensor "token_types.weight" is Q8_0, llama.cpp reads it as F32
                Role NotF32
                    rotations-as-f16/rotations-as-f16.gguf: tensor "rope_freqs.weight" is F16, llama.cpp reads it as F32
                Role Rows
                    output-of-more-tokens/output-of-more-tokens.gguf: tensor "output.weight" has 273 rows but the vocabulary has 272 tokens
            "#]],
        );
    }
}
