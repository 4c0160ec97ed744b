use super::{Attack, changed, of};
use crate::value::ValueType;

/// Wrong in the sizes of the model: what llama.cpp divides by, multiplies or asserts.
pub(super) fn attacks() -> Vec<Attack> {
    [architectures(), sizes(), numbers(), experts(), recurrent()].concat()
}

fn number(name: &'static str, key: &str, number: u32) -> Attack {
    changed(name, |writer| {
        writer.u32(key, number);
    })
}

fn fraction(name: &'static str, key: &str, number: f32) -> Attack {
    changed(name, |writer| {
        writer.f32(key, number);
    })
}

fn architectures() -> Vec<Attack> {
    vec![
        changed("no-architecture", |writer| {
            writer.without("general.architecture");
        }),
        changed("architecture-as-number", |writer| {
            writer.u32("general.architecture", 1);
        }),
        changed("architecture-with-spaces", |writer| {
            writer.text("general.architecture", "Llama 3");
        }),
        of("clip", "image-projector", |_| ()),
        of("eagle3", "draft-model", |_| ()),
        of("t5", "encoder-decoder", |_| ()),
        of("wavtokenizer-dec", "audio-decoder", |_| ()),
    ]
}

fn sizes() -> Vec<Attack> {
    vec![
        changed("no-block-count", |writer| {
            writer.without("llama.block_count");
        }),
        number("block-count-0", "llama.block_count", 0),
        // #25821 and #26051 of llama.cpp: per-layer arrays of 512 were written past their end.
        number("block-count-513", "llama.block_count", 513),
        number("block-count-minus-1", "llama.block_count", u32::MAX),
        changed("block-count-as-u64", |writer| {
            writer.raw(b"llama.block_count", ValueType::U64.id(), &2u64.to_le_bytes());
        }),
        number("all-layers-for-drafting", "llama.nextn_predict_layers", 2),
        number("context-0", "llama.context_length", 0),
        number("context-minus-1", "llama.context_length", u32::MAX),
        number("embedding-0", "llama.embedding_length", 0),
        number("embedding-2-to-the-31", "llama.embedding_length", 1 << 31),
        changed("feed-forward-of-3-layers", |writer| {
            writer.i32s("llama.feed_forward_length", &[64; 3]);
        }),
        changed("feed-forward-negative", |writer| {
            writer.i32s("llama.feed_forward_length", &[64, -64]);
        }),
        changed("feed-forward-as-f32", |writer| {
            writer.f32s("llama.feed_forward_length", &[64.0; 2]);
        }),
    ]
}

fn numbers() -> Vec<Attack> {
    const EPSILON: &str = "llama.attention.layer_norm_rms_epsilon";
    vec![
        fraction("epsilon-nan", EPSILON, f32::NAN),
        fraction("epsilon-negative", EPSILON, -1e-5),
        fraction("rope-base-infinite", "llama.rope.freq_base", f32::INFINITY),
        fraction("rope-base-0", "llama.rope.freq_base", 0.0),
        fraction("rope-factor-nan", "llama.rope.scaling.factor", f32::NAN),
        changed("rope-scaling-unknown", |writer| {
            writer.text("llama.rope.scaling.type", "su");
        }),
        number("pooling-9", "llama.pooling_type", 9),
        fraction("attention-that-cools-by-nothing", "llama.attention.temperature_scale", 0.1),
        number("full-attention-every-0-layers", "llama.full_attention_interval", 0),
    ]
}

fn experts() -> Vec<Attack> {
    let with = |name, count, used, groups: Option<(u32, u32)>| {
        changed(name, |writer| {
            writer.u32("llama.expert_count", count).u32("llama.expert_used_count", used);
            if let Some((groups, used)) = groups {
                writer.u32("llama.expert_group_count", groups).u32("llama.expert_group_used_count", used);
            }
        })
    };
    vec![
        with("experts-2000", 2000, 2, None),
        with("experts-of-which-none-is-used", 8, 0, None),
        with("experts-used-more-than-there-are", 8, 9, None),
        with("experts-used-without-any", 0, 2, None),
        with("expert-groups-that-do-not-divide", 8, 2, Some((3, 1))),
        with("expert-groups-all-used", 8, 2, Some((4, 4))),
        number("expert-gating-9", "llama.expert_gating_func", 9),
        of("qwen3moe", "experts-missing", |_| ()),
        changed("experts-of-one-layer-only", |writer| {
            writer.u32("llama.expert_count", 8).i32s("llama.expert_used_count", &[0, 2]);
        }),
    ]
}

fn recurrent() -> Vec<Attack> {
    let space = |name, key: &'static str, value| {
        of("mamba2", name, |writer| {
            for (key, value) in [
                ("conv_kernel", 4),
                ("inner_size", 64),
                ("state_size", 16),
                ("time_step_rank", 4),
                ("group_count", 2),
            ] {
                writer.u32(&format!("mamba2.ssm.{key}"), value);
            }
            writer.u32(&format!("mamba2.ssm.{key}"), value);
        })
    };
    vec![
        of("mamba", "state-space-without-sizes", |_| ()),
        space("convolution-0", "conv_kernel", 0),
        space("state-of-2-to-the-31", "state_size", 1 << 31),
        space("time-steps-that-do-not-divide", "time_step_rank", 5),
        space("state-groups-that-do-not-divide", "group_count", 3),
        space("state-groups-0", "group_count", 0),
        of("rwkv6", "rwkv-head-that-does-not-divide", |writer| {
            writer.u32("rwkv6.wkv.head_size", 7);
        }),
        of("rwkv7", "rwkv-that-shifts-three", |writer| {
            writer.u32("rwkv7.wkv.head_size", 8).u32("rwkv7.token_shift_count", 3);
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
                    no-architecture/no-architecture.gguf: key "general.architecture" is missing
                Shape Key WrongType
                    architecture-as-number/architecture-as-number.gguf: key "general.architecture" has the type u32; llama.cpp reads a string
                Shape ArchitectureName
                    architecture-with-spaces/architecture-with-spaces.gguf: its architecture "Llama 3" is no plain lower-case name
                Shape Unfit
                    image-projector/image-projector.gguf: its architecture is "clip", which cannot be served: it is the image part of another model (an mmproj file), not a model of its own
                Shape Unfit
                    draft-model/draft-model.gguf: its architecture is "eagle3", which cannot be served: it is a draft model that runs only beside its large one
                Shape Unfit
                    encoder-decoder/encoder-decoder.gguf: its architecture is "t5", which cannot be served: encoder-decoder models are not supported
                Shape Unfit
                    audio-decoder/audio-decoder.gguf: its architecture is "wavtokenizer-dec", which cannot be served: it makes sound, not text
                Shape Key Missing
                    no-block-count/no-block-count.gguf: key "llama.block_count" is missing
                Shape Layers
                    block-count-0/block-count-0.gguf: it has 0 layers; llama.cpp takes 1 to 512
                Shape Layers
                    block-count-513/block-count-513.gguf: it has 513 layers; llama.cpp takes 1 to 512
                Shape Layers
                    block-count-minus-1/block-count-minus-1.gguf: it has 4294967295 layers; llama.cpp takes 1 to 512
                Shape Key WrongType
                    block-count-as-u64/block-count-as-u64.gguf: key "llama.block_count" has the type u64; llama.cpp reads u32
                Shape DraftLayers
                    all-layers-for-drafting/all-layers-for-drafting.gguf: 2 of its 2 layers are for drafting, which leaves none to answer with
                Shape ContextLength
                    context-0/context-0.gguf: its context length is 0; 1 to 134,217,728 can be
                Shape ContextLength
                    context-minus-1/context-minus-1.gguf: its context length is 4,294,967,295; 1 to 134,217,728 can be
                Shape EmbeddingLength
                    embedding-0/embedding-0.gguf: its embedding length is 0; 1 to 1,048,576 can be
                Shape EmbeddingLength
                    embedding-2-to-the-31/embedding-2-to-the-31.gguf: its embedding length is 2,147,483,648; 1 to 1,048,576 can be
                Shape Key WrongLength
                    feed-forward-of-3-layers/feed-forward-of-3-layers.gguf: key "llama.feed_forward_length" has 3 entries but there are 2 layers
                Shape Key WrongType
                    feed-forward-negative/feed-forward-negative.gguf: key "llama.feed_forward_length" has the type array of i32; llama.cpp reads an array of whole numbers of at least 0
                Shape Key WrongType
                    feed-forward-as-f32/feed-forward-as-f32.gguf: key "llama.feed_forward_length" has the type array of f32; llama.cpp reads an array of whole numbers of at least 0
                Shape Epsilon
                    epsilon-nan/epsilon-nan.gguf: key "llama.attention.layer_norm_rms_epsilon" is NaN; it must be a number of at least 0 and at most 1
                Shape Epsilon
                    epsilon-negative/epsilon-negative.gguf: key "llama.attention.layer_norm_rms_epsilon" is -0.00001; it must be a number of at least 0 and at most 1
                Shape NotFinite
                    rope-base-infinite/rope-base-infinite.gguf: key "llama.rope.freq_base" is inf, which is no number to compute with
                Shape NotFinite
                    rope-base-0/rope-base-0.gguf: key "llama.rope.freq_base" is 0, which is no number to compute with
                Shape NotFinite
                    rope-factor-nan/rope-factor-nan.gguf: key "llama.rope.scaling.factor" is NaN, which is no number to compute with
                Shape RopeScaling
                    rope-scaling-unknown/rope-scaling-unknown.gguf: its rope scaling is "su"; llama.cpp knows none, linear, yarn and longrope
                Shape Pooling
                    pooling-9/pooling-9.gguf: its pooling type is 9; llama.cpp knows 0 to 4
                Shape Temperature
                    attention-that-cools-by-nothing/attention-that-cools-by-nothing.gguf: its attention cools by 0.1 but key "attention.temperature_length" is missing or 0
                Shape Divisor
                    full-attention-every-0-layers/full-attention-every-0-layers.gguf: key "llama.full_attention_interval" is 0, by which llama.cpp divides
                Shape Experts Count
                    experts-2000/experts-2000.gguf: it has 2000 experts; llama.cpp takes up to 1024
                Shape Experts Used
                    experts-of-which-none-is-used/experts-of-which-none-is-used.gguf: a token uses 0 of its 8 experts
                Shape Experts Used
                    experts-used-more-than-there-are/experts-used-more-than-there-are.gguf: a token uses 9 of its 8 experts
                Shape Experts Used
                    experts-used-without-any/experts-used-without-any.gguf: a token uses 2 of its 0 experts
                Shape Experts Groups
                    expert-groups-that-do-not-divide/expert-groups-that-do-not-divide.gguf: its 8 experts are in 3 groups of which a token uses 1
                Shape Experts Groups
                    expert-groups-all-used/expert-groups-all-used.gguf: its 8 experts are in 4 groups of which a token uses 4
                Shape Experts Gating
                    expert-gating-9/expert-gating-9.gguf: its expert gating function is 9; llama.cpp knows 0 to 4
                Shape Experts None
                    experts-missing/experts-missing.gguf: it has no experts, which its architecture cannot do without
                Shape Experts Uneven
                    experts-of-one-layer-only/experts-of-one-layer-only.gguf: a token uses no experts in some of its layers, by which llama.cpp divides
                Shape Key Missing
                    state-space-without-sizes/state-space-without-sizes.gguf: key "mamba.ssm.conv_kernel" is missing
                Shape Recurrent Size
                    convolution-0/convolution-0.gguf: key "mamba2.ssm.conv_kernel" is 0; 1 to 1048576 can be
                Shape Recurrent Size
                    state-of-2-to-the-31/state-of-2-to-the-31.gguf: key "mamba2.ssm.state_size" is 2147483648; 1 to 1048576 can be
                Shape Recurrent NotDivisible
                    time-steps-that-do-not-divide/time-steps-that-do-not-divide.gguf: key "mamba2.ssm.time_step_rank" is 5, which does not divide the 64 of the inner size
                Shape Recurrent NotDivisible
                    state-groups-that-do-not-divide/state-groups-that-do-not-divide.gguf: key "mamba2.ssm.group_count" is 3, which does not divide the 4 of the time step rank
                Shape Recurrent Size
                    state-groups-0/state-groups-0.gguf: key "mamba2.ssm.group_count" is 0; 1 to 1048576 can be
                Shape Recurrent NotDivisible
                    rwkv-head-that-does-not-divide/rwkv-head-that-does-not-divide.gguf: key "rwkv6.wkv.head_size" is 7, which does not divide the 32 of its embedding
                Shape Recurrent TokenShift
                    rwkv-that-shifts-three/rwkv-that-shifts-three.gguf: it shifts 3 tokens; llama.cpp computes 2
            "#]],
        );
    }
}
