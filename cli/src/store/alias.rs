//! The file `alias.toml`: a model under one name, in one or more variants.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

pub(crate) const FILE: &str = "alias.toml";

const HEADER: &str = "# A model of Dunlin; written by `dunlin model`. The first variant is the default.\n\n";
const MAX_NAME: usize = 64;

/// An alias, or the name of a variant: what can stand before and after the colon of `demo:small`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest name to any text; `None` where nothing of it can stay.
    pub(crate) fn near(text: &str) -> Option<Self> {
        let kept = |c: char| if is_name_char(c) { c } else { '-' };
        let name: String = text.to_lowercase().chars().map(kept).take(MAX_NAME).collect();
        name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).parse().ok()
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if begins_well && text.len() <= MAX_NAME && text.chars().all(is_name_char) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "names have up to {MAX_NAME} of a-z, 0-9, '-', '_' and '.', and begin with a letter or a digit"
        ))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|reason| format!("{text:?}: {reason}"))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One `alias.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alias {
    pub(crate) alias: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(rename = "variant", default)]
    pub(crate) variants: Vec<Variant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variant {
    pub(crate) name: Name,
    /// Of a split model the first part. Beside `alias.toml`, unless absolute.
    pub(crate) file: PathBuf,
    /// Of the file; of a split model, of its parts one after another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// Of all parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
}

impl Alias {
    /// `None` if there is no such file.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => anyhow::bail!("{} cannot be read: {error}", path.display()),
        };
        toml::from_str(&text).map(Some).map_err(|error| {
            anyhow::anyhow!("{} is not understood:\n{}", path.display(), error.to_string().trim_end())
        })
    }

    /// All of it or nothing, also for those who read at the same time.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = HEADER.to_owned() + &toml::to_string(self)?;
        let temporary = folder.join(format!(".{FILE}.{}", std::process::id()));
        let written = fs::write(&temporary, text)
            .and_then(|()| fs::File::open(&temporary)?.sync_all())
            .and_then(|()| fs::rename(&temporary, folder.join(FILE)));
        written.map_err(|error| {
            drop(fs::remove_file(&temporary));
            anyhow::Error::new(error).context(format!("cannot write {}", folder.join(FILE).display()))
        })
    }

    pub(crate) fn variant(&self, name: &Name) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn names_are_found_near_any_text() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Name::near(text).as_ref().map(Name::as_str), expected, "{text}");
        };
        check("SmolLM2-135M Instruct", Some("smollm2-135m-instruct"));
        check("_q4_k_m_", Some("q4_k_m"));
        check("日本", None);
        check(&"x".repeat(100), Some(&"x".repeat(64)));
    }

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let alias = Alias {
            alias: "demo".parse().unwrap(),
            description: None,
            variants: vec![Variant {
                name: "small".parse().unwrap(),
                file: "demo-small.gguf".into(),
                sha256: Some("00ff".into()),
                bytes: Some(2_596_960),
                source: None,
            }],
        };
        let folder = tempfile::tempdir().unwrap();
        alias.write(folder.path()).unwrap();
        assert_eq!(Alias::read(folder.path()).unwrap(), Some(alias));
        expect![[r#"
            # A model of Dunlin; written by `dunlin model`. The first variant is the default.

            alias = "demo"

            [[variant]]
            name = "small"
            file = "demo-small.gguf"
            sha256 = "00ff"
            bytes = 2596960
        "#]]
        .assert_eq(&fs::read_to_string(folder.path().join(FILE)).unwrap());
    }

    #[track_caller]
    fn refuses(text: &str, expected: &Expect) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        let error = Alias::read(folder.path()).unwrap_err().to_string();
        expected.assert_eq(&error.replace(&*folder.path().to_string_lossy(), "FOLDER"));
    }

    #[test]
    fn a_file_that_is_not_understood_names_the_place() {
        refuses(
            "alias = \"Demo!\"",
            &expect![[r#"
            FOLDER/alias.toml is not understood:
            TOML parse error at line 1, column 9
              |
            1 | alias = "Demo!"
              |         ^^^^^^^
            "Demo!": names have up to 64 of a-z, 0-9, '-', '_' and '.', and begin with a letter or a digit"#]],
        );
        refuses(
            "alias = \"demo\"\n[[variant]]\nname = \"small\"",
            &expect![[r#"
            FOLDER/alias.toml is not understood:
            TOML parse error at line 2, column 1
              |
            2 | [[variant]]
              | ^^^^^^^^^^^
            missing field `file`"#]],
        );
    }
}
