//! What a connection may cost. Where no source is named, the figure is of quinn's documentation, lowered for a LAN of boards.

use std::time::Duration;

/// Handshakes that wait for an answer; what comes beyond is refused by quinn.
pub const MAX_INCOMING: usize = 256;
/// Bytes kept for one connection that is not accepted yet, and for all of them.
pub const INCOMING_BYTES: u64 = 64 << 10;
pub const INCOMING_BYTES_TOTAL: u64 = 4 << 20;
/// Streams that a peer may have open at once.
pub const MAX_BIDIRECTIONAL: u32 = 64;
pub const MAX_UNIDIRECTIONAL: u32 = 4;
/// Bytes that a peer may send ahead of what is read: on a stream, and on all of a connection.
pub const STREAM_WINDOW: u32 = 256 << 10;
pub const CONNECTION_WINDOW: u32 = 4 << 20;
/// The same for those who join.
pub const JOINING_WINDOW: u32 = 16 << 10;
/// Silence after which a connection is given up. Leases end long before, so this only tidies up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a handshake, from its first packet.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Round trip that is assumed before one was measured; quinn's 333 ms let the second packet of a handshake wait for a second, and the
/// third for two more. On slower ways packets are sent twice, and nothing else happens.
pub const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Frames of one peer that could not be read before its connection is closed.
pub const MAX_PARSE_ERRORS: u32 = 3;
/// Bytes read from a stream at once.
pub(crate) const READ_BYTES: usize = 64 << 10;
