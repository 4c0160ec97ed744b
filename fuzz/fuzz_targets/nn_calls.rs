//! `wasi:nn` of components: tensors of any names and bytes, for models that there are and that there are not.
#![no_main]

use arbitrary::Arbitrary;
use dunlin_fuzz::{Once, Stage};
use libfuzzer_sys::fuzz_target;

static STAGE: Once = Once::new(|| Stage::new("component", dunlin_host_guests::COMPONENT));

#[derive(Debug, Arbitrary)]
enum Model<'a> {
    Default,
    Named(&'a str),
    Bytes(&'a str),
}

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Prompt(&'a str),
    Options(&'a str),
    Temperature(f32),
    Named(&'a str, &'a str),
    /// What comes before is computed.
    Then,
}

impl Input<'_> {
    fn argument(&self) -> String {
        match self {
            Self::Prompt(text) => format!("prompt={text}"),
            Self::Options(json) => format!("options={json}"),
            Self::Temperature(temperature) => format!("options={{\"temp\": {temperature}}}"),
            Self::Named(name, value) => format!("{name}={value}"),
            Self::Then => "then".into(),
        }
    }
}

fuzz_target!(|asked: (Model<'_>, Vec<Input<'_>>)| {
    let (model, inputs) = asked;
    let model = match model {
        Model::Default => "default".into(),
        Model::Named(name) => name.to_owned(),
        Model::Bytes(bytes) => format!("bytes:{bytes}"),
    };
    // Arguments of a program hold no zero bytes.
    let arguments = std::iter::once(model).chain(inputs.iter().map(Input::argument));
    STAGE.run(Vec::new(), arguments.map(|argument| argument.replace('\0', " ")).collect());
});
