//! A guest for tests: `MODEL PROMPT [OPTIONS]`, where each prompt after the first comes with `then`. It prints what
//! `wasi:nn` gives.

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

use std::{env, process::ExitCode};

use bindings::wasi::nn::{
    errors::Error,
    graph::{self, ExecutionTarget, GraphEncoding},
    tensor::{Tensor, TensorType},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{:?}: {}", error.code(), error.data());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Error> {
    let [model, calls @ ..] = arguments else { return Ok(()) };
    let graph = match model.strip_prefix("bytes:") {
        Some(bytes) => graph::load(&[bytes.as_bytes().to_vec()], GraphEncoding::Ggml, ExecutionTarget::Cpu)?,
        None => graph::load_by_name(model)?,
    };
    let context = graph.init_execution_context()?;
    for call in calls.split(|argument| argument == "then") {
        let inputs =
            call.iter().filter_map(|input| input.split_once('=')).map(|(name, value)| tensor(name, value));
        for (name, tensor) in context.compute(inputs.collect())? {
            println!("{name} {:?} {:?}: {}", tensor.ty(), tensor.dimensions(), shown(&tensor));
        }
    }
    Ok(())
}

/// `prompt=text`, or `prompt:I32=text`.
fn tensor(name: &str, value: &str) -> (String, Tensor) {
    let (name, ty) = match name.split_once(':') {
        Some((name, _)) => (name, TensorType::I32),
        None => (name, TensorType::U8),
    };
    (name.to_owned(), Tensor::new(&[1], ty, value.as_bytes()))
}

fn shown(tensor: &Tensor) -> String {
    let data = tensor.data();
    match tensor.ty() {
        TensorType::Fp32 => {
            let values = data
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            format!("{:.3?}", values.collect::<Vec<_>>())
        }
        _ => String::from_utf8_lossy(&data).into_owned(),
    }
}
