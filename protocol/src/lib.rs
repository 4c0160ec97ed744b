//! What schedulers, agents and clients say to each other: frames, messages, identities. Pure: no sockets.
