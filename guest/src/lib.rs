//! Prompt pipelines in Rust: the bindings of `dunlin:llm` (see `wit/`), and the few lines that every pipeline
//! needs.
//!
//! A pipeline is a `cdylib` for `wasm32-wasip2` whose type implements [`Pipeline`] and is named to
//! [`export!`]:
//!
//! ```
//! use dunlin_guest::{Context, Error, Message, Options, Pipeline, Request, Response};
//!
//! struct Chat;
//!
//! impl Pipeline for Chat {
//!     fn run(request: Request) -> Result<Response, Error> {
//!         let context = Context::create(&request.model()?)?;
//!         context.append_messages(&[Message::user(request.text()?)], &[], true)?;
//!         let answer = context.generate(&Options::default(), None)?.stream()?;
//!         Ok(Response::text(answer.text))
//!     }
//! }
//!
//! dunlin_guest::export!(Chat);
//! # fn main() {}
//! ```
//!
//! Pure parts of a pipeline can be tested natively; host calls panic there.

mod error;
mod generate;
mod message;
mod request;

#[allow(
    unsafe_code,
    unused_qualifications,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::use_self,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "pipeline",
        pub_export_macro: true,
        generate_unused_types: true,
        generate_all,
    });
}

/// Makes this type the pipeline of the component.
///
/// On other targets than WebAssembly it only checks that the type is one: linkers there do not take the names
/// of components.
#[macro_export]
macro_rules! export {
    ($pipeline:ident) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::export!($pipeline with_types_in $crate::bindings);
        #[cfg(not(target_family = "wasm"))]
        const _: fn($crate::Request) -> Result<$crate::Response, $crate::Error> =
            <$pipeline as $crate::Pipeline>::run;
    };
}

pub use bindings::{
    dunlin::llm::{
        constraints::{Constraint, Spec},
        contexts::{Context, Event, Generation, Normalize, Options, Sampling, Scored, TokenInfo},
        embeddings, job,
        models::{self, Model},
        types::{self, Budget, Error, Message, Role, StopReason, ToolCall, ToolDef, Usage},
    },
    exports::dunlin::llm::handler::{Guest as Pipeline, Request, Response},
    wasi::io::poll,
};
pub use error::explain;
pub use generate::{Answer, emit};
