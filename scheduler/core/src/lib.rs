//! The scheduler, sans IO: no clock, no sockets, no async.
