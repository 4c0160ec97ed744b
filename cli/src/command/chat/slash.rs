//! Lines that begin with a slash.

use std::path::PathBuf;

use crate::store::nearest;

/// What a person asks of the chat itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slash {
    Help,
    Model(Option<String>),
    System(Option<String>),
    Retry,
    Clear,
    Usage,
    Save(PathBuf),
    /// None: a new one for each answer.
    Seed(Option<u64>),
    Temperature(f32),
    Leave,
}

/// Commands with what they take and what they do.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/help", "", "this list"),
    ("/model", "[NAME]", "talk to another model from now on; without a name, say which there are"),
    ("/system", "[TEXT]", "what the model is to be; without a text, nothing special"),
    ("/retry", "", "another answer to the last question"),
    ("/clear", "", "forget what was said"),
    ("/usage", "", "what it took, and how full the context is"),
    ("/save", "FILE", "keep the conversation: as messages in a .json, as text otherwise"),
    ("/seed", "[N]", "draw the same from now on; without a number, differently each time"),
    ("/temperature", "T", "how freely to draw; 0 takes the likeliest each time"),
    ("/bye", "", "leave; Ctrl-D does, too"),
];

pub(super) const KEYS: &str =
    "  Alt-Enter, or \\ at its end, goes on to another line; \"\"\" begins and ends a text of many lines
  Ctrl-C stops an answer, or clears the line; Up and Ctrl-R find what you wrote before";

impl Slash {
    /// None for a line that is a message, though it may begin with a slash as paths do.
    pub(super) fn parse(line: &str) -> Option<Result<Self, String>> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let word = name.strip_prefix('/')?;
        if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphabetic()) {
            return None;
        }
        Some(Self::of(name, rest.trim()))
    }

    fn of(name: &str, rest: &str) -> Result<Self, String> {
        let text = || (!rest.is_empty()).then(|| rest.to_owned());
        Ok(match name {
            "/help" => Self::Help,
            "/model" => Self::Model(text()),
            "/system" => Self::System(text()),
            "/retry" => Self::Retry,
            "/clear" => Self::Clear,
            "/usage" => Self::Usage,
            "/save" => Self::Save(text().ok_or("/save FILE: where to?")?.into()),
            "/seed" => Self::Seed(
                text()
                    .map(|text| text.parse())
                    .transpose()
                    .map_err(|_| "/seed N: a seed is a whole number")?,
            ),
            "/temperature" => match rest.parse() {
                Ok(temperature) if (0.0..=5.0).contains(&temperature) => Self::Temperature(temperature),
                _ => return Err("/temperature T: a temperature is 0 to 5".into()),
            },
            "/bye" | "/quit" | "/exit" => Self::Leave,
            _ => return Err(unknown(name)),
        })
    }
}

fn unknown(name: &str) -> String {
    let names: Vec<String> = COMMANDS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    match nearest(name, &names) {
        Some(near) => format!("there is no {name}; did you mean {near}?"),
        None => format!("there is no {name}; /help lists what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_messages() {
        let check = |line: &str, expected: Option<Result<Slash, &str>>| {
            assert_eq!(Slash::parse(line), expected.map(|parsed| parsed.map_err(str::to_owned)), "{line}");
        };
        check("hello", None);
        check("/var/log is full", None);
        check("/", None);
        check("  /model  demo:small ", Some(Ok(Slash::Model(Some("demo:small".into())))));
        check("/system be brief", Some(Ok(Slash::System(Some("be brief".into())))));
        check("/seed", Some(Ok(Slash::Seed(None))));
        check("/seed x", Some(Err("/seed N: a seed is a whole number")));
        check("/temperature 9", Some(Err("/temperature T: a temperature is 0 to 5")));
        check("/exit", Some(Ok(Slash::Leave)));
        check("/modle x", Some(Err("there is no /modle; did you mean /model?")));
        check("/frobnicate", Some(Err("there is no /frobnicate; /help lists what there is")));
    }
}
