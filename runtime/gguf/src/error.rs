use std::path::PathBuf;

use thiserror::Error;

use crate::header::HeaderFault;
use crate::metadata::KeyFault;
use crate::roles::RoleFault;
use crate::shape::ShapeFault;
use crate::split::SplitFault;
use crate::template::TemplateFault;
use crate::tensor::TensorFault;
use crate::tokenizer::TokenizerFault;

/// Why a file is not served: one sentence that names it, what is wrong and, where there is one, the next step.
#[derive(Debug, Error)]
#[error("{}: {refusal}", path.display())]
pub struct GgufError {
    pub path: PathBuf,
    pub refusal: Refusal,
}

/// What is wrong with a model file, by the part that it is wrong in.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error(transparent)]
    File(#[from] FileFault),
    #[error(transparent)]
    Header(#[from] HeaderFault),
    #[error(transparent)]
    Split(#[from] SplitFault),
    #[error(transparent)]
    Shape(#[from] ShapeFault),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerFault),
    #[error(transparent)]
    Template(#[from] TemplateFault),
    #[error(transparent)]
    Role(#[from] RoleFault),
}

/// Why a file cannot be opened.
#[derive(Debug, Error)]
pub enum FileFault {
    #[error("there is no such file")]
    Missing,
    #[error("it is a folder: name the .gguf file in it")]
    Folder,
    #[error("it is no regular file")]
    NotRegular,
    #[error("it cannot be opened: {0}")]
    Open(#[source] std::io::Error),
}

impl Refusal {
    pub(crate) fn at(self, path: impl Into<PathBuf>) -> GgufError {
        GgufError { path: path.into(), refusal: self }
    }
}

impl From<KeyFault> for Refusal {
    fn from(fault: KeyFault) -> Self {
        Self::Header(fault.into())
    }
}

impl From<TensorFault> for Refusal {
    fn from(fault: TensorFault) -> Self {
        Self::Header(fault.into())
    }
}
