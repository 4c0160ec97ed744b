//! A plan as it is written.

use std::time::Duration;

use dunlin_costs::DocumentError;
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

use super::rules::{BoardRules, Errand, MAX_BOARDS, ModeRules, ParkLevel, ParkRules, PlanRules};
use crate::Pattern;

/// Longest span of time in a plan.
const MAX_SECONDS: f64 = 7.0 * 86_400.0;

/// Arguments of a command, and bytes of each.
const MAX_ARGUMENTS: usize = 64;
const MAX_ARGUMENT_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFile {
    every_s: Option<Seconds>,
    modes: Option<ModesFile>,
    parking: Option<ParkingFile>,
    #[serde(default)]
    board: Vec<Spanned<BoardFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModesFile {
    least_saving_pct: Option<Percent>,
    rounds: Option<Count>,
    rest_s: Option<Seconds>,
    at_once_pct: Option<Percent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParkingFile {
    level: Option<Spanned<ParkLevel>>,
    after_s: Option<Seconds>,
    keep_awake: Option<Count>,
    at_once_pct: Option<Percent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardFile {
    name: Spanned<String>,
    modes: Option<Vec<String>>,
    off: Option<Spanned<Vec<String>>>,
    off_delay_s: Option<Seconds>,
    wake: Option<Spanned<Vec<String>>>,
    wake_delay_s: Option<Seconds>,
}

impl PlanFile {
    pub(super) fn build(self, text: &str) -> Result<PlanRules, DocumentError> {
        if let Some(excess) = self.board.get(MAX_BOARDS) {
            let problem = format!("a plan has at most {MAX_BOARDS} boards; a name may end with `*`");
            return Err(DocumentError::at(text, excess.span().start, problem));
        }
        let mut boards: Vec<BoardRules> = Vec::with_capacity(self.board.len());
        for board in self.board {
            let at = board.span().start;
            let board = board.into_inner().build(text)?;
            if boards.iter().any(|known| known.name.as_str() == board.name.as_str()) {
                let problem = format!("there is a board {:?} already", board.name.as_str());
                return Err(DocumentError::at(text, at, problem));
            }
            boards.push(board);
        }
        let default = PlanRules::default();
        let off = self.parking.as_ref().and_then(|parking| parking.level.as_ref());
        if let Some(level) = off.filter(|level| *level.get_ref() == ParkLevel::Off)
            && boards.iter().all(|board| board.off.is_none())
        {
            let problem = "no board has the commands `off` and `wake`: add a table [[board]] with both";
            return Err(DocumentError::at(text, level.span().start, problem));
        }
        Ok(PlanRules {
            every: self.every_s.map_or(default.every, |every| every.0),
            modes: self.modes.map(ModesFile::build),
            parking: self.parking.map(ParkingFile::build),
            boards,
        })
    }
}

impl ModesFile {
    fn build(self) -> ModeRules {
        let default = ModeRules::default();
        ModeRules {
            least_saving: self.least_saving_pct.map_or(default.least_saving, |percent| percent.0),
            rounds: self.rounds.map_or(default.rounds, |rounds| rounds.0),
            rest: self.rest_s.map_or(default.rest, |rest| rest.0),
            at_once: self.at_once_pct.map_or(default.at_once, |percent| percent.0),
        }
    }
}

impl ParkingFile {
    fn build(self) -> ParkRules {
        let default = ParkRules::default();
        ParkRules {
            level: self.level.map_or(default.level, Spanned::into_inner),
            after: self.after_s.map_or(default.after, |after| after.0),
            keep_awake: self.keep_awake.map_or(default.keep_awake, |nodes| nodes.0),
            at_once: self.at_once_pct.map_or(default.at_once, |percent| percent.0),
        }
    }
}

impl BoardFile {
    fn build(self, text: &str) -> Result<BoardRules, DocumentError> {
        let at = self.name.span().start;
        let name = self.name.into_inner();
        let beginning = name.strip_suffix('*').unwrap_or(&name);
        if name.is_empty() || beginning.contains('*') {
            let problem = format!("{name:?} is no name, nor the beginning of names and a `*`");
            return Err(DocumentError::at(text, at, problem));
        }
        let off = match (self.off, self.wake) {
            (Some(off), Some(wake)) => {
                let off = errand(off, "off", self.off_delay_s, Duration::from_secs(30), text)?;
                Some((off, errand(wake, "wake", self.wake_delay_s, Duration::from_mins(1), text)?))
            }
            (None, None) => None,
            (Some(one), None) => {
                let problem = "a board that can be put off must be woken again: the key \"wake\" is missing";
                return Err(DocumentError::at(text, one.span().start, problem));
            }
            (None, Some(one)) => {
                let problem = "a board that is woken must have been put off: the key \"off\" is missing";
                return Err(DocumentError::at(text, one.span().start, problem));
            }
        };
        let place = DocumentError::at(text, at, "");
        let name = Pattern::new(name, place.line, place.column);
        Ok(BoardRules { name, modes: self.modes, off })
    }
}

fn errand(
    command: Spanned<Vec<String>>,
    key: &str,
    delay: Option<Seconds>,
    usual: Duration,
    text: &str,
) -> Result<Errand, DocumentError> {
    let at = command.span().start;
    let command = command.into_inner();
    let is_wrong = |part: &String| part.len() > MAX_ARGUMENT_BYTES || part.contains('\0');
    let problem = if command.first().is_none_or(String::is_empty) {
        format!("{key} is a program and its arguments, as in [\"wakeonlan\", \"b8:27:eb:12:34:56\"]")
    } else if command.len() > MAX_ARGUMENTS || command.iter().any(is_wrong) {
        format!("a command has at most {MAX_ARGUMENTS} arguments, of {MAX_ARGUMENT_BYTES} bytes each")
    } else {
        return Ok(Errand { command, delay: delay.map_or(usual, |delay| delay.0) });
    };
    Err(DocumentError::at(text, at, problem))
}

/// More than 0, and at most a week.
struct Seconds(Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if seconds > 0.0 && seconds <= MAX_SECONDS {
            return Ok(Self(Duration::from_secs_f64(seconds)));
        }
        Err(D::Error::custom(format!("{seconds} is not a number of seconds, more than 0 and at most a week")))
    }
}

/// A part, from 0 to 1.
struct Percent(f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        if (0.0..=100.0).contains(&percent) {
            return Ok(Self(percent / 100.0));
        }
        Err(D::Error::custom(format!("{percent} is not a percentage from 0 to 100")))
    }
}

/// From 1 to 1000.
struct Count(u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = i64::deserialize(deserializer)?;
        match u32::try_from(count) {
            Ok(count @ 1..=1000) => Ok(Self(count)),
            _ => Err(D::Error::custom(format!("{count} is not a number from 1 to 1000"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
every_s = 10

[modes]
least_saving_pct = 10
rounds = 2
rest_s = 300

[parking]
level = "off"
after_s = 600
keep_awake = 2

[[board]]
name = "pi-*"
modes = ["powersave", "performance"]
off = ["ssh", "{node}", "sudo", "systemctl", "poweroff"]
off_delay_s = 20
wake = ["plug", "on", "{node}"]
wake_delay_s = 45.5
"#;

    #[test]
    fn a_plan_is_what_it_says_and_else_what_is_usual() {
        assert_eq!(PlanRules::parse("").unwrap(), PlanRules::default());
        let rules = PlanRules::parse(WHOLE).unwrap();
        let modes = rules.modes.unwrap();
        assert_eq!((modes.least_saving, modes.rounds, modes.rest), (0.1, 2, Duration::from_mins(5)));
        assert_eq!(modes.at_once, ModeRules::default().at_once);
        let parking = rules.parking.unwrap();
        assert_eq!((parking.level, parking.keep_awake), (ParkLevel::Off, 2));
        let (off, wake) = rules.board("pi-7").unwrap().off.as_ref().unwrap();
        assert_eq!(off.arguments("pi-7")[..3], ["ssh", "pi-7", "sudo"]);
        assert_eq!(wake.delay, Duration::from_millis(45_500));
        assert!(rules.board("orin-1").is_none());
        // Without commands of its own, a board is not put off.
        assert_eq!(rules.depth("pi-7", ParkLevel::Off), ParkLevel::Off);
        assert_eq!(rules.depth("orin-1", ParkLevel::Off), ParkLevel::LowMode);
        assert!(rules.allows("orin-1", "15W") && !rules.allows("pi-7", "ondemand"));
        assert_eq!(rules.unknown_mode("pi-7", &["performance", "powersave"]), None);
        assert_eq!(
            rules.unknown_mode("pi-7", &["performance", "power-save"]).unwrap(),
            "there is no mode \"powersave\"; did you mean \"power-save\"?"
        );
    }

    #[test]
    fn those_of_the_examples_can_be_used() {
        let modes = PlanRules::parse(include_str!("../../../../examples/plans/modes.toml")).unwrap();
        assert_eq!((modes.modes, modes.parking), (Some(ModeRules::default()), None));
        let parking = PlanRules::parse(include_str!("../../../../examples/plans/parking.toml")).unwrap();
        assert_eq!((parking.modes, parking.parking.unwrap().level), (None, ParkLevel::Off));
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        let check = |text: &str, expected: &str| {
            assert_eq!(PlanRules::parse(text).unwrap_err().to_string(), expected);
        };
        check("[mode]\nrounds = 3", "line 1, column 2: there is no key \"mode\"; did you mean \"modes\"?");
        check(
            "every_s = 0",
            "line 1, column 11: 0 is not a number of seconds, more than 0 and at most a week",
        );
        check(
            "[parking]\nlevel = \"of\"",
            "line 2, column 9: there is no value \"of\"; did you mean \"off\"?",
        );
        check(
            "[parking]\nlevel = \"off\"",
            "line 2, column 9: no board has the commands `off` and `wake`: add a table [[board]] with both",
        );
        check(
            "[[board]]\nname = \"pi\"\noff = [\"true\"]",
            "line 3, column 7: a board that can be put off must be woken again: the key \"wake\" is missing",
        );
        check(
            "[[board]]\nname = \"pi\"\noff = []\nwake = [\"true\"]",
            "line 3, column 7: off is a program and its arguments, as in [\"wakeonlan\", \"b8:27:eb:12:34:56\"]",
        );
        check(
            "[[board]]\nname = \"pi\"\n[[board]]\nname = \"pi\"",
            "line 3, column 1: there is a board \"pi\" already",
        );
        check("[modes]\nrounds = 0", "line 2, column 10: 0 is not a number from 1 to 1000");
    }
}
