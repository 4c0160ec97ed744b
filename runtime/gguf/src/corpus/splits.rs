use super::{Attack, sound};
use crate::value::ValueType;
use crate::writer::GgufWriter;

/// Wrong among the parts of a model in several files.
pub(super) fn attacks() -> Vec<Attack> {
    vec![
        set("part-missing", |parts| {
            parts.remove(1);
        }),
        set("part-with-another-name", |parts| parts[0].0 = "model.gguf".to_owned()),
        set("part-with-another-number", |parts| parts[1].0 = "model-00003-of-00003.gguf".to_owned()),
        changed("part-that-says-it-is-another", |parts| {
            parts[1].u16("split.no", 2);
        }),
        changed("first-part-that-says-it-is-second", |parts| {
            parts[0].u16("split.no", 1);
        }),
        changed("part-of-another-count", |parts| {
            parts[1].u16("split.count", 4);
        }),
        changed("part-of-no-set", |parts| {
            parts[1].without("split.count");
        }),
        // llama.cpp reads this number of the later parts without a look at its type, and aborts.
        changed("part-number-as-u32", |parts| {
            parts[1].u32("split.no", 1);
        }),
        changed("part-without-number", |parts| {
            parts[2].without("split.no");
        }),
        changed("parts-65535", |parts| {
            parts[0].u16("split.count", u16::MAX);
        }),
        changed("tensors-more-than-counted", |parts| {
            parts[0].i32("split.tensors.count", 7);
        }),
        changed("tensors-not-counted", |parts| {
            parts[0].without("split.tensors.count");
        }),
        changed("tensors-counted-as-u64", |parts| {
            parts[0].raw(b"split.tensors.count", ValueType::U64.id(), &20u64.to_le_bytes());
        }),
        changed("tensor-in-two-parts", |parts| {
            let first = parts[0].tensors[0].clone();
            parts[1].tensors[0].name = first.name;
        }),
        set("part-that-is-a-web-page", |parts| {
            parts[2].1 = b"<!DOCTYPE html><html>not found</html>".to_vec()
        }),
        set("part-cut-short", |parts| parts[2].1.truncate(700)),
    ]
}

/// The sound model in three parts.
pub(super) fn sound_parts() -> Vec<GgufWriter> {
    let whole = sound();
    let each = whole.tensors.len().div_ceil(3);
    let mut parts = Vec::new();
    for (index, tensors) in whole.tensors.chunks(each).enumerate() {
        let mut part = if index == 0 { whole.clone() } else { GgufWriter::new() };
        part.u16("split.no", index as u16).u16("split.count", 3);
        part.i32("split.tensors.count", whole.tensors.len() as i32);
        part.tensors.clear();
        for tensor in tensors {
            let offset = part.data_bytes().next_multiple_of(part.alignment);
            part.tensors.push(crate::writer::Planned { offset, ..tensor.clone() });
        }
        parts.push(part);
    }
    parts
}

fn changed(name: &'static str, change: impl FnOnce(&mut [GgufWriter])) -> Attack {
    let mut parts = sound_parts();
    change(&mut parts);
    Attack { name, files: named(&parts), stretched: None }
}

fn set(name: &'static str, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Attack {
    let mut files = named(&sound_parts());
    change(&mut files);
    Attack { name, files, stretched: None }
}

fn named(parts: &[GgufWriter]) -> Vec<(String, Vec<u8>)> {
    let name = |index: usize| format!("model-{:05}-of-{:05}.gguf", index + 1, parts.len());
    parts.iter().enumerate().map(|(index, part)| (name(index), part.bytes())).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::check;
    use super::*;
    use crate::Gguf;

    #[test]
    fn all_are_refused() {
        check(
            &attacks(),
            &expect![[r#"
                Split MissingPart
                    part-missing/model-00002-of-00003.gguf: part 2 of 3 is missing: put it beside the others, all parts are one model
                Split Name
                    part-with-another-name/model.gguf: it is one of 3 parts but its name does not end in -00001-of-00003.gguf or the like: restore the name
                Split MissingPart
                    part-with-another-number/model-00002-of-00003.gguf: part 2 of 3 is missing: put it beside the others, all parts are one model
                Split Number
                    part-that-says-it-is-another/model-00002-of-00003.gguf: it is part 3 of the model by its header, part 2 by its name
                Split Number
                    first-part-that-says-it-is-second/model-00001-of-00003.gguf: it is part 2 of the model by its header, part 1 by its name
                Split Count
                    part-of-another-count/model-00002-of-00003.gguf: it is one of 4 parts by its header, of 3 by those before it
                Split Count
                    part-of-no-set/model-00002-of-00003.gguf: it is one of 1 parts by its header, of 3 by those before it
                Header Key WrongType
                    part-number-as-u32/model-00002-of-00003.gguf: key "split.no" has the type u32; llama.cpp reads u16
                Header Key Missing
                    part-without-number/model-00003-of-00003.gguf: key "split.no" is missing
                Split TooMany
                    parts-65535/model-00001-of-00003.gguf: it is one of 65535 parts, more than 512
                Split Tensors
                    tensors-more-than-counted/model-00001-of-00003.gguf: the parts hold 20 tensors, the first says 7: one of them is from another model
                Header Key Missing
                    tensors-not-counted/model-00001-of-00003.gguf: key "split.tensors.count" is missing
                Header Key WrongType
                    tensors-counted-as-u64/model-00001-of-00003.gguf: key "split.tensors.count" has the type u64; llama.cpp reads i32
                Split Duplicate
                    tensor-in-two-parts/model-00001-of-00003.gguf: tensor "token_embd.weight" is in two parts
                Header NotGguf
                    part-that-is-a-web-page/model-00003-of-00003.gguf: it is no GGUF file, it starts like a web page: the download got an error or a login page instead of the file
                Header Tensor PastEnd
                    part-cut-short/model-00003-of-00003.gguf: tensor "blk.1.attn_output.weight" ends at byte 2,528 but the file has 700: it is truncated, download it again
            "#]],
        );
    }

    #[test]
    fn any_part_opens_the_sound_set() {
        let folder = tempfile::tempdir().unwrap();
        let attack = set("sound", |_| ());
        attack.write(folder.path()).unwrap();
        for (name, _) in &attack.files {
            let gguf = Gguf::open(folder.path().join("sound").join(name)).unwrap();
            assert_eq!((gguf.parts().len(), gguf.tensors().len()), (3, 20));
            assert_eq!(gguf.tensors().iter().map(|tensor| tensor.part).max(), Some(2));
        }
    }
}
