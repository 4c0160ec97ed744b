//! Server-sent events, out of bytes as they come.

use thiserror::Error;

/// Bytes of one event.
const MAX_EVENT: usize = 4 << 20;

#[derive(Debug, Error, PartialEq, Eq)]
#[error("an event of more than {MAX_EVENT} bytes")]
pub struct TooLong;

/// What has come of an event that is not whole yet.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    held: usize,
}

impl Decoder {
    /// Tells each event that is whole now, by its name (mostly empty) and its data.
    ///
    /// # Errors
    /// If one gets too long.
    pub fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(&str, &str)) -> Result<(), TooLong> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.hold(&rest[..end])?;
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.read(line.strip_suffix(b"\r").unwrap_or(&line), &mut tell);
        }
        self.hold(rest)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.held += bytes.len();
        if self.held > MAX_EVENT {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, line: &[u8], tell: &mut impl FnMut(&str, &str)) {
        if line.is_empty() {
            self.held = 0;
            let name = std::mem::take(&mut self.name);
            if let Some(data) = self.data.take() {
                tell(&name, &data);
            }
            return;
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "event" => value.clone_into(&mut self.name),
            // Comments have no name; ids and times are of no use here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in pieces {
            decoder.push(piece, |name, data| found.push(format!("{name}={data}"))).unwrap();
        }
        found
    }

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text =
            ": hi\n\ndata: {\"a\":1}\n\nid: 7\nevent: x\ndata:one\r\ndata: two\r\n\r\ndata: [DONE]\n\n"
                .as_bytes();
        let whole = events(&[text]);
        assert_eq!(whole, ["={\"a\":1}", "x=one\ntwo", "=[DONE]"]);
        for at in 0..text.len() {
            assert_eq!(events(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(events(&bytes), whole);
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1 << 20];
        let pushed = (0..5).map(|_| decoder.push(&piece, |_, _| {})).find(Result::is_err);
        assert_eq!(pushed, Some(Err(TooLong)));
    }
}
