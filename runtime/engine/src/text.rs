//! From tokens to text that may be shown: whole characters, and nothing of a stop string.

/// Longest stop string in bytes, and how many one generation may have.
pub(crate) const MAX_STOP_BYTES: usize = 256;
pub(crate) const MAX_STOPS: usize = 16;

/// Collects the bytes of tokens and gives them out as soon as nothing that follows can change their meaning.
#[derive(Debug)]
pub(crate) struct TextStream {
    stops: Vec<String>,
    /// Bytes that may be the beginning of a character.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// What a piece made known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// The text before a stop string, which is complete.
    Stopped(String),
}

impl TextStream {
    /// Empty stop strings are ignored.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, partial: Vec::new(), held: String::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Piece {
        self.partial.extend_from_slice(bytes);
        take_characters(&mut self.partial, &mut self.held);
        if let Some(start) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(start);
            self.partial.clear();
            return Piece::Stopped(std::mem::take(&mut self.held));
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Piece::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What was held back, at the end of a generation. Bytes that never became a character become U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.partial)));
        text
    }
}

/// Moves whole characters from `bytes` to `text`; bytes that can no longer become one turn into U+FFFD.
fn take_characters(bytes: &mut Vec<u8>, text: &mut String) {
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
            }
            Err(error) => {
                let (valid, broken) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(length) = error.error_len() else {
                    rest = broken;
                    break;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &broken[length..];
            }
        }
    }
    let kept = rest.len();
    bytes.drain(..bytes.len() - kept);
}

/// Length of the longest end of `text` that begins `stop` without being all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&length| text.as_bytes()[text.len() - length..] == stop.as_bytes()[..length])
        // Both are UTF-8 and `stop` starts at a character, so the match in `text` does too.
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the pieces; `|` separates what came out at once, `!` marks a stop, `~` the rest at the end.
    fn check(stops: &[&str], pieces: &[&[u8]], expected: &str) {
        let mut stream = TextStream::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut got = String::new();
        for piece in pieces {
            match stream.push(piece) {
                Piece::Text(text) => got += &format!("{text}|"),
                Piece::Stopped(text) => {
                    got += &format!("{text}!");
                    assert_eq!(got, expected);
                    return;
                }
            }
        }
        got += &format!("~{}", stream.finish());
        assert_eq!(got, expected);
    }

    #[test]
    fn characters_come_whole() {
        check(&[], &[b"a", b"\xc3", b"\xa9b", b"\xe2\x82", b"\xac"], "a||\u{e9}b||\u{20ac}|~");
        check(&[], &[b"\xf0\x9f\xa6", b"\xa2!"], "|\u{1f9a2}!|~");
    }

    #[test]
    fn broken_bytes_do_not_hold_up_the_rest() {
        check(&[], &[b"a\xffb", b"\xc3("], "a\u{fffd}b|\u{fffd}(|~");
        check(&[], &[b"end\xe2\x82"], "end|~\u{fffd}");
    }

    #[test]
    fn stop_strings_are_never_shown_even_in_pieces() {
        check(&["\nUser:"], &[b"hi", b"\nUs", b"er", b": x"], "hi|||!");
        check(&["\nUser:"], &[b"hi\nUs", b"e it"], "hi|\nUse it|~");
        check(&["ab", "b"], &[b"xab"], "x!");
        check(&["aab"], &[b"aaa", b"b"], "a|!");
        check(&["END"], &[b"the E", b"N"], "the ||~EN");
        check(&["\u{20ac}"], &[b"5 \xe2", b"\x82\xac"], "5 |!");
        check(&[""], &[b"x"], "x|~");
    }
}
