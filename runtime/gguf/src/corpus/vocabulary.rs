use super::{Attack, changed};
use crate::value::ValueType;
use crate::writer::GgufWriter;

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const TEMPLATE: &str = "tokenizer.chat_template";

const BYTE: i32 = 6;

/// Wrong in the vocabulary or in a chat template.
pub(super) fn attacks() -> Vec<Attack> {
    [models(), tables(), tokens(), bytes(), specials(), maps(), templates()].concat()
}

/// As many tokens as the sound model has, the first of them these.
fn tokens_beginning(first: &[&str]) -> Vec<String> {
    let rest = (first.len()..272).map(|index| format!("t{index}"));
    first.iter().map(|token| (*token).to_owned()).chain(rest).collect()
}

/// All byte tokens of a SentencePiece vocabulary, then others.
fn byte_fallback() -> Vec<String> {
    let bytes: Vec<String> = (0..=255u8).map(|byte| format!("<0x{byte:02X}>")).collect();
    tokens_beginning(&bytes.iter().map(String::as_str).collect::<Vec<_>>())
}

fn models() -> Vec<Attack> {
    let model = |name, model| {
        changed(name, |writer| {
            writer.text(MODEL, model);
        })
    };
    vec![
        changed("no-tokenizer", |writer| {
            writer.without(MODEL);
        }),
        model("tokenizer-none", "none"),
        model("tokenizer-unknown", "tiktoken"),
        changed("merges-missing", |writer| {
            writer.without(MERGES);
        }),
        changed("merges-as-numbers", |writer| {
            writer.i32s(MERGES, &[1, 2]);
        }),
        changed("merge-without-a-space", |writer| {
            writer.texts(MERGES, &["e t", "et"]);
        }),
    ]
}

fn tables() -> Vec<Attack> {
    vec![
        changed("no-tokens", |writer| {
            writer.without(TOKENS);
        }),
        changed("tokens-as-numbers", |writer| {
            writer.i32s(TOKENS, &[1; 272]);
        }),
        changed("tokens-none", |writer| {
            writer.texts::<&str>(TOKENS, &[]);
        }),
        Attack::new("tokens-600000", tokens_header(600_000)).stretched(8 << 20),
        // #26690 of llama.cpp: one byte each, read as four, past the end of the array.
        changed("token-types-as-u8", |writer| {
            writer.array(TYPES, ValueType::U8, 272, &[1; 272]);
        }),
        changed("scores-as-u8", |writer| {
            writer.array(SCORES, ValueType::U8, 272, &[0; 272]);
        }),
        changed("token-types-too-few", |writer| {
            writer.i32s(TYPES, &[1; 271]);
        }),
        changed("scores-too-few", |writer| {
            writer.f32s(SCORES, &[0.0; 3]);
        }),
        changed("token-type-7", |writer| {
            writer.i32s(TYPES, &[7; 272]);
        }),
        changed("score-nan", |writer| {
            writer.f32s(SCORES, &[f32::NAN; 272]);
        }),
    ]
}

/// A header that goes on with `count` tokens.
fn tokens_header(count: u64) -> Vec<u8> {
    let mut header = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    header.extend_from_slice(&(TOKENS.len() as u64).to_le_bytes());
    header.extend_from_slice(TOKENS.as_bytes());
    header.extend_from_slice(&ValueType::Array.id().to_le_bytes());
    header.extend_from_slice(&ValueType::String.id().to_le_bytes());
    header.extend_from_slice(&count.to_le_bytes());
    header
}

fn tokens() -> Vec<Attack> {
    let with = |name, tokens: Vec<String>| {
        changed(name, |writer| {
            writer.texts(TOKENS, &tokens);
        })
    };
    vec![
        with("token-twice", tokens_beginning(&["same", "same"])),
        // llama.cpp names empty tokens, and then finds the name taken.
        with("token-named-like-an-empty-one", tokens_beginning(&["", "[EMPTY_0]"])),
        // Cut at the NUL it is token 0 again.
        with("token-with-nul", tokens_beginning(&["same", "same\0"])),
        // CVE-2025-49847: the length of a token went into 32 bits.
        with("token-of-5-kb", tokens_beginning(&[&"x".repeat(5_000)])),
        with("token-of-200-kb", tokens_beginning(&[&"x".repeat(200_000)])),
        // llama.cpp writes a token once more for each letter of it that stands for no byte.
        with("tokens-that-expand", (0..272).map(|index| format!("{index}{}", "語".repeat(1_300))).collect()),
        changed("token-not-utf8", |writer| {
            let mut tokens: Vec<Vec<u8>> =
                tokens_beginning(&[]).into_iter().map(String::into_bytes).collect();
            tokens[5] = vec![0xe2, 0x82];
            writer.texts(TOKENS, &tokens);
        }),
    ]
}

fn bytes() -> Vec<Attack> {
    let marked = |name, model: &'static str, token: &'static str| {
        changed(name, |writer| {
            let mut types = [1; 272];
            types[0] = BYTE;
            writer.text(MODEL, model).texts(TOKENS, &tokens_beginning(&[token])).i32s(TYPES, &types);
        })
    };
    let vocabulary = |name, model, tokens: Vec<String>| {
        changed(name, |writer| {
            writer.text(MODEL, model).texts(TOKENS, &tokens);
        })
    };
    let mut incomplete = byte_fallback();
    incomplete[0xfe] = "<0xff>".to_owned();
    vec![
        // #25969 of llama.cpp: a write out of bounds, an exception that nobody catches.
        marked("byte-token-minus-1", "plamo2", "<0x-1>"),
        marked("byte-token-zz", "plamo2", "<0xZZ>"),
        marked("byte-token-lower-case", "llama", "<0x0a>"),
        marked("byte-token-too-short", "gpt2", "<0"),
        marked("byte-token-of-word-pieces", "bert", "<0x0A>"),
        vocabulary("byte-missing", "llama", incomplete),
        vocabulary("bytes-missing-in-rwkv", "rwkv", tokens_beginning(&["\\n\\n"])),
        vocabulary("bytes-missing-in-plamo", "plamo2", tokens_beginning(&[])),
        vocabulary("plamo-token-of-200-letters", "plamo2", tokens_beginning(&[&"x".repeat(200)])),
    ]
}

fn specials() -> Vec<Attack> {
    let id = |name, key: &str, id| {
        changed(name, |writer| {
            writer.u32(key, id);
        })
    };
    vec![
        id("bos-272", "tokenizer.ggml.bos_token_id", 272),
        id("eos-minus-1", "tokenizer.ggml.eos_token_id", u32::MAX),
        id("eot-2-to-the-31", "tokenizer.ggml.eot_token_id", 1 << 31),
        changed("eos-as-i32", |writer| {
            writer.i32("tokenizer.ggml.eos_token_id", -1);
        }),
        changed("bos-added-but-none", |writer| {
            unigram(writer, &map_bytes(&[0; 256], b"\0"));
            writer.without("tokenizer.ggml.bos_token_id").flag("tokenizer.ggml.add_bos_token", true);
        }),
        changed("word-pieces-without-separator", |writer| {
            writer.text(MODEL, "bert").texts(TOKENS, &tokens_beginning(&[])[..90]).i32s(TYPES, &[1; 90]);
            writer.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
        }),
    ]
}

/// Turns the vocabulary into one of the unigram family, with this map of characters.
fn unigram(writer: &mut GgufWriter, map: &[u8]) {
    writer.text(MODEL, "t5").texts(TOKENS, &tokens_beginning(&[])).f32s(SCORES, &[0.0; 272]);
    writer.array("tokenizer.ggml.precompiled_charsmap", ValueType::U8, map.len(), map);
}

fn maps() -> Vec<Attack> {
    let map =
        |name, nodes: &[u32], texts: &[u8]| changed(name, |writer| unigram(writer, &map_bytes(nodes, texts)));
    vec![
        changed("map-too-short", |writer| unigram(writer, &[1, 2])),
        changed("map-that-claims-4-gb", |writer| unigram(writer, &[0xfc, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
        map("map-without-end-of-text", &[0; 256], b"a"),
        // The root's base lies far outside.
        map("map-that-leads-out", &[1 << 30; 256], b"\0"),
        map("map-with-text-far-away", &leaf_nodes(), b"\0"),
    ]
}

fn map_bytes(nodes: &[u32], texts: &[u8]) -> Vec<u8> {
    let mut bytes = (4 * nodes.len() as u32).to_le_bytes().to_vec();
    bytes.extend(nodes.iter().flat_map(|node| node.to_le_bytes()));
    bytes.extend_from_slice(texts);
    bytes
}

/// A root whose child for `a` is a leaf with a text at offset 1,000.
fn leaf_nodes() -> Vec<u32> {
    let mut nodes = vec![0; 512];
    // Base 256 for the root and for the leaf: 'a' ^ 256, then back to the leaf's value at 'a'.
    nodes[0] = 256 << 10;
    nodes[256 ^ 0x61] = (256 << 10) | (1 << 8) | 0x61;
    nodes[0x61] = 1_000;
    nodes
}

fn templates() -> Vec<Attack> {
    let template = |name, text: &str| {
        changed(name, |writer| {
            writer.text(TEMPLATE, text);
        })
    };
    vec![
        template("template-of-70-kb", &"{{ x }}".repeat(10_000)),
        // #19085 of llama.cpp: templates that nest without end.
        template("template-that-nests", &"{% if a %}".repeat(5_000)),
        template("template-of-brackets", &format!("{{{{ {}x{} }}}}", "(".repeat(2_000), ")".repeat(2_000))),
        changed("template-as-number", |writer| {
            writer.u32(TEMPLATE, 1);
        }),
        changed("templates-40", |writer| {
            for index in 0..40 {
                writer.text(&format!("{TEMPLATE}.t{index}"), "{{ x }}");
            }
        }),
    ]
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::sound;
    use super::super::tests::check;
    use super::*;

    #[test]
    fn all_are_refused() {
        check(
            &attacks(),
            &expect![[r#"
                Tokenizer Key Missing
                    no-tokenizer/no-tokenizer.gguf: key "tokenizer.ggml.model" is missing
                Tokenizer None
                    tokenizer-none/tokenizer-none.gguf: it has no vocabulary (tokenizer "none"), so text cannot become tokens
                Tokenizer Unknown
                    tokenizer-unknown/tokenizer-unknown.gguf: its tokenizer is "tiktoken", which llama.cpp does not know
                Tokenizer NoMerges
                    merges-missing/merges-missing.gguf: key "tokenizer.ggml.merges" is missing, which a gpt2 tokenizer needs
                Tokenizer Key WrongType
                    merges-as-numbers/merges-as-numbers.gguf: key "tokenizer.ggml.merges" has the type array of i32; llama.cpp reads an array of strings
                Header Key NotAMerge
                    merge-without-a-space/merge-without-a-space.gguf: entry 1 of "tokenizer.ggml.merges", "et", is not two tokens with a space between
                Tokenizer Key Missing
                    no-tokens/no-tokens.gguf: key "tokenizer.ggml.tokens" is missing
                Tokenizer Key WrongType
                    tokens-as-numbers/tokens-as-numbers.gguf: key "tokenizer.ggml.tokens" has the type array of i32; llama.cpp reads an array of strings
                Tokenizer Empty
                    tokens-none/tokens-none.gguf: its vocabulary is empty
                Header Key ArrayTooLong
                    tokens-600000/tokens-600000.gguf: key "tokenizer.ggml.tokens" is an array of 600,000 entries, more than the 524,288 that any model needs
                Tokenizer Key WrongType
                    token-types-as-u8/token-types-as-u8.gguf: key "tokenizer.ggml.token_type" has the type array of u8; llama.cpp reads an array of i32
                Tokenizer Key WrongType
                    scores-as-u8/scores-as-u8.gguf: key "tokenizer.ggml.scores" has the type array of u8; llama.cpp reads an array of f32 or i32
                Tokenizer Lengths
                    token-types-too-few/token-types-too-few.gguf: it has 272 tokens but key tokenizer.ggml.token_type has 271 entries
                Tokenizer Lengths
                    scores-too-few/scores-too-few.gguf: it has 272 tokens but key tokenizer.ggml.scores has 3 entries
                Tokenizer TokenType
                    token-type-7/token-type-7.gguf: token 0 has the type 7; 0 to 6 can be
                Tokenizer Score
                    score-nan/score-nan.gguf: token 0 has the score NaN
                Tokenizer Duplicate
                    token-twice/token-twice.gguf: tokens 0 and 1 are both "same", on which llama.cpp aborts
                Tokenizer Duplicate
                    token-named-like-an-empty-one/token-named-like-an-empty-one.gguf: tokens 0 and 1 are both "[EMPTY_0]", on which llama.cpp aborts
                Header Key NulInString
                    token-with-nul/token-with-nul.gguf: key "tokenizer.ggml.tokens" holds a string with a NUL in it
                Tokenizer TokenTooLong
                    token-of-5-kb/token-of-5-kb.gguf: token 0 is 5,000 bytes long, more than any known
                Header Key EntryTooLong
                    token-of-200-kb/token-of-200-kb.gguf: entry 0 of "tokenizer.ggml.tokens" is 200,000 bytes long, more than 131,072
                Tokenizer Expansion
                    tokens-that-expand/tokens-that-expand.gguf: its tokens hold so many letters that stand for no byte that llama.cpp would write 1,368,023,800 bytes for them
                Header Key StringNotUtf8
                    token-not-utf8/token-not-utf8.gguf: key "tokenizer.ggml.tokens" holds a string that is no valid UTF-8
                Tokenizer ByteToken
                    byte-token-minus-1/byte-token-minus-1.gguf: token 0, "<0x-1>", is marked as a byte; such a token reads <0x00> to <0xFF>
                Tokenizer ByteToken
                    byte-token-zz/byte-token-zz.gguf: token 0, "<0xZZ>", is marked as a byte; such a token reads <0x00> to <0xFF>
                Tokenizer ByteToken
                    byte-token-lower-case/byte-token-lower-case.gguf: token 0, "<0x0a>", is marked as a byte; such a token reads <0x00> to <0xFF>
                Tokenizer ByteToken
                    byte-token-too-short/byte-token-too-short.gguf: token 0, "<0", is marked as a byte; such a token reads <0x00> to <0xFF>
                Tokenizer ByteTokenUnexpected
                    byte-token-of-word-pieces/byte-token-of-word-pieces.gguf: token 0, "<0x0A>", is marked as a byte, which "bert" tokenizers do not have
                Tokenizer ByteMissing
                    byte-missing/byte-missing.gguf: no token stands for the byte 0xFE: a prompt with it would end llama.cpp
                Tokenizer ByteMissing
                    bytes-missing-in-rwkv/bytes-missing-in-rwkv.gguf: no token stands for the byte 0x00: a prompt with it would end llama.cpp
                Tokenizer ByteMissing
                    bytes-missing-in-plamo/bytes-missing-in-plamo.gguf: no token stands for the byte 0x00: a prompt with it would end llama.cpp
                Tokenizer TokenTooLong
                    plamo-token-of-200-letters/plamo-token-of-200-letters.gguf: token 0 is 200 bytes long, more than any known
                Tokenizer SpecialOutOfRange
                    bos-272/bos-272.gguf: token 272 is to be its first (bos) token but there are only 272 tokens
                Tokenizer SpecialOutOfRange
                    eos-minus-1/eos-minus-1.gguf: token 4294967295 is to be its last (eos) token but there are only 272 tokens
                Tokenizer SpecialOutOfRange
                    eot-2-to-the-31/eot-2-to-the-31.gguf: token 2147483648 is to be its end of turn (eot) token but there are only 272 tokens
                Tokenizer Key WrongType
                    eos-as-i32/eos-as-i32.gguf: key "tokenizer.ggml.eos_token_id" has the type i32; llama.cpp reads u32
                Tokenizer SpecialMissing
                    bos-added-but-none/bos-added-but-none.gguf: a first (bos) token is to be added to each prompt but there is none, on which llama.cpp aborts
                Tokenizer SpecialMissing
                    word-pieces-without-separator/word-pieces-without-separator.gguf: a separator token is to be added to each prompt but there is none, on which llama.cpp aborts
                Tokenizer CharacterMap
                    map-too-short/map-too-short.gguf: its character map ("tokenizer.ggml.precompiled_charsmap") is damaged: it is too short
                Tokenizer CharacterMap
                    map-that-claims-4-gb/map-that-claims-4-gb.gguf: its character map ("tokenizer.ggml.precompiled_charsmap") is damaged: its array reaches past its end
                Tokenizer CharacterMap
                    map-without-end-of-text/map-without-end-of-text.gguf: its character map ("tokenizer.ggml.precompiled_charsmap") is damaged: its last text has no end
                Tokenizer CharacterMap
                    map-that-leads-out/map-that-leads-out.gguf: its character map ("tokenizer.ggml.precompiled_charsmap") is damaged: a node leads out of its array
                Tokenizer CharacterMap
                    map-with-text-far-away/map-with-text-far-away.gguf: its character map ("tokenizer.ggml.precompiled_charsmap") is damaged: a text lies out of its texts
                Template TooLong
                    template-of-70-kb/template-of-70-kb.gguf: its chat template "tokenizer.chat_template" is 70,000 bytes long, more than 65,536
                Template TooDeep
                    template-that-nests/template-that-nests.gguf: its chat template "tokenizer.chat_template" nests more than 48 blocks or brackets
                Template TooDeep
                    template-of-brackets/template-of-brackets.gguf: its chat template "tokenizer.chat_template" nests more than 48 blocks or brackets
                Template Key WrongType
                    template-as-number/template-as-number.gguf: key "tokenizer.chat_template" has the type u32; llama.cpp reads a string
                Template TooMany
                    templates-40/templates-40.gguf: it has 40 chat templates, more than 32
            "#]],
        );
    }

    #[test]
    fn the_vocabularies_are_sound_but_for_what_is_tested() {
        assert_eq!(byte_fallback().len(), 272);
        assert_eq!(sound().tensors[0].dimensions, [32, 272]);
    }
}
