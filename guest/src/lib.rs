//! Prompt pipelines in Rust: what one needs to write one, over the bindings of `dunlin:llm` (see `wit/`).
//!
//! A pipeline is a `cdylib` for `wasm32-wasip2` with a function that is named to [`pipeline!`]:
//!
//! ```
//! use dunlin_guest::{Ctx, Error, Request, Response, emit};
//!
//! dunlin_guest::pipeline!(run);
//!
//! fn run(request: Request) -> Result<Response, Error> {
//!     let answer = Ctx::of(&request)?.user(request.text()?).stream(emit)?;
//!     Ok(Response::text(answer))
//! }
//! # let _model = dunlin_guest::fake::Model::answering(|_| "fine".into());
//! # assert_eq!(run(Request::from_text("how are you?")).unwrap().body, b"fine");
//! ```
//!
//! Read [`Ctx`], a conversation with a model. Under it are the resources of the interface itself: [`Model`],
//! [`Context`], [`Generation`], [`Constraint`]. In tests on the machine that builds, `Ctx` meets the model of `fake`; those
//! resources panic there.

mod ctx;
mod error;
#[cfg(not(target_family = "wasm"))]
pub mod fake;
mod generate;
#[cfg(feature = "json")]
mod json;
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

/// What [`Ctx`] meets: the host, or what stands for it in tests.
mod host {
    #[cfg(not(target_family = "wasm"))]
    pub(crate) use crate::fake::{Constraint, Context, Generation, Opened as Model, emit, models};
    #[cfg(target_family = "wasm")]
    pub(crate) use crate::{Constraint, Context, Generation, Model, job::emit, models};
}

/// Makes this function the pipeline of the component.
#[macro_export]
macro_rules! pipeline {
    ($run:path) => {
        #[doc(hidden)]
        #[derive(Debug)]
        pub struct DunlinPipeline;

        impl $crate::Pipeline for DunlinPipeline {
            fn run(request: $crate::Request) -> ::core::result::Result<$crate::Response, $crate::Error> {
                $run(request)
            }
        }

        $crate::export!(DunlinPipeline);
    };
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
        contexts::{Context, Event, Generation, Logprob, Normalize, Options, Sampling, Scored, TokenInfo},
        embeddings, job,
        models::{self, Model},
        types::{self, Budget, Error, Message, Role, StopReason, ToolCall, ToolDef, Usage},
    },
    exports::dunlin::llm::handler::{Guest as Pipeline, Request, Response},
    wasi::io::poll,
};
pub use ctx::{Ctx, emit_line};
pub use error::explain;
pub use generate::{Answer, emit, emit_json};
#[cfg(feature = "json")]
pub use json::schema;
#[cfg(feature = "json")]
pub use schemars;
#[cfg(feature = "json")]
pub use serde;
