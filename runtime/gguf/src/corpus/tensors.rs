use super::{Attack, changed};
use crate::tensor_type::TensorType;
use crate::writer::{GgufWriter, Planned};

/// Wrong in the description or the place of a tensor.
pub(super) fn attacks() -> Vec<Attack> {
    [names(), dimensions(), types(), places()].concat()
}

/// The sound model after a change to its second tensor.
fn second(name: &'static str, change: impl FnOnce(&mut Planned)) -> Attack {
    changed(name, |writer| change(&mut writer.tensors[1]))
}

fn names() -> Vec<Attack> {
    vec![
        second("tensor-without-name", |tensor| tensor.name.clear()),
        second("tensor-name-of-64-bytes", |tensor| tensor.name = vec![b'n'; 64]),
        second("tensor-name-not-utf8", |tensor| tensor.name = b"blk.\xff".to_vec()),
        // ggml cuts names at a NUL, so this is a second token embedding to it.
        second("tensor-name-with-nul", |tensor| tensor.name = b"token_embd.weight\0".to_vec()),
        second("tensor-twice", |tensor| tensor.name = b"token_embd.weight".to_vec()),
    ]
}

fn dimensions() -> Vec<Attack> {
    let with = |name, dimensions: &[u64]| second(name, |tensor| tensor.dimensions = dimensions.to_vec());
    vec![
        with("no-dimensions", &[]),
        // CVE-2024-21802: a fifth dimension was written past the array of four.
        with("five-dimensions", &[32, 1, 1, 1, 1]),
        with("dimension-0", &[32, 0]),
        with("dimension-minus-1", &[u64::MAX]),
        with("product-of-2-to-the-64", &[1 << 32, 1 << 32]),
        // #18674 of llama.cpp: the stride wraps to 0.
        with("dimension-2-to-the-42-plus-1", &[(1 << 42) + 1, 1 << 22]),
        // CVE-2026-33298: exabytes by the dimensions, a few bytes after the wrap.
        with("size-that-wraps", &[1 << 31, 1 << 31, 4]),
        changed("size-that-wraps-in-blocks", |writer| {
            writer.tensors[1].dimensions = vec![1 << 40, 1 << 23, 32];
            writer.tensors[1].kind = TensorType::Q8_0.id();
        }),
    ]
}

fn types() -> Vec<Attack> {
    let with = |name, kind| second(name, |tensor| tensor.kind = kind);
    vec![
        with("tensor-type-43", 43),
        with("tensor-type-minus-1", u32::MAX),
        with("tensor-type-removed-in-2023", 4),
        with("tensor-type-removed-in-2024", 31),
        with("tensor-type-iq4-nl-4-4", 36),
        with("tensor-type-q8-1", 9),
        with("tensor-type-q8-k", 15),
        changed("row-of-broken-blocks", |writer| {
            writer.tensors[1].kind = TensorType::Q8_0.id();
            writer.tensors[1].dimensions = vec![33];
        }),
    ]
}

fn places() -> Vec<Attack> {
    let with = |name, offset: fn(u64) -> u64| second(name, |tensor| tensor.offset = offset(tensor.offset));
    vec![
        with("offset-unaligned", |offset| offset + 4),
        with("offset-in-the-tensor-before", |offset| offset - 32),
        with("offset-behind-a-gap", |offset| offset + 32),
        with("offset-near-2-to-the-64", |_| u64::MAX - 31),
        // CVE-2025-53630 and CVE-2026-27940: sums of sizes that wrap.
        changed("sizes-whose-sum-wraps", sum_that_wraps),
        changed("last-tensor-of-8-exabytes", |writer| {
            let last = writer.tensors.len() - 1;
            writer.tensors[last].dimensions = vec![(1 << 61) - 64];
        }),
    ]
}

fn sum_that_wraps(writer: &mut GgufWriter) {
    let each = (1u64 << 60) - 32;
    for (index, tensor) in writer.tensors.iter_mut().enumerate() {
        tensor.dimensions = vec![each];
        tensor.kind = TensorType::F32.id();
        tensor.offset = (4 * each).wrapping_mul(index as u64);
        tensor.bytes = 0;
    }
    // The writer pads its data up to the last offset; this keeps the file small.
    if let Some(last) = writer.tensors.last_mut() {
        last.offset = 0;
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
            Header Tensor NoName
                tensor-without-name/tensor-without-name.gguf: tensor 1 has no name
            Header Tensor NameTooLong
                tensor-name-of-64-bytes/tensor-name-of-64-bytes.gguf: tensor 1 has a name of 64 bytes, ggml takes 63
            Header Tensor NameNotPlain
                tensor-name-not-utf8/tensor-name-not-utf8.gguf: tensor 1 has the name "blk.�", which is not plain text
            Header Tensor NameNotPlain
                tensor-name-with-nul/tensor-name-with-nul.gguf: tensor 1 has the name "token_embd.weight\0", which is not plain text
            Header Tensor Duplicate
                tensor-twice/tensor-twice.gguf: tensor "token_embd.weight" is there twice
            Header Tensor DimensionCount
                no-dimensions/no-dimensions.gguf: tensor "blk.0.attn_norm.weight" has 0 dimensions, ggml takes 1 to 4
            Header Tensor DimensionCount
                five-dimensions/five-dimensions.gguf: tensor "blk.0.attn_norm.weight" has 5 dimensions, ggml takes 1 to 4
            Header Tensor EmptyDimension
                dimension-0/dimension-0.gguf: tensor "blk.0.attn_norm.weight" has the dimensions [32, 0], none may be 0
            Header Tensor TooLarge
                dimension-minus-1/dimension-minus-1.gguf: tensor "blk.0.attn_norm.weight" has the dimensions [18446744073709551615], more numbers than can be counted
            Header Tensor TooLarge
                product-of-2-to-the-64/product-of-2-to-the-64.gguf: tensor "blk.0.attn_norm.weight" has the dimensions [4294967296, 4294967296], more numbers than can be counted
            Header Tensor TooLarge
                dimension-2-to-the-42-plus-1/dimension-2-to-the-42-plus-1.gguf: tensor "blk.0.attn_norm.weight" has the dimensions [4398046511105, 4194304], more numbers than can be counted
            Header Tensor TooLarge
                size-that-wraps/size-that-wraps.gguf: tensor "blk.0.attn_norm.weight" has the dimensions [2147483648, 2147483648, 4], more numbers than can be counted
            Header Tensor TooLarge
                size-that-wraps-in-blocks/size-that-wraps-in-blocks.gguf: tensor "blk.0.attn_norm.weight" has the dimensions [1099511627776, 8388608, 32], more numbers than can be counted
            Header Tensor UnknownType
                tensor-type-43/tensor-type-43.gguf: tensor "blk.0.attn_norm.weight" has the type 43, which is unknown: the file is newer than this program, or damaged
            Header Tensor UnknownType
                tensor-type-minus-1/tensor-type-minus-1.gguf: tensor "blk.0.attn_norm.weight" has the type 4294967295, which is unknown: the file is newer than this program, or damaged
            Header Tensor RemovedType
                tensor-type-removed-in-2023/tensor-type-removed-in-2023.gguf: tensor "blk.0.attn_norm.weight" has the type 4: it was withdrawn in 2023, get another quantisation of the model
            Header Tensor RemovedType
                tensor-type-removed-in-2024/tensor-type-removed-in-2024.gguf: tensor "blk.0.attn_norm.weight" has the type 31: it was withdrawn in 2024, get the Q4_0 file, which is repacked at load
            Header Tensor RemovedType
                tensor-type-iq4-nl-4-4/tensor-type-iq4-nl-4-4.gguf: tensor "blk.0.attn_norm.weight" has the type 36: it was withdrawn in 2024, get the IQ4_NL file, which is repacked at load
            Header Tensor IntermediateType
                tensor-type-q8-1/tensor-type-q8-1.gguf: tensor "blk.0.attn_norm.weight" has the type Q8_1, which llama.cpp computes with but cannot read from a file
            Header Tensor IntermediateType
                tensor-type-q8-k/tensor-type-q8-k.gguf: tensor "blk.0.attn_norm.weight" has the type Q8_K, which llama.cpp computes with but cannot read from a file
            Header Tensor RowNotWholeBlocks
                row-of-broken-blocks/row-of-broken-blocks.gguf: tensor "blk.0.attn_norm.weight" has rows of 33 numbers, Q8_0 needs a multiple of 32
            Header Tensor Misaligned
                offset-unaligned/offset-unaligned.gguf: tensor "blk.0.attn_norm.weight" starts at byte 17,412 of the data, no multiple of the alignment 32
            Header Tensor Overlap
                offset-in-the-tensor-before/offset-in-the-tensor-before.gguf: tensor "blk.0.attn_norm.weight" starts at byte 17,376 of the data, in the tensor before it, which ends at 17,408
            Header Tensor Gap
                offset-behind-a-gap/offset-behind-a-gap.gguf: tensor "blk.0.attn_norm.weight" starts at byte 17,440 of the data but the one before it ends at 17,408
            Header Tensor Gap
                offset-near-2-to-the-64/offset-near-2-to-the-64.gguf: tensor "blk.0.attn_norm.weight" starts at byte 18,446,744,073,709,551,584 of the data but the one before it ends at 17,408
            Header Tensor PastEnd
                sizes-whose-sum-wraps/sizes-whose-sum-wraps.gguf: tensor "token_embd.weight" ends at byte 4,611,686,018,427,393,984 but the file has 6,208: it is truncated, download it again
            Header Tensor PastEnd
                last-tensor-of-8-exabytes/last-tensor-of-8-exabytes.gguf: tensor "output_norm.weight" ends at byte 9,223,372,036,854,836,672 but the file has 61,248: it is truncated, download it again
        "#]],
        );
    }
}
