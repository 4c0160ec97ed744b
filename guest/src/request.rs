//! What a pipeline is asked, and what it answers.

use std::{fmt::Display, str::FromStr};

use crate::{Error, Model, Request, Response, ctx::first, models};

impl Request {
    /// A request with this body and nothing else: what a test asks.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self {
            content_type: "text/plain; charset=utf-8".into(),
            body: text.into().into_bytes(),
            params: Vec::new(),
        }
    }

    /// With one more parameter.
    #[must_use]
    pub fn with_param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    /// The body as text.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body)
            .map_err(|error| Error::invalid(format!("the input is not UTF-8: {error}")))
    }

    /// A parameter; of several with one name, the last.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that has to be there.
    ///
    /// # Errors
    /// Names it, if it is not.
    pub fn require(&self, name: &str) -> Result<&str, Error> {
        self.param(name).ok_or_else(|| Error::invalid(format!("the parameter {name:?} is missing")))
    }

    /// A parameter that is read as something else than text.
    ///
    /// # Errors
    /// Names it, if it does not read as that.
    pub fn parsed<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, Error> {
        let Some(value) = self.param(name) else { return Ok(default) };
        value.parse().map_err(|error| Error::invalid(format!("the parameter {name:?} is {value:?}: {error}")))
    }

    /// The model that the parameter `model` names, or else the first that is granted.
    ///
    /// # Errors
    /// If there is none, or it cannot be served.
    pub fn model(&self) -> Result<Model, Error> {
        match self.param("model") {
            Some(alias) => models::open(alias),
            None => models::open(&first(&models::available())?.alias),
        }
    }
}

impl Response {
    pub fn text(text: impl Into<String>) -> Self {
        Self { content_type: "text/plain; charset=utf-8".into(), body: text.into().into_bytes() }
    }

    /// The text of one JSON value.
    pub fn json(json: impl Into<String>) -> Self {
        Self { content_type: "application/json".into(), body: json.into().into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(params: &[(&str, &str)]) -> Request {
        let params = params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Request { content_type: String::new(), body: vec![0xff], params }
    }

    #[track_caller]
    fn refuses<T: std::fmt::Debug>(result: Result<T, Error>, why: &str) {
        let error = crate::explain(&result.unwrap_err());
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn parameters_are_found_and_read() {
        let request = request(&[("n", "3"), ("n", "5"), ("name", "x")]);
        assert_eq!(request.parsed("n", 1).unwrap(), 5);
        assert_eq!(request.parsed("m", 1).unwrap(), 1);
        refuses(request.parsed("name", 1), "\"name\" is \"x\": invalid digit");
        refuses(request.require("schema"), "\"schema\" is missing");
        refuses(request.text(), "not UTF-8");
    }
}
