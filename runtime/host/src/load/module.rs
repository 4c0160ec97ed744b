//! What a core module asks for, before it is compiled.

use super::component::{Interface, Refusal};
use crate::invoke::entry::START;

/// What a core module can import from.
const OFFERED: [&str; 2] = ["wasi_snapshot_preview1", "wasi_ephemeral_nn"];

/// Whether a function, as in `wasi_ephemeral_nn.compute`, is of what is offered.
pub(super) fn is_offered(name: &str) -> bool {
    name.split_once('.').is_some_and(|(module, _)| OFFERED.contains(&module))
}

/// The functions that a core module imports, as in `wasi_ephemeral_nn.compute`.
pub(super) fn check(bytes: &[u8]) -> Result<Vec<String>, Refusal> {
    let interface = Interface::read(bytes).map_err(|error| Refusal::Damaged(error.to_string()))?;
    interface.demands()?;
    if let Some(unknown) = interface.imports.iter().find(|name| !is_offered(name)) {
        return Err(Refusal::WrongWorld(format!(
            "it is a core module that imports {unknown}; core modules get {}",
            OFFERED.join(" and ")
        )));
    }
    if !interface.exports.iter().any(|name| name == START) {
        return Err(Refusal::WrongWorld(format!(
            "it is a core module without {START}, so there is nothing to run; build a program for wasm32-wasip1, or a component"
        )));
    }
    Ok(interface.imports)
}
