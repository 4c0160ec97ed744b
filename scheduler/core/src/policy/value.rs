//! Single values of a policy: each is checked where it stands, so that errors point to it.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, Error as _, IntoDeserializer, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use toml::Spanned;

use super::Hours;

/// Longest target.
const MAX_TARGET: Duration = Duration::from_secs(24 * 60 * 60);

/// Minutes since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    pub const MIDNIGHT: Self = Self(0);

    /// `None` if there is no such time.
    pub const fn new(hour: u16, minute: u16) -> Option<Self> {
        if hour < 24 && minute < 60 { Some(Self(hour * 60 + minute)) } else { None }
    }

    /// As in `06:30`.
    fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str| text.len() <= 2 && text.bytes().all(|digit| digit.is_ascii_digit());
        if !digits(hour) || !digits(minute) || minute.len() != 2 {
            return None;
        }
        Self::new(hour.parse().ok()?, minute.parse().ok()?)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let times = text
            .split_once('-')
            .and_then(|(from, to)| Some((TimeOfDay::parse(from.trim())?, TimeOfDay::parse(to.trim())?)));
        match times {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            Some(_) => Err(D::Error::custom(format!("{text:?} begins and ends at the same time"))),
            None => Err(D::Error::custom(format!(
                "{text:?} is no span of hours, which looks like \"22:00-06:30\""
            ))),
        }
    }
}

/// A target, or `"none"` to lift the one that would hold otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target<T> {
    Given(T),
    Lifted,
}

impl<T: Copy> Target<T> {
    pub(super) const fn value(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Lifted => None,
        }
    }
}

/// What a number means as a target.
pub(super) trait Limit: Sized {
    const EXPECTED: &'static str;

    fn of(number: f64) -> Option<Self>;
}

/// In milliseconds.
impl Limit for Duration {
    const EXPECTED: &'static str = "a number of milliseconds, more than 0 and at most a day";

    fn of(number: f64) -> Option<Self> {
        let time = Self::try_from_secs_f64(number / 1e3).ok()?;
        (!time.is_zero() && time <= MAX_TARGET).then_some(time)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct JoulesPerToken(pub(super) f64);

impl Limit for JoulesPerToken {
    const EXPECTED: &'static str = "a number of joules, more than 0";

    fn of(number: f64) -> Option<Self> {
        (number > 0.0 && number.is_finite()).then_some(Self(number))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct QualityShare(pub(super) f64);

impl Limit for QualityShare {
    const EXPECTED: &'static str = "a share of right answers, from 0 to 1";

    fn of(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }
}

impl<'de, T: Limit> Deserialize<'de> for Target<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor(PhantomData))
    }
}

struct TargetVisitor<T>(PhantomData<T>);

impl<T: Limit> Visitor<'_> for TargetVisitor<T> {
    type Value = Target<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or \"none\"", T::EXPECTED)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Target<T>, E> {
        match T::of(number) {
            Some(limit) => Ok(Target::Given(limit)),
            None => Err(E::custom(format!("{number:?} is not {}", T::EXPECTED))),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Target<T>, E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Target<T>, E> {
        if text == "none" {
            Ok(Target::Lifted)
        } else {
            Err(E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
}

/// From 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percent(pub(super) u8);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        match u8::try_from(number) {
            Ok(percent @ 1..=100) => Ok(Self(percent)),
            _ => Err(D::Error::custom(format!("{number} is not a percentage from 1 to 100"))),
        }
    }
}

/// From 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share(pub(super) u32);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        match u32::try_from(number) {
            Ok(share @ 1..=1000) => Ok(Self(share)),
            _ => Err(D::Error::custom(format!("{number} is not a share from 1 to 1000"))),
        }
    }
}

/// `"one"`, or `["a", "list"]`.
#[derive(Debug)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<Spanned<T>>),
}

impl<T> OneOrMany<T> {
    /// Each with the byte of the text at which it begins.
    pub(super) fn flatten(listed: Option<Spanned<Self>>) -> Vec<(T, usize)> {
        match listed.map(placed) {
            None => Vec::new(),
            Some((Self::One(one), at)) => vec![(one, at)],
            Some((Self::Many(many), _)) => many.into_iter().map(placed).collect(),
        }
    }
}

fn placed<T>(one: Spanned<T>) -> (T, usize) {
    let at = one.span().start;
    (one.into_inner(), at)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
        T::deserialize(text.into_deserializer()).map(OneOrMany::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMany<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
    }
}
