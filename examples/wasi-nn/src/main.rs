//! A program that knows nothing of Dunlin: it asks a model by `wasi:nn`, as it would on any host that has that.
//!
//! Tensors are UTF-8 bytes: `prompt` and, if one likes, `options` as JSON go in; `text` and `metadata` come out.

use std::io::{self, Read};

use wasi::nn::{
    errors::Error,
    graph,
    tensor::{Tensor, TensorType},
};

wit_bindgen::generate!({ path: "../../wit/deps/nn", world: "ml", generate_all });

const OPTIONS: &str = r#"{"n-predict": 64, "temp": 0}"#;

fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let answer = ask("default", &format!("Summarize in one sentence:\n{}", text.trim()));
    let answer = answer
        .map_err(|error| io::Error::other(format!("{:?}: {}", error.code(), error.data())))?;
    println!("{answer}");
    Ok(())
}

fn ask(model: &str, prompt: &str) -> Result<String, Error> {
    let context = graph::load_by_name(model)?.init_execution_context()?;
    let answer = context.compute(vec![bytes("prompt", prompt), bytes("options", OPTIONS)])?;
    let text = answer.into_iter().find(|(name, _)| name == "text").map(|(_, tensor)| tensor.data());
    Ok(String::from_utf8_lossy(&text.unwrap_or_default()).into_owned())
}

fn bytes(name: &str, text: &str) -> (String, Tensor) {
    let tensor = Tensor::new(&[text.len() as u32], TensorType::U8, text.as_bytes());
    (name.to_owned(), tensor)
}
