//! The scheduler as a server: connections, catalog, the driver of the core.

pub mod catalog;

pub use catalog::{Catalog, CatalogError};
