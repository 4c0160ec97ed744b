//! The scheduler as a server: who may connect, what must last, and the connections themselves.
//!
//! `authority` makes certificates for tokens, renews and denies them; `catalog` keeps what must last, in SQLite;
//! `listener` has an endpoint for members and one for those who join, and hands each connection to whoever serves its role.
//!
//! Absent here: decisions (`dunlin-scheduler-core`), TLS and frames (`dunlin-link`). Read [`Authority`] and [`Listener`].

pub mod authority;
pub mod catalog;
mod gate;
mod listener;
mod live;

pub use authority::{Authority, AuthorityError};
pub use catalog::{Catalog, CatalogError};
pub use listener::{Listen, ListenError, Listener, Serve};
pub use live::Live;
