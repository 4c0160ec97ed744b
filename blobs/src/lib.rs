//! Models and components by their digest on disk: fetched in pieces, resumable, verified, stored once.
//!
//! A [`Store`] is a folder. A blob arrives by a [`Transfer`], which keeps what has come in a file of its own until all of
//! it is there and has the right digest; only then does it get its name. So what has a name was whole and right once.
//!
//! Absent here: sockets, async (calls block as files do), and what is in the blobs. Read [`Store`] and [`Transfer`].

mod collect;
mod error;
mod hasher;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

pub use collect::Collected;
pub use error::StoreError;
pub use hasher::BlobHasher;
pub use store::{Begun, Limits, Store};
pub use transfer::{Sink, Transfer};
