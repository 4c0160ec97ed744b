//! What a project is called.

use std::{fmt, str::FromStr};

const MAX_BYTES: usize = 64;

/// A name that is fit for packages and files of all languages: `hello-world`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// As Rust and Python write it in code.
    pub(crate) fn identifier(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.chars().all(fits)
            && !text.ends_with('-')
            && text.len() <= MAX_BYTES;
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no name for a pipeline: small letters of a to z, digits and hyphens, a letter first, at most {MAX_BYTES}"
            ))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_fit_for_every_language() {
        for good in ["a", "hello-world", "x86"] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
        for bad in ["", "Hello", "9lives", "-a", "a-", "a_b", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert_eq!("hello-world".parse::<Name>().unwrap().identifier(), "hello_world");
    }
}
