//! A number of a row: measured, or a range where it is assumed.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};

/// Which end of the assumed ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The cheap end: fast, little power.
    Low,
    Nominal,
    High,
}

/// A number of a row. What nobody measured is assumed: a range around the value that predictions use.
///
/// In TOML a number, or `{ nominal = 2.0, low = 1.5, high = 3.0, source = "..." }`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figure {
    nominal: f64,
    range: Option<(f64, f64)>,
    source: Option<Arc<str>>,
}

impl Figure {
    /// A figure that the row's provenance vouches for.
    pub const fn known(value: f64) -> Self {
        Self { nominal: value, range: None, source: None }
    }

    /// A figure that nobody measured, with what it rests on. The ends are put in order around `nominal`.
    pub fn assumed(low: f64, nominal: f64, high: f64, source: &str) -> Self {
        let range = Some((low.min(nominal), high.max(nominal)));
        Self { nominal, range, source: Some(source.into()) }
    }

    /// Zero, and known to be.
    pub fn is_zero(&self) -> bool {
        self.nominal == 0.0 && self.range.is_none() && self.source.is_none()
    }

    pub const fn nominal(&self) -> f64 {
        self.nominal
    }

    /// `None` if it is not assumed.
    pub const fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    pub const fn is_assumed(&self) -> bool {
        self.range.is_some()
    }

    /// Where it comes from, if from elsewhere than its row.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    pub fn at(&self, bound: Bound) -> f64 {
        match (bound, self.range) {
            (Bound::Low, Some((low, _))) => low,
            (Bound::High, Some((_, high))) => high,
            _ => self.nominal,
        }
    }

    /// Every end and the middle, each by `change`; assumed if it was.
    #[must_use]
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        let range = self.range.map(|(low, high)| (change(low), change(high)));
        Self { nominal: change(self.nominal), range, source: self.source.clone() }
    }

    /// The product, end by end; assumed if one of them is.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    /// The sum, end by end; assumed if one of them is.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    fn with(&self, other: &Self, join: impl Fn(f64, f64) -> f64) -> Self {
        let at = |bound| join(self.at(bound), other.at(bound));
        let range = (self.is_assumed() || other.is_assumed()).then(|| (at(Bound::Low), at(Bound::High)));
        let source = match (&self.source, &other.source) {
            (Some(a), Some(b)) if a != b => Some(format!("{a}; {b}").into()),
            (source, None) | (None, source) | (source, _) => source.clone(),
        };
        Self { nominal: at(Bound::Nominal), range, source }
    }

    /// Whether all of it is finite and not negative.
    pub(crate) fn is_sound(&self) -> bool {
        let (low, high) = self.range.unwrap_or((self.nominal, self.nominal));
        low >= 0.0 && high.is_finite() && low <= self.nominal && self.nominal <= high
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self::known(value)
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.range.is_none() && self.source.is_none() {
            return serializer.serialize_f64(self.nominal);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("nominal", &self.nominal)?;
        if let Some((low, high)) = self.range {
            map.serialize_entry("low", &low)?;
            map.serialize_entry("high", &high)?;
        }
        if let Some(source) = &self.source {
            map.serialize_entry("source", &**source)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FigureVisitor)
    }
}

const FIELDS: &[&str] = &["nominal", "low", "high", "source"];

struct FigureVisitor;

impl<'de> Visitor<'de> for FigureVisitor {
    type Value = Figure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number >= 0, or { nominal, low, high, source } where it is assumed")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Figure, E> {
        let figure = Figure::known(value);
        if figure.is_sound() {
            Ok(figure)
        } else {
            Err(E::invalid_value(de::Unexpected::Float(value), &self))
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Figure, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Figure, E> {
        self.visit_f64(value as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figure, A::Error> {
        let (mut nominal, mut low, mut high, mut source) = (None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "nominal" => nominal = Some(map.next_value::<f64>()?),
                "low" => low = Some(map.next_value::<f64>()?),
                "high" => high = Some(map.next_value::<f64>()?),
                "source" => source = Some(map.next_value::<String>()?.into()),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(de::Error::unknown_field(&key, FIELDS));
                }
            }
        }
        let nominal = nominal.ok_or_else(|| de::Error::missing_field("nominal"))?;
        let range = match (low, high) {
            (Some(low), Some(high)) => Some((low, high)),
            (None, None) => None,
            _ => return Err(de::Error::custom("a range needs both `low` and `high`")),
        };
        let figure = Figure { nominal, range, source };
        if figure.is_sound() {
            Ok(figure)
        } else {
            Err(de::Error::custom("expected 0 <= low <= nominal <= high"))
        }
    }
}
