//! A guest for tests. Each line of its input is a request, `METHOD URL [BODY]`; its answer has one line for each: the
//! status and the body, or the error.

use dunlin_guest::{Error, Pipeline, Request, Response};
use wasip2::http::{
    outgoing_handler,
    types::{ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme},
};

struct Fetch;

impl Pipeline for Fetch {
    fn run(request: Request) -> Result<Response, Error> {
        let lines = request.text()?.lines().map(|line| match fetch(line) {
            Ok(said) => format!("{said}\n"),
            Err(error) => format!("{error:?}\n"),
        });
        Ok(Response::text(lines.collect::<String>()))
    }
}

dunlin_guest::export!(Fetch);

fn fetch(line: &str) -> Result<String, ErrorCode> {
    let mut words = line.splitn(3, ' ');
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = words.next();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let bad = |()| ErrorCode::HttpRequestUriInvalid;
    request
        .set_method(&match method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            "CONNECT" => Method::Connect,
            other => Method::Other(other.to_owned()),
        })
        .map_err(bad)?;
    request.set_scheme(Some(&if scheme == "https" { Scheme::Https } else { Scheme::Http })).map_err(bad)?;
    request.set_authority(Some(authority)).map_err(bad)?;
    request.set_path_with_query(Some(path)).map_err(bad)?;
    let sending = request.body().map_err(bad)?;
    let response = outgoing_handler::handle(request, None)?;
    if let Some(body) = body {
        let stream = sending.write().map_err(bad)?;
        stream
            .blocking_write_and_flush(body.as_bytes())
            .map_err(|error| ErrorCode::InternalError(Some(format!("{error:?}"))))?;
    }
    OutgoingBody::finish(sending, None)?;
    response.subscribe().block();
    let response = response.get().expect("it is ready").expect("it is taken once")?;
    Ok(format!("{} {}", response.status(), text(&response)?))
}

fn text(response: &IncomingResponse) -> Result<String, ErrorCode> {
    let body = response.consume().map_err(|()| ErrorCode::HttpResponseIncomplete)?;
    let stream = body.stream().map_err(|()| ErrorCode::HttpResponseIncomplete)?;
    let mut bytes = Vec::new();
    while let Ok(some) = stream.blocking_read(1 << 16) {
        bytes.extend(some);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
