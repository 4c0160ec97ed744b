use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::metadata::{KeyFault, Metadata};
use crate::tensor::Tensor;
use crate::tensor_type::TensorType;

/// The name of the mix of types that a model's weights are stored in: `Q4_K_M`, `Q8_0`, `F16`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Quantization(String);

impl Quantization {
    pub fn name(&self) -> &str {
        &self.0
    }

    /// What the file says of itself, else the type that most bytes of it have.
    pub(crate) fn read(metadata: &Metadata, tensors: &[Tensor]) -> Result<Self, KeyFault> {
        let stated = metadata.u32("general.file_type")?.and_then(file_type);
        let name = stated.unwrap_or_else(|| dominant(tensors).name());
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn dominant(tensors: &[Tensor]) -> TensorType {
    let mut bytes: BTreeMap<TensorType, u64> = BTreeMap::new();
    for tensor in tensors {
        *bytes.entry(tensor.kind).or_default() += tensor.bytes;
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(TensorType::F32, |(kind, _)| kind)
}

/// The short name of a `llama_ftype`, from `llama.h`; `llama_ftype_name` writes `Q4_K - Medium` for our `Q4_K_M`.
fn file_type(number: u32) -> Option<&'static str> {
    Some(match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}
