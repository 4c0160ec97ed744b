//! The little of URLs that a download needs.

use crate::failure::Failure;

/// An absolute `http` or `https` URL, without a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url(String);

impl Url {
    /// Whether a person meant a URL.
    pub(crate) fn looks_like(text: &str) -> bool {
        text.contains("://")
    }

    /// # Errors
    /// If it is of another kind.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.split('#').next().unwrap_or_default().trim();
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let known = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
        if !known || host.is_empty() || text.contains(char::is_whitespace) {
            return Err(Failure::usage(format!("{text} is no address that a file can be fetched from"))
                .hint("it begins with https:// (or http://)"));
        }
        Ok(Self(format!("{}://{rest}", scheme.to_ascii_lowercase())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// What may be shown and stored: without a password, and without a query, which may hold a token.
    pub(crate) fn public(&self) -> String {
        let without_query = self.0.split('?').next().unwrap_or_default();
        let (scheme, rest) = without_query.split_once("://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}/{path}")
    }

    /// The name of the file that it leads to.
    pub(crate) fn file_name(&self) -> String {
        let public = self.public();
        let name = public.rsplit('/').next().unwrap_or_default();
        let kept = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = name.chars().map(kept).collect();
        if name.trim_matches(['.', '-']).is_empty() { "model.gguf".into() } else { name }
    }

    /// Where a redirect leads.
    ///
    /// # Errors
    /// If it leads from an encrypted connection to a plain one.
    pub(crate) fn join(&self, location: &str) -> Result<Self, Failure> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(path_at);
        let folder = &path[..path.split('?').next().unwrap_or_default().rfind('/').unwrap_or(0)];
        let next = if location.contains("://") {
            Self::parse(location)?
        } else if let Some(other_host) = location.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{other_host}"))?
        } else if location.starts_with('/') {
            Self::parse(&format!("{scheme}://{host}{location}"))?
        } else {
            Self::parse(&format!("{scheme}://{host}{folder}/{location}"))?
        };
        if self.is_encrypted() && !next.is_encrypted() {
            return Err(Failure::new(
                crate::failure::Exit::Failed,
                format!("{} redirects to the unencrypted {}", self.public(), next.public()),
            )
            .hint("if you trust that address, name it yourself, with --sha256"));
        }
        Ok(next)
    }

    /// The parts of a split model, by the URL of the first; itself alone if it names no part.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let Some((before, after)) = self.0.split_once("-00001-of-") else { return vec![self.clone()] };
        let count = after.get(..5).and_then(|count| count.parse::<u16>().ok()).unwrap_or(1);
        (1..=count).map(|part| Self(format!("{before}-{part:05}-of-{after}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn what_is_an_address() {
        for wrong in ["ftp://a/b", "https://", "https:///x", "file:///etc/passwd", "https://a b/c"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(url("HTTPS://a/b#c").as_str(), "https://a/b");
    }

    #[test]
    fn redirects_are_joined() {
        let check = |from: &str, location: &str, to: &str| {
            assert_eq!(url(from).join(location).unwrap().as_str(), to, "{from} {location}");
        };
        check("https://a/b/c?d=/e", "f", "https://a/b/f");
        check("https://a/b/c", "/f?g", "https://a/f?g");
        check("https://a", "//b/c", "https://b/c");
        check("http://a/b", "https://c/d", "https://c/d");
        check("http://a", "b", "http://a/b");
        assert!(url("https://a/b").join("http://a/c").is_err());
    }

    #[test]
    fn names_and_secrets() {
        let secret = url("https://me:word@a.example/m/Model%20Q8.gguf?token=1");
        assert_eq!(secret.public(), "https://a.example/m/Model%20Q8.gguf");
        assert_eq!(secret.file_name(), "Model-20Q8.gguf");
        assert_eq!(url("https://a").file_name(), "model.gguf");
        assert_eq!(url("https://a/..").file_name(), "model.gguf");
    }

    #[test]
    fn parts_follow_from_the_first() {
        let parts = url("https://a/m-00001-of-00003.gguf?x").parts();
        let shown: Vec<&str> = parts.iter().map(Url::as_str).collect();
        let expected = [
            "https://a/m-00001-of-00003.gguf?x",
            "https://a/m-00002-of-00003.gguf?x",
            "https://a/m-00003-of-00003.gguf?x",
        ];
        assert_eq!(shown, expected);
        assert_eq!(url("https://a/m.gguf").parts().len(), 1);
    }
}
