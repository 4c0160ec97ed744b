//! The scheduler as a server: the authority that members join by, the catalog of what must last, the listener that they
//! connect to, and the driver of the core, which says where each request goes.
//!
//! [`Server`] is all of it. Read it, then `driver`: every event comes by there, in one task.
//!
//! Absent here: placement (that is `dunlin-scheduler-core`), and HTTP and metrics, which are made of [`Front`] by
//! `dunlin-door`.

mod ask;
pub mod authority;
pub mod catalog;
mod driver;
mod front;
mod gate;
mod judged;
mod listener;
mod live;
mod plan;
pub mod policies;
mod serve;
mod server;
mod transfer;
mod watched;

pub use ask::BuiltinPipeline;
pub use authority::{Authority, AuthorityError};
pub use catalog::{Catalog, CatalogError};
pub use driver::look;
pub use front::{Following, Front};
pub use listener::{Listen, ListenError, Listener, Serve};
pub use live::Live;
pub use plan::PlanError;
pub use server::{Server, ServerError, ServerOptions};
