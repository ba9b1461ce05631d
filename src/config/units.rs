//! Durations and sizes as people type them: `"15s"`, `"64KiB"`.
//!
//! One whole number and one unit, nothing else: `"1500ms"`, not `"1.5s"`, so that every value has one
//! obvious spelling. A mistake comes back with the spelling that was probably meant. Read by `file`
//! and by the check of the document against the key table.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration: a whole number of `ms`, `s`, `m` or `h`. Shown in the largest unit that is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A duration, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOrOff(pub Option<Duration>);

/// A number of bytes: a whole number of `B`, `KiB`, `MiB`, `GiB` or `TiB`. Shown in the largest unit that is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A number, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum CountOrAuto {
    /// This many.
    Count(usize),
    /// Whatever fits the machine.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Auto {
    /// `auto`
    #[serde(rename = "auto")]
    Auto,
}

impl Size {
    /// The size in memory terms; saturates where an address is shorter than 64 bits.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |hint: Option<String>| match hint {
            Some(hint) => format!("{text:?} is not a duration (try {hint:?})"),
            None => format!("{text:?} is not a duration (a whole number and ms, s, m or h, such as \"15s\")"),
        };
        let (number, unit) = split(text);
        let factor = match TIME_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => factor,
            None => return Err(wrong(meant_time(number, unit.trim()))),
        };
        let number: u64 = number.parse().map_err(|_| wrong(meant_time(number, unit)))?;
        let millis = number.checked_mul(*factor).ok_or_else(|| format!("{text:?} is too long"))?;
        Ok(Time(Duration::from_millis(millis)))
    }
}

impl FromStr for TimeOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(TimeOrOff(None)),
            _ => text.parse().map(|Time(time)| TimeOrOff(Some(time))),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |hint: Option<String>| match hint {
            Some(hint) => format!("{text:?} is not a size (try {hint:?})"),
            None => {
                format!(
                    "{text:?} is not a size (a whole number and B, KiB, MiB, GiB or TiB, such as \"64KiB\")"
                )
            }
        };
        let (number, unit) = split(text);
        let factor = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => factor,
            None => return Err(wrong(meant_size(number, unit.trim()))),
        };
        let number: u64 = number.parse().map_err(|_| wrong(None))?;
        number.checked_mul(*factor).map(Size).ok_or_else(|| format!("{text:?} is too large"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        show(f, millis, TIME_UNITS, "0s")
    }
}

impl fmt::Display for TimeOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => Time(time).fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, SIZE_UNITS, "0B")
    }
}

/// What is said to a duration or a size that was typed as a plain number.
pub(super) fn without_unit(number: &str, is_time: bool) -> String {
    let meant = if is_time { meant_time(number, "") } else { meant_size(number, "") };
    match meant {
        Some(meant) => format!("{number} has no unit (write {meant:?})"),
        None => format!("{number} is no {}", if is_time { "duration" } else { "size" }),
    }
}

/// The largest unit in which the number is whole.
fn show(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    match units.iter().rev().find(|(_, factor)| number > 0 && number.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", number / factor),
        None => f.write_str(zero),
    }
}

/// The number and what follows it.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// What a person probably meant by a duration in other words.
fn meant_time(number: &str, unit: &str) -> Option<String> {
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "ms" | "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
        "d" | "day" | "days" => return number.parse::<u64>().ok()?.checked_mul(24).map(|h| format!("{h}h")),
        _ => return None,
    };
    if number.parse::<u64>().is_ok() {
        return Some(format!("{number}{unit}"));
    }
    let factor = TIME_UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, tenths) = number.split_once('.')?;
    let [tenth @ b'0'..=b'9'] = tenths.as_bytes() else { return None };
    let millis = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let part = u64::from(tenth - b'0') * factor;
    let millis = millis.checked_add(part / 10)?;
    part.is_multiple_of(10).then(|| Time(Duration::from_millis(millis)).to_string())
}

/// What a person probably meant by a size in other words.
fn meant_size(number: &str, unit: &str) -> Option<String> {
    let number: u64 = number.parse().ok()?;
    match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => Some(Size(number).to_string()),
        "k" | "kb" | "kib" => Some(format!("{number}KiB")),
        "m" | "mb" | "mib" => Some(format!("{number}MiB")),
        "g" | "gb" | "gib" => Some(format!("{number}GiB")),
        "t" | "tb" | "tib" => Some(format!("{number}TiB")),
        _ => None,
    }
}

/// Reads and writes a type as the text that it parses from and displays as.
macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(super) use serde_as_text;

serde_as_text!(Time, TimeOrOff, Size);

/// Units of time in milliseconds, smallest first.
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Units of size in bytes, smallest first.
const SIZE_UNITS: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shown_in_the_largest_exact_unit() {
        for (typed, shown) in [
            ("1500ms", "1500ms"),
            ("5000ms", "5s"),
            ("90s", "90s"),
            ("300s", "5m"),
            ("24h", "24h"),
            ("0m", "0s"),
        ] {
            assert_eq!(typed.parse::<Time>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn time_mistake_suggests_what_was_meant() {
        for (typed, hint) in [
            ("5 sec", "5s"),
            ("5", "5s"),
            ("5S", "5s"),
            ("10 min", "10m"),
            ("2d", "48h"),
            ("1.5s", "1500ms"),
            ("0.5h", "30m"),
            ("5 s", "5s"),
        ] {
            let error = typed.parse::<Time>().unwrap_err();
            assert_eq!(error, format!("{typed:?} is not a duration (try {hint:?})"));
            assert!(hint.parse::<Time>().is_ok());
        }
    }

    #[test]
    fn time_mistake_explains_where_nothing_can_be_guessed() {
        for typed in ["", "soon", "-5s", "1.5.5s", "1h30m", "s", "18446744073709551.9s"] {
            let error = typed.parse::<Time>().unwrap_err();
            assert!(error.contains("such as \"15s\""), "{error}");
        }
    }

    #[test]
    fn time_or_off_knows_off() {
        assert_eq!("off".parse(), Ok(TimeOrOff(None)));
        assert_eq!("1s".parse(), Ok(TimeOrOff(Some(Duration::from_secs(1)))));
        assert_eq!(TimeOrOff(None).to_string(), "off");
    }

    #[test]
    fn size_is_shown_in_the_largest_exact_unit() {
        for (typed, shown) in
            [("64KiB", "64KiB"), ("65536B", "64KiB"), ("1025B", "1025B"), ("1024GiB", "1TiB"), ("0B", "0B")]
        {
            assert_eq!(typed.parse::<Size>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn size_mistake_suggests_what_was_meant() {
        for (typed, hint) in [("64k", "64KiB"), ("64 KB", "64KiB"), ("65536", "64KiB"), ("1 gb", "1GiB")] {
            let error = typed.parse::<Size>().unwrap_err();
            assert_eq!(error, format!("{typed:?} is not a size (try {hint:?})"));
        }
    }

    #[test]
    fn value_past_64_bits_is_refused() {
        assert!("18446744073709551615h".parse::<Time>().is_err());
        assert!("18446744073709551615TiB".parse::<Size>().is_err());
        assert!("18446744073709551616B".parse::<Size>().is_err());
    }
}
