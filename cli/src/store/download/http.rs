//! One request for one file, or the rest of it.

use std::{
    io::{self, Read},
    time::Duration,
};

use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
};

use super::{
    partial::{Partial, Version},
    url::Url,
};
use crate::failure::{Exit, Failure};

const MAX_REDIRECTS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a byte.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const CHUNK: usize = 256 << 10;
const MAGIC: &[u8] = b"GGUF";

/// How a request ended that did not bring all of the file.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Asking again may help.
    Passing(String),
    Lasting(Failure),
    /// Of the disk.
    Disk(io::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lasting(failure)
    }
}

pub(super) fn agent() -> Agent {
    Agent::config_builder()
        .user_agent(concat!("dunlin/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .http_status_as_error(false)
        // They are followed here, where it is seen whether they are still encrypted.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(STALL_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT))
        .build()
        .new_agent()
}

/// Fetches what is missing of a file. `received` hears of the length after each piece.
pub(super) fn fetch(
    agent: &Agent,
    url: &Url,
    partial: &mut Partial,
    check_space: impl FnOnce(u64) -> Result<(), Failure>,
    mut received: impl FnMut(&Partial),
) -> Result<(), Trouble> {
    let mut response = follow(agent, url, partial)?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if continues(&response, partial) => {}
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            partial.restart(Version::default()).map_err(Trouble::Disk)?;
            return Err(Trouble::Passing("the file has changed since the download began".into()));
        }
        StatusCode::OK => partial.restart(version(&response)).map_err(Trouble::Disk)?,
        status => return Err(refused(url, status)),
    }
    check_space(partial.version.bytes.unwrap_or(0).saturating_sub(partial.length))?;
    read_body(response.body_mut(), url, partial, &mut received)?;
    match partial.version.bytes {
        Some(bytes) if bytes != partial.length => {
            Err(Trouble::Passing("the connection was closed too early".into()))
        }
        _ => Ok(()),
    }
}

fn follow(agent: &Agent, url: &Url, partial: &Partial) -> Result<Response<Body>, Trouble> {
    let mut url = url.clone();
    for _ in 0..MAX_REDIRECTS {
        let mut request = agent.get(url.as_str());
        if let (1.., Some(validator)) = (partial.length, &partial.version.validator) {
            request = request
                .header(header::RANGE, format!("bytes={}-", partial.length))
                .header(header::IF_RANGE, validator);
        }
        let response = request.call().map_err(|error| trouble(&error, &url))?;
        if !response.status().is_redirection() {
            return Ok(response);
        }
        let location = text(&response, header::LOCATION);
        let location = location.ok_or_else(|| refused(&url, response.status()))?;
        url = url.join(location)?;
    }
    Err(Failure::new(Exit::Failed, format!("{} redirects in circles", url.public())).into())
}

fn read_body(
    body: &mut Body,
    url: &Url,
    partial: &mut Partial,
    received: &mut impl FnMut(&Partial),
) -> Result<(), Trouble> {
    let mut reader = body.as_reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = reader.read(&mut chunk).map_err(|error| Trouble::Passing(error.to_string()))?;
        if length == 0 {
            return Ok(());
        }
        let begins = &chunk[..length.min(MAGIC.len())];
        if partial.length == 0 && !MAGIC.starts_with(begins) {
            return Err(no_model(url, begins).into());
        }
        partial.append(&chunk[..length]).map_err(Trouble::Disk)?;
        received(partial);
    }
}

/// Whether this is the rest of what is there.
fn continues(response: &Response<Body>, partial: &Partial) -> bool {
    let range = text(response, header::CONTENT_RANGE).and_then(content_range);
    range == partial.version.bytes.map(|bytes| (partial.length, bytes))
}

/// The first byte and the total of `bytes 100-199/200`.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

fn version(response: &Response<Body>) -> Version {
    let tag = text(response, header::ETAG).filter(|tag| !tag.starts_with("W/"));
    Version {
        validator: tag.or(text(response, header::LAST_MODIFIED)).map(str::to_owned),
        bytes: response.body().content_length(),
    }
}

fn text(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

fn refused(url: &Url, status: StatusCode) -> Trouble {
    let sentence = format!("{}: the server answers {status}", url.public());
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Trouble::Passing(sentence);
    }
    let failure = Failure::new(Exit::Failed, sentence);
    Trouble::Lasting(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            failure.hint("it wants a login: fetch it with your browser, and `dunlin model add FILE`")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            failure.hint("is it the address of the file itself, not of its page?")
        }
        _ => failure,
    })
}

fn no_model(url: &Url, begins: &[u8]) -> Failure {
    let what = if begins.starts_with(b"<") { "a web page" } else { "something else" };
    Failure::new(Exit::Model, format!("{} leads to {what}, not to a GGUF file", url.public()))
        .hint("take the address of the download itself")
}

fn trouble(error: &ureq::Error, url: &Url) -> Trouble {
    let sentence = format!("{}: {error}", url.public());
    match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => Trouble::Passing(sentence),
        _ => Trouble::Lasting(Failure::new(Exit::Failed, sentence)),
    }
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn ranges() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, 200)));
        for wrong in ["bytes */200", "100-199/200", "bytes 100-199/*", "bytes 100"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
