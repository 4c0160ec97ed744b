use std::fmt;
use std::str::FromStr;

use super::SynthShape;
use crate::tensor_type::TensorType;

/// Numbers in a block of the K types.
const SUPER_BLOCK: u64 = 256;

/// Which type each matrix gets, as llama.cpp's quantizer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    F16,
    Q8_0,
    Q4_0,
    Q4KM,
}

impl Mix {
    pub const ALL: [Self; 4] = [Self::F16, Self::Q8_0, Self::Q4_0, Self::Q4KM];

    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4KM => "Q4_K_M",
        }
    }

    /// Its number in `llama_ftype`.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4_0 => 2,
            Self::Q4KM => 15,
        }
    }

    /// The type of one tensor (`llama_tensor_get_type` and `tensor_type_fallback` of llama.cpp).
    pub(super) fn tensor_type(self, shape: &SynthShape, name: &str, dimensions: &[u64]) -> TensorType {
        let [row, _] = *dimensions else { return TensorType::F32 };
        let fits = row.is_multiple_of(SUPER_BLOCK);
        let (q6, q4) =
            if fits { (TensorType::Q6_K, TensorType::Q4_K) } else { (TensorType::Q8_0, TensorType::Q5_0) };
        // Both output and tied embedding, since all our shapes tie them.
        let is_output = name == "token_embd.weight";
        match self {
            Self::F16 => TensorType::F16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_0 | Self::Q4KM if is_output => q6,
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q4KM if is_sensitive(shape, name) => q6,
            Self::Q4KM => q4,
        }
    }
}

/// Whether a matrix gets more bits: values and feed-forward outputs of the first, the last and every third layer.
fn is_sensitive(shape: &SynthShape, name: &str) -> bool {
    let mut parts = name.split('.').skip(1);
    let (Some(layer), Some(part)) = (parts.next().and_then(|layer| layer.parse::<u32>().ok()), parts.next())
    else {
        return false;
    };
    let (eighth, last) = (shape.layers / 8, 7 * shape.layers / 8);
    matches!(part, "attn_v" | "ffn_down") && (layer < eighth || layer >= last || (layer - eighth) % 3 == 2)
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mix| mix.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            format!("there is no mix {name:?}; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
