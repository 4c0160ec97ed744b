use super::{Attack, changed, of};
use crate::value::ValueType;

/// Wrong in the heads, their rotations and windows: what llama.cpp divides by, multiplies or asserts.
pub(super) fn attacks() -> Vec<Attack> {
    [heads(), rotations(), latent(), windows()].concat()
}

fn number(name: &'static str, key: &str, number: u32) -> Attack {
    changed(name, |writer| {
        writer.u32(key, number);
    })
}

fn heads() -> Vec<Attack> {
    vec![
        changed("no-heads", |writer| {
            writer.without("llama.attention.head_count");
        }),
        number("heads-0", "llama.attention.head_count", 0),
        number("heads-100000", "llama.attention.head_count", 100_000),
        number("heads-that-do-not-divide", "llama.attention.head_count", 6),
        number("kv-heads-0", "llama.attention.head_count_kv", 0),
        number("kv-heads-more-than-heads", "llama.attention.head_count_kv", 8),
        number("kv-heads-that-do-not-divide", "llama.attention.head_count_kv", 3),
        changed("kv-heads-of-one-layer", |writer| {
            writer.i32s("llama.attention.head_count_kv", &[2]);
        }),
        changed("kv-heads-that-differ", |writer| {
            writer.i32s("llama.attention.head_count_kv", &[2, 4]);
        }),
        number("key-length-0", "llama.attention.key_length", 0),
        number("key-length-2-to-the-30", "llama.attention.key_length", 1 << 30),
        number("key-is-not-value", "llama.attention.value_length", 16),
    ]
}

fn rotations() -> Vec<Attack> {
    let qwen = |name, rotary| {
        of("qwen2", name, |writer| {
            writer.u32("qwen2.rope.dimension_count", rotary);
        })
    };
    let sections = |name, sections: &[i32]| {
        of("qwen2vl", name, |writer| {
            writer.i32s("qwen2vl.rope.dimension_sections", sections);
        })
    };
    vec![
        number("rotary-longer-than-head", "llama.rope.dimension_count", 16),
        qwen("rotary-of-half-a-head", 4),
        of("gemma", "rotary-odd", |writer| {
            writer.u32("gemma.rope.dimension_count", 7);
        }),
        // ggml goes round for ever.
        of("gemma", "rotary-0", |writer| {
            writer.u32("gemma.rope.dimension_count", 0);
        }),
        of("gemma3", "rotary-of-windowed-layers-0", |writer| {
            writer.u32("gemma3.attention.sliding_window", 64).u32("gemma3.rope.dimension_count_swa", 0);
        }),
        of("qwen2vl", "rope-sections-missing", |_| ()),
        sections("rope-sections-0", &[0; 4]),
        sections("rope-sections-negative", &[4, 2, -1, 2]),
        sections("rope-sections-of-three", &[2, 2, 2]),
    ]
}

fn latent() -> Vec<Attack> {
    let with = |name, changes: &[(&str, u32)]| {
        of("deepseek2", name, |writer| {
            let sizes = [
                ("attention.head_count_kv", 1),
                ("attention.kv_lora_rank", 16),
                ("attention.key_length", 24),
                ("attention.value_length", 16),
                ("attention.key_length_mla", 16),
                ("attention.value_length_mla", 8),
                ("rope.dimension_count", 8),
            ];
            for (key, value) in sizes.iter().chain(changes) {
                writer.u32(&format!("deepseek2.{key}"), *value);
            }
        })
    };
    vec![
        with("latent-keys-without-values", &[("attention.value_length_mla", 0)]),
        with("latent-keys-of-two-heads", &[("attention.head_count_kv", 2)]),
        with("latent-keys-too-long", &[("attention.key_length", 32)]),
        with("latent-keys-all-rotated", &[("rope.dimension_count", 16), ("attention.key_length", 32)]),
    ]
}

fn windows() -> Vec<Attack> {
    const PATTERN: &str = "gemma2.attention.sliding_window_pattern";
    vec![
        of("gemma2", "window-that-no-layer-uses", |writer| {
            writer.u32(PATTERN, 1);
        }),
        of("gemma2", "window-of-2-billion", |writer| {
            writer.u32("gemma2.attention.sliding_window", 2_000_000_000);
        }),
        of("gemma2", "window-list-of-one-layer", |writer| {
            writer.array(PATTERN, ValueType::Bool, 1, &[1]);
        }),
        of("gemma4", "keys-borrowed-from-nowhere", |writer| {
            writer.u32("gemma4.attention.sliding_window", 64).u32("gemma4.attention.shared_kv_layers", 2);
            writer.array("gemma4.attention.sliding_window_pattern", ValueType::Bool, 2, &[1, 0]);
        }),
    ]
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
            Shape Key Missing
                no-heads/no-heads.gguf: key "llama.attention.head_count" is missing
            Shape Heads Count
                heads-0/heads-0.gguf: layer 0 has 0 attention heads; 1 to 4096 can be
            Shape Heads Count
                heads-100000/heads-100000.gguf: layer 0 has 100000 attention heads; 1 to 4096 can be
            Shape Heads NotDivisible
                heads-that-do-not-divide/heads-that-do-not-divide.gguf: its embedding length 32 is no multiple of its 6 heads
            Shape Heads KvCount
                kv-heads-0/kv-heads-0.gguf: layer 0 has 0 key-value heads, which do not divide its 4 heads
            Shape Heads KvCount
                kv-heads-more-than-heads/kv-heads-more-than-heads.gguf: layer 0 has 8 key-value heads, which do not divide its 4 heads
            Shape Heads KvCount
                kv-heads-that-do-not-divide/kv-heads-that-do-not-divide.gguf: layer 0 has 3 key-value heads, which do not divide its 4 heads
            Shape Key WrongLength
                kv-heads-of-one-layer/kv-heads-of-one-layer.gguf: key "llama.attention.head_count_kv" has 1 entries but there are 2 layers
            Shape Heads NotUniform
                kv-heads-that-differ/kv-heads-that-differ.gguf: key "llama.attention.head_count_kv" differs from layer to layer, which llama.cpp cannot compute for "llama"
            Shape Heads Length
                key-length-0/key-length-0.gguf: key "llama.attention.key_length" is 0; 1 to 8192 can be
            Shape Heads Length
                key-length-2-to-the-30/key-length-2-to-the-30.gguf: key "llama.attention.key_length" is 1073741824; 1 to 8192 can be
            Shape Heads KeyIsNotValue
                key-is-not-value/key-is-not-value.gguf: its keys have 8 numbers a head and its values 16, for "llama" they must be as many
            Shape Heads RotaryIsNotHead
                rotary-longer-than-head/rotary-longer-than-head.gguf: 16 of the 8 numbers of a head are rotated, for "llama" it must be all of them
            Shape Heads RotaryIsNotHead
                rotary-of-half-a-head/rotary-of-half-a-head.gguf: 4 of the 8 numbers of a head are rotated, for "qwen2" it must be all of them
            Shape Heads Rotary
                rotary-odd/rotary-odd.gguf: 7 numbers of a head are rotated: that must be even, above 0 and at most the 8 of its key
            Shape Heads Rotary
                rotary-0/rotary-0.gguf: 0 numbers of a head are rotated: that must be even, above 0 and at most the 8 of its key
            Shape Heads Rotary
                rotary-of-windowed-layers-0/rotary-of-windowed-layers-0.gguf: 0 numbers of a head are rotated: that must be even, above 0 and at most the 8 of its key
            Shape NoRopeSections
                rope-sections-missing/rope-sections-missing.gguf: its rope sections are missing, on which ggml aborts
            Shape RopeSections
                rope-sections-0/rope-sections-0.gguf: its rope sections [0, 0, 0, 0] do not fit into the 8 rotated numbers of a head
            Shape RopeSections
                rope-sections-negative/rope-sections-negative.gguf: its rope sections [4, 2, -1, 2] do not fit into the 8 rotated numbers of a head
            Shape RopeSections
                rope-sections-of-three/rope-sections-of-three.gguf: its rope sections [2, 2, 2] do not fit into the 8 rotated numbers of a head
            Shape Latent Half
                latent-keys-without-values/latent-keys-without-values.gguf: it has the length of uncompressed keys or values but not of both
            Shape Latent KvHeads
                latent-keys-of-two-heads/latent-keys-of-two-heads.gguf: layer 0 has 2 key-value heads; over compressed keys it must be 1
            Shape Latent Lengths
                latent-keys-too-long/latent-keys-too-long.gguf: its keys have 32 numbers and its values 16; compressed to 16 with 8 rotated they must have 16 + 8 and 16
            Shape Latent Rotary
                latent-keys-all-rotated/latent-keys-all-rotated.gguf: 16 of the 16 numbers of an uncompressed key are rotated, which leaves none to compress
            Shape Heads WindowUnused
                window-that-no-layer-uses/window-that-no-layer-uses.gguf: its sliding window is 4096 tokens but no layer uses it, on which llama.cpp aborts
            Shape Heads Window
                window-of-2-billion/window-of-2-billion.gguf: its sliding window is 2000000000 tokens, more than 4194304
            Shape Key WrongLength
                window-list-of-one-layer/window-list-of-one-layer.gguf: key "gemma2.attention.sliding_window_pattern" has 1 entries but there are 2 layers
            Shape Heads Borrowed
                keys-borrowed-from-nowhere/keys-borrowed-from-nowhere.gguf: its layers from number 0 on borrow keys and values, but the two before them are not one of each kind
        "#]],
        );
    }
}
