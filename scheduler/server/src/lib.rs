//! The scheduler as a server: connections, catalog, the driver of the core.

pub mod authority;
pub mod catalog;
pub mod gate;
mod listener;
mod live;

pub use authority::{Authority, AuthorityError};
pub use catalog::{Catalog, CatalogError};
pub use listener::{Listen, ListenError, Listener, Serve};
pub use live::Live;
