//! The scheduler as a server: connections, catalog, the driver of the core.
