use super::{Attack, changed};
use crate::value::ValueType;
use crate::writer::{GgufWriter, Pair};

/// Wrong in a key or a value, whatever the key means.
pub(super) fn attacks() -> Vec<Attack> {
    [keys(), types(), strings(), arrays(), alignments()].concat()
}

/// A header alone, with one pair of these bytes.
fn alone(name: &'static str, pair: &[u8]) -> Attack {
    let mut bytes = GgufWriter::new().header()[..24].to_vec();
    bytes[16] = 1;
    bytes.extend_from_slice(pair);
    Attack::new(name, bytes)
}

fn pair(key: &[u8], kind: ValueType, payload: &[u8]) -> Pair {
    Pair { key: key.to_vec(), kind: kind.id(), payload: payload.to_vec() }
}

fn keys() -> Vec<Attack> {
    let with_key = |name, key: &[u8]| {
        changed(name, |writer| writer.pairs.insert(0, pair(key, ValueType::U32, &64u32.to_le_bytes())))
    };
    vec![
        // #24884 of llama.cpp: 37 bytes that abort it.
        alone("empty-key-of-37-bytes", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        with_key("key-of-65536-bytes", &[b'k'; 65_536]),
        alone("key-length-minus-1", &[0xff; 16]),
        with_key("key-not-utf8", b"general.\xff\xfe"),
        // To llama.cpp, which compares C strings, this is the alignment; to others it is another key.
        with_key("key-with-nul", b"general.alignment\0x"),
        changed("key-twice", |writer| {
            writer.pairs.push(pair(b"general.architecture", ValueType::String, b"\x04\0\0\0\0\0\0\0bert"));
        }),
    ]
}

fn types() -> Vec<Attack> {
    let with = |name, kind, payload: &'static [u8]| {
        changed(name, |writer| {
            writer.raw(b"x.y", kind, payload);
        })
    };
    vec![
        with("value-type-13", 13, &[0; 8]),
        with("value-type-minus-1", u32::MAX, &[0; 8]),
        with("bool-of-2", ValueType::Bool.id(), &[2]),
        with("bool-array-with-7", ValueType::Array.id(), &[7, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0]),
        with("array-of-arrays", ValueType::Array.id(), &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]),
    ]
}

fn strings() -> Vec<Attack> {
    let with = |name, payload: &[u8]| {
        changed(name, |writer| {
            writer.raw(b"general.description", ValueType::String.id(), payload);
        })
    };
    let long = 70u64 << 20;
    let mut huge = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k\x08\0\0\0".to_vec();
    huge.extend_from_slice(&long.to_le_bytes());
    vec![
        // #19003 of llama.cpp: memory was taken for the length before the file was looked at.
        with("string-length-minus-1", &[0xff; 8]),
        with("string-length-1-gb", &(1u64 << 30).to_le_bytes()),
        with("string-not-utf8", b"\x02\0\0\0\0\0\0\0\xc3\x28"),
        with("string-with-nul", b"\x03\0\0\0\0\0\0\0a\0b"),
        Attack::new("string-of-70-mb", huge).stretched(long + 64),
    ]
}

fn arrays() -> Vec<Attack> {
    let with = |name, element: ValueType, length: u64| {
        let mut payload = element.id().to_le_bytes().to_vec();
        payload.extend_from_slice(&length.to_le_bytes());
        changed(name, |writer| {
            writer.raw(b"x.y", ValueType::Array.id(), &payload);
        })
    };
    // #27188 of llama.cpp: 43 bytes, an endless loop at 120 MB/s.
    let mut tiny = b"\x01\0\0\0\0\0\0\0k\x09\0\0\0\x04\0\0\0".to_vec();
    tiny.extend_from_slice(&(1u64 << 63).to_le_bytes());
    vec![
        alone("array-length-2-to-the-63", &tiny),
        with("array-longer-than-the-file", ValueType::U64, 1 << 20),
        with("string-array-longer-than-the-file", ValueType::String, 1 << 20),
        with("array-of-5-million", ValueType::U8, 5_000_000),
        changed("string-in-array-beyond-the-file", |writer| {
            let entries = [&2u64.to_le_bytes()[..], b"ab", &(1u64 << 40).to_le_bytes()].concat();
            writer.array("x.y", ValueType::String, 2, &entries);
        }),
        changed("string-in-array-of-200-kb", |writer| {
            writer.texts("x.y", &[vec![b'a'; 200_000]]);
        }),
    ]
}

/// GHSA reports of 2025 and 2026: an alignment of 0, of 2^31, of another type; small ones break mapping.
fn alignments() -> Vec<Attack> {
    let with = |name, alignment: u32| {
        changed(name, |writer| {
            writer.u32("general.alignment", alignment);
        })
    };
    vec![
        with("alignment-0", 0),
        with("alignment-3", 3),
        with("alignment-4", 4),
        with("alignment-8192", 8192),
        with("alignment-2-to-the-31", 1 << 31),
        changed("alignment-as-text", |writer| {
            writer.text("general.alignment", "32");
        }),
        changed("alignment-as-u64", |writer| {
            writer.raw(b"general.alignment", ValueType::U64.id(), &32u64.to_le_bytes());
        }),
        changed("alignment-8-that-cannot-be-mapped", unmappable),
    ]
}

/// Lengthens a name until the data starts on 8 but not on 32.
fn unmappable(writer: &mut GgufWriter) {
    writer.u32("general.alignment", 8);
    writer.alignment = 8;
    let mut filler = String::new();
    while writer.header().len().is_multiple_of(32) {
        filler.push_str("fillings");
        writer.text("general.description", &filler);
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
                Header Key Empty
                    empty-key-of-37-bytes/empty-key-of-37-bytes.gguf: key 0 is empty
                Header Key KeyTooLong
                    key-of-65536-bytes/key-of-65536-bytes.gguf: key 0 is 65,536 bytes long, more than the 65535 that GGUF allows
                Header Key KeyTooLong
                    key-length-minus-1/key-length-minus-1.gguf: key 0 is 18,446,744,073,709,551,615 bytes long, more than the 65535 that GGUF allows
                Header Key KeyNotUtf8
                    key-not-utf8/key-not-utf8.gguf: key 0 is no valid UTF-8
                Header Key ControlCharacter
                    key-with-nul/key-with-nul.gguf: key "general.alignment\0x" has a control character in it
                Header Key Duplicate
                    key-twice/key-twice.gguf: key "general.architecture" is there twice
                Header Key UnknownType
                    value-type-13/value-type-13.gguf: key "x.y" has the value type 13, GGUF knows 0 to 12
                Header Key UnknownType
                    value-type-minus-1/value-type-minus-1.gguf: key "x.y" has the value type 4294967295, GGUF knows 0 to 12
                Header Key NotBool
                    bool-of-2/bool-of-2.gguf: key "x.y" holds the byte 2 where a bool, 0 or 1, should be
                Header Key NotBool
                    bool-array-with-7/bool-array-with-7.gguf: key "x.y" holds the byte 7 where a bool, 0 or 1, should be
                Header Key NestedArray
                    array-of-arrays/array-of-arrays.gguf: key "x.y" is an array of arrays, which no model needs and llama.cpp refuses
                Header Key StringPastEnd
                    string-length-minus-1/string-length-minus-1.gguf: key "general.description" is a string of 18,446,744,073,709,551,615 bytes but only 56,082 remain in the file
                Header Key StringPastEnd
                    string-length-1-gb/string-length-1-gb.gguf: key "general.description" is a string of 1,073,741,824 bytes but only 56,082 remain in the file
                Header Key StringNotUtf8
                    string-not-utf8/string-not-utf8.gguf: key "general.description" holds a string that is no valid UTF-8
                Header Key NulInString
                    string-with-nul/string-with-nul.gguf: key "general.description" holds a string with a NUL in it
                Header Key Read TooLong
                    string-of-70-mb/string-of-70-mb.gguf: the header takes more than 67108864 bytes: no known model needs that
                Header Key ArrayTooLong
                    array-length-2-to-the-63/array-length-2-to-the-63.gguf: key "k" is an array of 9,223,372,036,854,775,808 entries, more than the 4,194,304 that any model needs
                Header Key ArrayPastEnd
                    array-longer-than-the-file/array-longer-than-the-file.gguf: key "x.y" is an array of 1,048,576 u64 but only 56,094 bytes remain in the file
                Header Key ArrayPastEnd
                    string-array-longer-than-the-file/string-array-longer-than-the-file.gguf: key "x.y" is an array of 1,048,576 string but only 56,094 bytes remain in the file
                Header Key ArrayTooLong
                    array-of-5-million/array-of-5-million.gguf: key "x.y" is an array of 5,000,000 entries, more than the 4,194,304 that any model needs
                Header Key StringPastEnd
                    string-in-array-beyond-the-file/string-in-array-beyond-the-file.gguf: key "x.y" is a string of 1,099,511,627,776 bytes but only 56,108 remain in the file
                Header Key EntryTooLong
                    string-in-array-of-200-kb/string-in-array-of-200-kb.gguf: entry 0 of "x.y" is 200,000 bytes long, more than 131,072
                Header Alignment
                    alignment-0/alignment-0.gguf: key "general.alignment" is 0; a power of two from 8 to 4096 is needed
                Header Alignment
                    alignment-3/alignment-3.gguf: key "general.alignment" is 3; a power of two from 8 to 4096 is needed
                Header Alignment
                    alignment-4/alignment-4.gguf: key "general.alignment" is 4; a power of two from 8 to 4096 is needed
                Header Alignment
                    alignment-8192/alignment-8192.gguf: key "general.alignment" is 8192; a power of two from 8 to 4096 is needed
                Header Alignment
                    alignment-2-to-the-31/alignment-2-to-the-31.gguf: key "general.alignment" is 2147483648; a power of two from 8 to 4096 is needed
                Header Key WrongType
                    alignment-as-text/alignment-as-text.gguf: key "general.alignment" has the type string; llama.cpp reads u32
                Header Key WrongType
                    alignment-as-u64/alignment-as-u64.gguf: key "general.alignment" has the type u64; llama.cpp reads u32
                Header Tensor NotMappable
                    alignment-8-that-cannot-be-mapped/alignment-8-that-cannot-be-mapped.gguf: the tensors start at byte 6,360, no multiple of 32, so the file cannot be mapped
            "#]],
        );
    }
}
