//! Tensors by name, as `wasi:nn` has them. `wit/deps/nn/nn.wit` describes them for guests.

use crate::{Ended, Fault, Session};

/// Most tensors of one call.
const MAX_TENSORS: usize = 64;

/// What a call brings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inputs {
    pub prompt: Option<Vec<u8>>,
    pub options: Option<Vec<u8>>,
    taken: usize,
}

/// Elements of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elements {
    U8,
    Fp32,
}

/// What a call gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub name: &'static str,
    pub dimensions: Vec<u32>,
    pub elements: Elements,
    pub data: Vec<u8>,
}

impl Inputs {
    /// One tensor; `None` as its elements for any other type.
    ///
    /// # Errors
    /// [`Fault::InvalidArgument`] for names that are not known or come twice and for elements other than U8,
    /// [`Fault::TooLarge`] for too many.
    pub fn take(&mut self, name: &str, elements: Option<Elements>, data: Vec<u8>) -> Result<(), Fault> {
        self.taken += 1;
        if self.taken > MAX_TENSORS {
            return Err(Fault::TooLarge(format!("more than {MAX_TENSORS} tensors")));
        }
        let input = match name {
            "prompt" | "0" => &mut self.prompt,
            "options" | "1" => &mut self.options,
            _ => {
                return Err(Fault::InvalidArgument(format!(
                    "there is no input {name:?}; there are prompt (0) and options (1)"
                )));
            }
        };
        if elements != Some(Elements::U8) {
            return Err(Fault::InvalidArgument(format!("the elements of {name:?} are not U8")));
        }
        if input.replace(data).is_some() {
            return Err(Fault::InvalidArgument(format!("the input {name:?} is given twice")));
        }
        Ok(())
    }
}

/// The tensors of a text that ended, or of an embedding.
pub fn outputs(session: &Session, ended: Ended) -> Vec<Output> {
    let metadata = metadata(session, ended);
    if session.options().embedding {
        return vec![embedding(session.embedding()), bytes("metadata", &metadata)];
    }
    let text = session.output();
    vec![bytes("text", text), bytes("metadata", &metadata), bytes("0", text), bytes("1", &metadata)]
}

fn metadata(session: &Session, ended: Ended) -> Vec<u8> {
    let reason = match ended {
        Ended::Complete => "complete",
        Ended::Full => "context-full",
        Ended::Cancelled => "cancelled",
        Ended::Deadline => "deadline",
    };
    let metadata = session.metadata();
    let fields = metadata.trim_end_matches('}');
    format!(r#"{fields}, "stop_reason": "{reason}"}}"#).into_bytes()
}

fn embedding(vector: &[f32]) -> Output {
    let length = u32::try_from(vector.len()).unwrap_or(u32::MAX);
    let data = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    Output { name: "embedding", dimensions: vec![1, length], elements: Elements::Fp32, data }
}

fn bytes(name: &'static str, data: &[u8]) -> Output {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    Output { name, dimensions: vec![length], elements: Elements::U8, data: data.to_vec() }
}
