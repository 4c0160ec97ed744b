//! Whether a peer lives: any authenticated packet says so. Input for leases, on both ends.

use std::time::Duration;

use quinn::{Connection, FrameStats};

/// How often to look, and how often quinn sends a PING into silence.
pub const PULSE: Duration = Duration::from_millis(250);

/// When a peer was last heard. Times are monotonic.
///
/// Only frames are counted, never datagrams: a frame was in a packet that was decrypted, a datagram may be anyone's.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    frames: u64,
    heard: Duration,
}

impl Liveness {
    /// The connection stands since `now`.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { frames: 0, heard: now }
    }

    /// Looks at the counters of a connection; true if the peer was heard since the last look.
    pub fn observe(&mut self, now: Duration, connection: &Connection) -> bool {
        self.count(now, frames_received(&connection.stats().frame_rx))
    }

    /// How long the peer has been silent.
    #[must_use]
    pub fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard)
    }

    fn count(&mut self, now: Duration, frames: u64) -> bool {
        let heard = frames != self.frames;
        if heard {
            *self = Self { frames, heard: now };
        }
        heard
    }
}

/// All frames that came in packets of this connection; padding is not counted by quinn.
fn frames_received(stats: &FrameStats) -> u64 {
    let control = stats.acks + stats.ping + stats.crypto + u64::from(stats.handshake_done);
    let streams = stats.stream + stats.reset_stream + stats.stop_sending;
    let flow = stats.max_data
        + stats.max_stream_data
        + stats.max_streams_bidi
        + stats.max_streams_uni
        + stats.data_blocked
        + stats.stream_data_blocked
        + stats.streams_blocked_bidi
        + stats.streams_blocked_uni;
    let path = stats.path_challenge
        + stats.path_response
        + stats.new_connection_id
        + stats.retire_connection_id
        + stats.new_token;
    control + streams + flow + path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_frame() {
        let at = Duration::from_millis;
        let mut liveness = Liveness::new(at(0));
        assert!(liveness.count(at(250), 3));
        assert!(!liveness.count(at(500), 3));
        assert_eq!(liveness.silence(at(500)), at(250));
        assert!(liveness.count(at(750), 4));
        assert_eq!(liveness.silence(at(1_000)), at(250));
    }
}
