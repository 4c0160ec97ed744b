//! A request, read by the table of its pipeline.

use std::ops::RangeInclusive;

use dunlin_guest::{Error, Model, Request, models};

use crate::{Fallback, MODEL, Number, Parameter, table};

/// A request whose parameters are all known.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    request: &'a Request,
}

/// One line of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// From 1.
    pub number: usize,
    pub text: &'a str,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// If a parameter is given that is not in the table; names those that are.
    pub fn new(request: &'a Request, table: &[Parameter]) -> Result<Self, Error> {
        request.params.iter().try_for_each(|(name, _)| table::check_name(name, table))?;
        Ok(Self { request })
    }

    /// The body, without the white space around it.
    ///
    /// # Errors
    /// If it is not UTF-8, or there is nothing in it.
    pub fn text(&self) -> Result<&'a str, Error> {
        let text = self.request.text()?.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(Error::invalid("the input is empty: there is nothing to work on"));
        }
        Ok(text)
    }

    /// Whether the caller says that the body is JSON.
    pub fn is_json(&self) -> bool {
        self.request.content_type.starts_with("application/json")
    }

    /// What was given, the last of several; or else what holds then.
    pub fn value(&self, parameter: &Parameter) -> Option<&'a str> {
        self.request.param(parameter.name).or(match parameter.fallback {
            Fallback::Value(value) => Some(value),
            Fallback::Required | Fallback::Nothing => None,
        })
    }

    /// Everything that was given under this name, in order.
    pub fn values(&self, parameter: &Parameter) -> Vec<&'a str> {
        let given = self.request.params.iter().filter(|(name, _)| name == parameter.name);
        given.map(|(_, value)| value.as_str()).collect()
    }

    /// A number in its range.
    ///
    /// # Errors
    /// As [`Self::number_if_given`], or if there is none.
    pub fn number<T: Number>(&self, parameter: &Parameter, range: RangeInclusive<T>) -> Result<T, Error> {
        self.number_if_given(parameter, range)?.ok_or_else(|| missing(parameter))
    }

    /// A number in its range, or nothing where there is none.
    ///
    /// # Errors
    /// Names the parameter, what it is, and what it may be.
    pub fn number_if_given<T: Number>(
        &self,
        parameter: &Parameter,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.value(parameter) else { return Ok(None) };
        match value.trim().parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => {
                let (least, most) = (range.start().written(), range.end().written());
                Err(refuse(parameter, value, &format!("it is a number from {least} to {most}")))
            }
        }
    }

    /// Whether something is wanted. A name without a value says yes.
    ///
    /// # Errors
    /// If it is neither true nor false.
    pub fn flag(&self, parameter: &Parameter) -> Result<bool, Error> {
        match self.value(parameter) {
            Some("" | "true") => Ok(true),
            Some("false") | None => Ok(false),
            Some(value) => Err(refuse(parameter, value, "it is true or false")),
        }
    }

    /// The model that was named, or else the only one that is granted.
    ///
    /// # Errors
    /// Names those that are granted, if none was named and there are several, or an unknown one was.
    pub fn model(&self) -> Result<Model, Error> {
        if let Some(alias) = self.value(&MODEL) {
            return match models::open(alias) {
                Err(Error::ModelNotFound(alias)) => Err(Error::ModelNotFound(unknown(&alias, &granted()))),
                opened => opened,
            };
        }
        models::open(only(&granted())?)
    }
}

/// The lines that are not blank.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let numbered =
        text.lines().enumerate().map(|(index, line)| Line { number: index + 1, text: line.trim() });
    numbered.filter(|line| !line.text.is_empty())
}

pub(crate) fn missing(parameter: &Parameter) -> Error {
    Error::invalid(format!("the parameter {:?} is missing: {}", parameter.name, parameter.help))
}

pub(crate) fn refuse(parameter: &Parameter, value: &str, why: &str) -> Error {
    Error::invalid(format!("the parameter {:?} is {value:?}: {why}", parameter.name))
}

fn granted() -> Vec<String> {
    models::available().into_iter().map(|info| info.alias).collect()
}

fn only(granted: &[String]) -> Result<&str, Error> {
    match granted {
        [] => Err(Error::ModelNotFound("none is granted, or none can be served".into())),
        [alias] => Ok(alias),
        several => Err(Error::invalid(format!(
            "several models are granted: choose one by model=, of {}",
            several.join(", ")
        ))),
    }
}

fn unknown(alias: &str, granted: &[String]) -> String {
    match granted {
        [] => format!("{alias} (none is granted)"),
        granted => format!("{alias} (granted: {})", granted.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JSON, LINES};

    const N: Parameter = Parameter::with_default("n", "5", "how many");
    const SEED: Parameter = Parameter::optional("seed", "");
    const TABLE: &[Parameter] = &[N, SEED, JSON, LINES];

    fn request(params: &[(&str, &str)], body: &[u8]) -> Request {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request { content_type: String::new(), body: body.to_vec(), params }
    }

    #[track_caller]
    fn check<T: std::fmt::Debug>(result: Result<T, Error>, why: &str) {
        match result {
            Err(Error::InvalidArgument(reason)) => assert_eq!(reason, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_come_from_the_request_or_the_table() {
        let request = request(&[("n", "3"), ("n", "7"), ("seed", "-1")], b"");
        let asked = Asked::new(&request, TABLE).unwrap();
        assert_eq!(asked.number(&N, 1..=9u32).unwrap(), 7);
        check(asked.number(&N, 1..=6u32), r#"the parameter "n" is "7": it is a number from 1 to 6"#);
        check(
            asked.number_if_given(&SEED, 0..=9u64),
            r#"the parameter "seed" is "-1": it is a number from 0 to 9"#,
        );
        let empty = Request { params: Vec::new(), ..request.clone() };
        let asked = Asked::new(&empty, TABLE).unwrap();
        assert_eq!(asked.number(&N, 1..=9u32).unwrap(), 5);
        assert_eq!(asked.number_if_given::<u64>(&SEED, 0..=9).unwrap(), None);
    }

    #[test]
    fn floats_are_finite() {
        for value in ["nan", "inf", "-0.5", "warm"] {
            let request = request(&[("n", value)], b"");
            let said = format!("the parameter \"n\" is {value:?}: it is a number from 0 to 2");
            check(Asked::new(&request, TABLE).unwrap().number(&N, 0.0..=2.0_f32), &said);
        }
    }

    #[test]
    fn flags_are_true_or_false() {
        for (value, is) in [("", true), ("true", true), ("false", false)] {
            let request = request(&[("json", value)], b"");
            assert_eq!(Asked::new(&request, TABLE).unwrap().flag(&JSON).unwrap(), is);
        }
        let request = request(&[("json", "yes")], b"");
        let asked = Asked::new(&request, TABLE).unwrap();
        assert!(!asked.flag(&LINES).unwrap());
        check(asked.flag(&JSON), r#"the parameter "json" is "yes": it is true or false"#);
    }

    #[test]
    fn a_body_is_text_and_not_nothing() {
        let text = |body| Asked::new(&request(&[], body), TABLE).unwrap().text().map(str::to_owned);
        assert_eq!(text("\u{feff} two words\r\n".as_bytes()).unwrap(), "two words");
        check(text(b" \n\t"), "the input is empty: there is nothing to work on");
        check(text(b"a\xff"), "the input is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1");
    }

    #[test]
    fn blank_lines_are_left_out_but_counted() {
        let found: Vec<_> = lines("one\r\n\n  two \n \nthree").map(|line| (line.number, line.text)).collect();
        assert_eq!(found, [(1, "one"), (3, "two"), (5, "three")]);
    }

    #[test]
    fn one_model_needs_no_name() {
        let granted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(only(&granted(&["demo"])).unwrap(), "demo");
        check(
            only(&granted(&["a", "b"])).map(str::to_owned),
            "several models are granted: choose one by model=, of a, b",
        );
        assert!(matches!(only(&[]), Err(Error::ModelNotFound(why)) if why.contains("none is granted")));
        assert_eq!(unknown("dmo", &granted(&["demo"])), "dmo (granted: demo)");
    }
}
