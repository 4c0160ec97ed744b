use super::{Attack, changed, sound};
use crate::writer::GgufWriter;

/// Wrong before the first key: other formats, versions and counts, and files cut short.
pub(super) fn attacks() -> Vec<Attack> {
    [impostors(), versions(), counts(), cuts()].concat()
}

fn impostors() -> Vec<Attack> {
    let starts: [(&str, &[u8]); 11] = [
        ("web-page", b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"),
        ("git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 91234112\n"),
        (
            "safetensors",
            b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"}}                                 ",
        ),
        ("ggml-2023", b"tjgg\x03\0\0\0\0\x7d\0\0\0\x10\0\0\0\x01\0\0\x20\0\0\0"),
        ("pytorch-zip", b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0archive/data.pkl"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("reversed-magic", b"FUGG\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("json-error", b"{\"error\":\"Invalid username or password.\"}"),
        ("noise", b"\x9b\x02\xff\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0\0\0\0\0\0\0"),
        ("escape-sequence", b"\x1b[2J\x1b[31m"),
        ("empty", b""),
    ];
    starts.into_iter().map(|(name, start)| Attack::new(name, start.to_vec())).collect()
}

fn versions() -> Vec<Attack> {
    let versions =
        [("version-0", 0), ("version-1", 1), ("version-4", 4), ("version-big-endian", 3u32.swap_bytes())];
    versions.into_iter().map(|(name, version)| changed(name, |writer| writer.version = version)).collect()
}

/// CVE-2024-23605 and its kin: counts that memory is taken for before anything is read.
fn counts() -> Vec<Attack> {
    let count = |name, tensors: u64, keys: u64| {
        let mut bytes = GgufWriter::new().header()[..24].to_vec();
        bytes[8..16].copy_from_slice(&tensors.to_le_bytes());
        bytes[16..24].copy_from_slice(&keys.to_le_bytes());
        Attack::new(name, bytes)
    };
    vec![
        count("tensor-count-2-to-the-63", 1 << 63, 0),
        count("tensor-count-minus-1", u64::MAX, 0),
        count("key-count-2-to-the-62", 0, 1 << 62),
        count("key-count-minus-1", 0, u64::MAX),
        count("counts-beyond-the-file", 300, 40),
        count("nothing-in-it", 0, 0),
    ]
}

fn cuts() -> Vec<Attack> {
    let cut = |name, length: usize| {
        let mut bytes = sound().bytes();
        bytes.truncate(length);
        Attack::new(name, bytes)
    };
    let whole = sound();
    let (header, data) = (whole.header().len(), whole.data_bytes() as usize);
    vec![
        cut("one-byte", 1),
        // CVE-2024-39720 of Ollama: four bytes behind the magic.
        cut("magic-only", 4),
        cut("magic-and-four-bytes", 8),
        cut("cut-in-the-first-key", 40),
        cut("cut-in-the-tokens", header / 2),
        cut("cut-in-the-tensors", header - 100),
        cut("cut-before-the-data", header),
        cut("cut-in-the-data", header + data / 2),
        // CVE-2026-7482, "Bleeding Llama": a tensor that ends past the file.
        cut("cut-by-one-byte", header + data - 1),
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
                Header NotGguf
                    web-page/web-page.gguf: it is no GGUF file, it starts like a web page: the download got an error or a login page instead of the file
                Header NotGguf
                    git-lfs-pointer/git-lfs-pointer.gguf: it is no GGUF file, it is a git-lfs pointer: run `git lfs pull` where it was cloned, or download the file itself
                Header NotGguf
                    safetensors/safetensors.gguf: it is no GGUF file, it is in safetensors format: convert it with llama.cpp's convert_hf_to_gguf.py, or get a GGUF of it
                Header NotGguf
                    ggml-2023/ggml-2023.gguf: it is no GGUF file, it is in a format from before GGUF (2023): get a current GGUF of the model
                Header NotGguf
                    pytorch-zip/pytorch-zip.gguf: it is no GGUF file, it is a zip archive, perhaps a PyTorch checkpoint: unpack it, or get a GGUF of the model
                Header NotGguf
                    gzip/gzip.gguf: it is no GGUF file, it is compressed with gzip: unpack it first
                Header NotGguf
                    reversed-magic/reversed-magic.gguf: it is no GGUF file, it is a GGUF in big-endian order: get the little-endian file
                Header NotGguf
                    json-error/json-error.gguf: it is no GGUF file, it holds JSON: the download may have got an error message instead of the file
                Header NotGguf
                    noise/noise.gguf: it is no GGUF file, it starts with bytes [9b, 02, ff, 10] instead of "GGUF"
                Header NotGguf
                    escape-sequence/escape-sequence.gguf: it is no GGUF file, it starts with bytes [1b, 5b, 32, 4a] instead of "GGUF"
                Header Empty
                    empty/empty.gguf: it is empty: the download never started or was cut, get it again
                Header Version
                    version-0/version-0.gguf: it has GGUF version 0; 2 and 3 can be read: convert the model anew with a current llama.cpp
                Header Version
                    version-1/version-1.gguf: it has GGUF version 1; 2 and 3 can be read: convert the model anew with a current llama.cpp
                Header Version
                    version-4/version-4.gguf: it has GGUF version 4; 2 and 3 can be read: convert the model anew with a current llama.cpp
                Header NotGguf
                    version-big-endian/version-big-endian.gguf: it is no GGUF file, it is a GGUF in big-endian order: get the little-endian file
                Header TensorCount
                    tensor-count-2-to-the-63/tensor-count-2-to-the-63.gguf: it claims 9,223,372,036,854,775,808 tensors, more than the 65,536 that any model has
                Header TensorCount
                    tensor-count-minus-1/tensor-count-minus-1.gguf: it claims 18,446,744,073,709,551,615 tensors, more than the 65,536 that any model has
                Header KeyCount
                    key-count-2-to-the-62/key-count-2-to-the-62.gguf: it claims 4,611,686,018,427,387,904 keys, more than the 16,384 that any model has
                Header KeyCount
                    key-count-minus-1/key-count-minus-1.gguf: it claims 18,446,744,073,709,551,615 keys, more than the 16,384 that any model has
                Header CountsPastEnd
                    counts-beyond-the-file/counts-beyond-the-file.gguf: it claims 40 keys and 300 tensors, which cannot fit into its 24 bytes
                Shape Key Missing
                    nothing-in-it/nothing-in-it.gguf: key "general.architecture" is missing
                Header TooShort
                    one-byte/one-byte.gguf: it has 1 bytes, fewer than the 24 of the shortest GGUF header: download it again
                Header TooShort
                    magic-only/magic-only.gguf: it has 4 bytes, fewer than the 24 of the shortest GGUF header: download it again
                Header TooShort
                    magic-and-four-bytes/magic-and-four-bytes.gguf: it has 8 bytes, fewer than the 24 of the shortest GGUF header: download it again
                Header CountsPastEnd
                    cut-in-the-first-key/cut-in-the-first-key.gguf: it claims 24 keys and 20 tensors, which cannot fit into its 40 bytes
                Header Key StringPastEnd
                    cut-in-the-tokens/cut-in-the-tokens.gguf: key "tokenizer.ggml.tokens" is a string of 2 bytes but only 1 remain in the file
                Header Tensor Read PastEnd
                    cut-in-the-tensors/cut-in-the-tensors.gguf: the header goes on past the file's end at byte 6236: it is truncated, download it again
                Header Tensor PastEnd
                    cut-before-the-data/cut-before-the-data.gguf: tensor "token_embd.weight" ends at byte 23,744 but the file has 6,336: it is truncated, download it again
                Header Tensor PastEnd
                    cut-in-the-data/cut-in-the-data.gguf: tensor "blk.0.ffn_gate.weight" ends at byte 34,240 but the file has 33,792: it is truncated, download it again
                Header Tensor PastEnd
                    cut-by-one-byte/cut-by-one-byte.gguf: tensor "output_norm.weight" ends at byte 61,248 but the file has 61,247: it is truncated, download it again
            "#]],
        );
    }
}
