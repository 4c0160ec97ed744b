//! One request: when it should have been sent, when it was, and when each piece of its answer came.

use std::time::Duration;

use crate::{
    answer::{Joules, ServerTimes, Usage},
    fault::Fault,
};

/// Pieces of one answer whose times are kept; the others are counted.
pub(crate) const MAX_PIECES: usize = 100_000;

/// Times are since the load began.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub number: usize,
    /// By the plan: what an open loop measures from, so that a slow client or server hides nothing.
    pub intended: Duration,
    pub sent: Duration,
    /// When the head of the answer came.
    pub answered: Option<Duration>,
    /// When each piece with a token came.
    pub pieces: Vec<Duration>,
    pub piece_count: u64,
    pub end: Duration,
    pub usage: Option<Usage>,
    pub finish: Option<String>,
    pub times: Option<ServerTimes>,
    pub joules: Option<Joules>,
    pub node: Option<String>,
    pub is_emulated: bool,
    /// None: a whole answer.
    pub fault: Option<Fault>,
}

impl Sample {
    /// One that was just sent.
    pub(crate) fn new(number: usize, intended: Duration, sent: Duration) -> Self {
        Self {
            number,
            intended,
            sent,
            answered: None,
            pieces: Vec::new(),
            piece_count: 0,
            end: sent,
            usage: None,
            finish: None,
            times: None,
            joules: None,
            node: None,
            is_emulated: false,
            fault: None,
        }
    }

    pub fn is_good(&self) -> bool {
        self.fault.is_none()
    }

    /// How late the client was.
    pub fn lag(&self) -> Duration {
        self.sent.saturating_sub(self.intended)
    }

    /// To the first piece with a token.
    pub fn ttft(&self) -> Option<Duration> {
        Some(self.pieces.first()?.saturating_sub(self.intended))
    }

    /// To the end of the stream.
    pub fn whole(&self) -> Duration {
        self.end.saturating_sub(self.intended)
    }

    /// By the server, or else the pieces.
    pub fn output_tokens(&self) -> u64 {
        let counted = self.usage.map(|usage| usage.completion_tokens).filter(|tokens| *tokens > 0);
        counted.unwrap_or(self.piece_count)
    }

    /// Of the tokens after the first: (whole - TTFT) / (n - 1). None for one token.
    pub fn tpot(&self) -> Option<Duration> {
        let further = self.output_tokens().checked_sub(1).filter(|further| *further > 0)?;
        let seconds = (self.whole().saturating_sub(self.ttft()?)).as_secs_f64() / further as f64;
        Some(Duration::from_secs_f64(seconds))
    }

    /// Between one piece and the next.
    pub fn gaps(&self) -> impl Iterator<Item = Duration> {
        self.pieces.windows(2).map(|pair| pair[1].saturating_sub(pair[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn times_count_from_when_it_should_have_been_sent() {
        let mut sample = Sample::new(0, ms(100), ms(130));
        sample.pieces = vec![ms(400), ms(450), ms(600)];
        (sample.piece_count, sample.end) = (3, ms(700));
        assert_eq!((sample.lag(), sample.ttft(), sample.whole()), (ms(30), Some(ms(300)), ms(600)));
        assert_eq!(sample.tpot(), Some(ms(150)));
        assert_eq!(sample.gaps().collect::<Vec<_>>(), [ms(50), ms(150)]);
        // Pieces may hold several tokens.
        sample.usage = Some(Usage { prompt_tokens: 9, completion_tokens: 7 });
        assert_eq!(sample.tpot(), Some(ms(50)));
        sample.usage = Some(Usage { prompt_tokens: 9, completion_tokens: 1 });
        assert_eq!(sample.tpot(), None);
    }
}
