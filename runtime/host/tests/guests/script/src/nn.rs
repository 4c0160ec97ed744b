//! A pipeline that uses a model by `wasi:nn` beside its own calls.

use bindings::wasi::nn::{
    errors::Error,
    graph,
    tensor::{Tensor, TensorType},
};

#[allow(
    unsafe_code,
    unreachable_pub,
    missing_debug_implementations,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    reason = "generated"
)]
mod bindings {
    wit_bindgen::generate!({ path: "../../../../../wit/deps/nn", world: "ml", generate_all });
}

pub(crate) fn act(command: &str, rest: &str) -> Option<String> {
    let (model, prompt) = rest.split_once(' ').unwrap_or((rest, ""));
    (command == "nn").then(|| {
        compute(model, prompt).unwrap_or_else(|error| format!("{:?}: {}", error.code(), error.data()))
    })
}

fn compute(model: &str, prompt: &str) -> Result<String, Error> {
    let context = graph::load_by_name(model)?.init_execution_context()?;
    let prompt = Tensor::new(&[1], TensorType::U8, prompt.as_bytes());
    let outputs = context.compute(vec![("prompt".to_owned(), prompt)])?;
    let text = outputs.iter().find(|(name, _)| name == "text").map(|(_, tensor)| tensor.data());
    Ok(String::from_utf8_lossy(&text.unwrap_or_default()).into_owned())
}
