//! QUIC connections between members of a fleet: who they are, and frames on streams.
