use super::{Family, TokenizerFault};
use crate::metadata::Metadata;
use crate::value::ValueType;

const KEY: &str = "tokenizer.ggml.precompiled_charsmap";

/// Steps of the walk over a map; the one that SentencePiece ships takes 15 million.
const MAX_STEPS: usize = 32_000_000;

/// A map of characters to replacements, as SentencePiece compiles it: an XOR-compressed double array, then texts.
struct CharacterMap<'a> {
    nodes: Vec<u32>,
    texts: &'a [u8],
}

/// Checks that no prompt leads out of the map: llama.cpp throws there, through its C interface.
pub(super) fn check(metadata: &Metadata, family: Family) -> Result<(), TokenizerFault> {
    if family != Family::Unigram {
        return Ok(());
    }
    let Some(array) = metadata.array(KEY)? else { return Ok(()) };
    if !matches!(array.element, ValueType::U8 | ValueType::I8) {
        return Err(damaged("it is no array of bytes"));
    }
    CharacterMap::parse(array.bytes().ok_or(damaged("it is too long"))?)?.walk()
}

fn damaged(what: &'static str) -> TokenizerFault {
    TokenizerFault::CharacterMap { what }
}

impl<'a> CharacterMap<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, TokenizerFault> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(damaged("it is too short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length >= rest.len() || !length.is_multiple_of(4) {
            return Err(damaged("its array reaches past its end"));
        }
        let (array, texts) = rest.split_at(length);
        let nodes =
            array.chunks_exact(4).map(|node| u32::from_le_bytes([node[0], node[1], node[2], node[3]]));
        let map = Self { nodes: nodes.collect(), texts };
        if map.texts.last() != Some(&0) {
            return Err(damaged("its last text has no end"));
        }
        Ok(map)
    }

    /// Visits all nodes that a text can reach, once each.
    fn walk(&self) -> Result<(), TokenizerFault> {
        let mut seen = vec![false; self.nodes.len()];
        let mut bases = vec![self.base(0)?];
        let mut steps = 0;
        while let Some(base) = bases.pop() {
            steps += 255;
            if steps > MAX_STEPS {
                return Err(damaged("it is larger than any known"));
            }
            for byte in 1..=255u32 {
                let index = (base ^ byte) as usize;
                let node = *self.nodes.get(index).ok_or(damaged("a node leads out of its array"))?;
                if node & 0x8000_00ff != byte || std::mem::replace(&mut seen[index], true) {
                    continue;
                }
                bases.push(self.follow(index, node)?);
            }
        }
        Ok(())
    }

    /// The base of a node's children; where the node ends an entry, its text is checked too.
    fn follow(&self, index: usize, node: u32) -> Result<u32, TokenizerFault> {
        let base = index as u32 ^ self.base(index)?;
        if (node >> 8) & 1 == 1 {
            let leaf = *self.nodes.get(base as usize).ok_or(damaged("a leaf lies out of its array"))?;
            if (leaf & 0x7fff_ffff) as usize >= self.texts.len() {
                return Err(damaged("a text lies out of its texts"));
            }
        }
        Ok(base)
    }

    fn base(&self, index: usize) -> Result<u32, TokenizerFault> {
        let node = *self.nodes.get(index).ok_or(damaged("its array is empty"))?;
        Ok((node >> 10) << ((node & (1 << 9)) >> 6))
    }
}
