use std::fmt;

use serde::{Serialize, Serializer};

/// How the numbers of a tensor are stored: ggml's types, by their numbers in a file.
///
/// Names, numbers and sizes from `ggml.h`, `ggml.c` and `ggml-common.h` of llama.cpp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorType(u32);

/// What can be said of a type number.
pub(crate) enum Known {
    Usable(TensorType),
    /// Once written, no longer read; with what to do about it.
    Removed(&'static str),
    Unknown,
}

/// What a type is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Float,
    Quantized,
    /// A form that llama.cpp computes with but has no way to read from a file.
    Intermediate,
    Integer,
}

struct Layout {
    id: u32,
    name: &'static str,
    /// Numbers in one block.
    block: u64,
    /// Bytes of one block.
    bytes: u64,
    purpose: Use,
}

const fn layout(id: u32, name: &'static str, block: u64, bytes: u64, purpose: Use) -> Layout {
    Layout { id, name, block, bytes, purpose }
}

const LAYOUTS: [Layout; 35] = [
    layout(0, "F32", 1, 4, Use::Float),
    layout(1, "F16", 1, 2, Use::Float),
    layout(2, "Q4_0", 32, 18, Use::Quantized),
    layout(3, "Q4_1", 32, 20, Use::Quantized),
    layout(6, "Q5_0", 32, 22, Use::Quantized),
    layout(7, "Q5_1", 32, 24, Use::Quantized),
    layout(8, "Q8_0", 32, 34, Use::Quantized),
    layout(9, "Q8_1", 32, 36, Use::Intermediate),
    layout(10, "Q2_K", 256, 84, Use::Quantized),
    layout(11, "Q3_K", 256, 110, Use::Quantized),
    layout(12, "Q4_K", 256, 144, Use::Quantized),
    layout(13, "Q5_K", 256, 176, Use::Quantized),
    layout(14, "Q6_K", 256, 210, Use::Quantized),
    layout(15, "Q8_K", 256, 292, Use::Intermediate),
    layout(16, "IQ2_XXS", 256, 66, Use::Quantized),
    layout(17, "IQ2_XS", 256, 74, Use::Quantized),
    layout(18, "IQ3_XXS", 256, 98, Use::Quantized),
    layout(19, "IQ1_S", 256, 50, Use::Quantized),
    layout(20, "IQ4_NL", 32, 18, Use::Quantized),
    layout(21, "IQ3_S", 256, 110, Use::Quantized),
    layout(22, "IQ2_S", 256, 82, Use::Quantized),
    layout(23, "IQ4_XS", 256, 136, Use::Quantized),
    layout(24, "I8", 1, 1, Use::Integer),
    layout(25, "I16", 1, 2, Use::Integer),
    layout(26, "I32", 1, 4, Use::Integer),
    layout(27, "I64", 1, 8, Use::Integer),
    layout(28, "F64", 1, 8, Use::Integer),
    layout(29, "IQ1_M", 256, 56, Use::Quantized),
    layout(30, "BF16", 1, 2, Use::Float),
    layout(34, "TQ1_0", 256, 54, Use::Quantized),
    layout(35, "TQ2_0", 256, 66, Use::Quantized),
    layout(39, "MXFP4", 32, 17, Use::Quantized),
    layout(40, "NVFP4", 64, 36, Use::Quantized),
    layout(41, "Q1_0", 128, 18, Use::Quantized),
    layout(42, "Q2_0", 64, 18, Use::Quantized),
];

impl TensorType {
    pub const F32: Self = Self(0);
    pub const F16: Self = Self(1);
    pub const Q4_0: Self = Self(2);
    pub const Q8_0: Self = Self(8);
    pub const Q5_0: Self = Self(6);
    pub const Q4_K: Self = Self(12);
    pub const Q6_K: Self = Self(14);
    pub const I32: Self = Self(26);
    pub const BF16: Self = Self(30);

    pub(crate) fn from_id(id: u32) -> Known {
        match id {
            4 | 5 => Known::Removed("it was withdrawn in 2023, get another quantisation of the model"),
            31..=33 => {
                Known::Removed("it was withdrawn in 2024, get the Q4_0 file, which is repacked at load")
            }
            36..=38 => {
                Known::Removed("it was withdrawn in 2024, get the IQ4_NL file, which is repacked at load")
            }
            _ if LAYOUTS.iter().any(|layout| layout.id == id) => Known::Usable(Self(id)),
            _ => Known::Unknown,
        }
    }

    /// All types that a file may name.
    pub fn all() -> impl Iterator<Item = Self> {
        LAYOUTS.iter().map(|layout| Self(layout.id))
    }

    /// The number that stands for it in a file.
    pub fn id(self) -> u32 {
        self.0
    }

    pub fn name(self) -> &'static str {
        self.layout().name
    }

    /// Numbers in one block; the first dimension of a tensor is a multiple of it.
    pub fn block(self) -> u64 {
        self.layout().block
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> u64 {
        self.layout().bytes
    }

    /// Bytes of `elements` numbers, whole blocks of them; `None` past `u64`.
    pub fn bytes_of(self, elements: u64) -> Option<u64> {
        (elements / self.block()).checked_mul(self.block_bytes())
    }

    pub(crate) fn is_intermediate(self) -> bool {
        self.layout().purpose == Use::Intermediate
    }

    pub(crate) fn is_integer(self) -> bool {
        self.layout().purpose == Use::Integer
    }

    fn layout(self) -> &'static Layout {
        // Only numbers of the table become a `TensorType`.
        LAYOUTS.iter().find(|layout| layout.id == self.0).unwrap_or(&LAYOUTS[0])
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for TensorType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
