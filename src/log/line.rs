//! One access line, in either form of the log. There is one for each request, so it is written by hand: a visitor of
//! `tracing` takes as many instructions for its fields as the head that goes up.
//!
//! Pure. Names are written as they are: they come from tidegate's own sources. In logfmt a value is quoted, and what is
//! not visible in it escaped, if it has a blank, a control character, `=` or `"`; so no value can end its line or
//! begin another field. Called by [`super`], and by [`super::logfmt`] for all other lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::LogFormat;

/// A value of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// One of tidegate's own words: nothing in it needs quotes.
    Word(&'a str),
    /// Anything else.
    Text(&'a str),
    Number(u64),
    /// In milliseconds with one decimal.
    Time(Duration),
}

/// Appends the line of a request that has ended at `now`, with its line end. A field without a value is left out.
pub(super) fn access(
    line: &mut Vec<u8>,
    format: LogFormat,
    now: SystemTime,
    fields: &[(&'static str, Option<Value<'_>>)],
) {
    let fields = fields.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
    match format {
        LogFormat::Logfmt => {
            line.extend_from_slice(b"ts=");
            timestamp(line, now);
            line.extend_from_slice(b" level=info target=access message=request");
            for (name, value) in fields {
                logfmt(line, name, value);
            }
        }
        LogFormat::Json => {
            line.extend_from_slice(b"{\"timestamp\":\"");
            timestamp(line, now);
            line.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\"");
            for (name, value) in fields {
                json(line, name, value);
            }
            line.extend_from_slice(b",\"target\":\"access\"}");
        }
    }
    line.push(b'\n');
}

/// Writes ` name=value`.
pub(super) fn logfmt(line: &mut Vec<u8>, name: &str, value: Value<'_>) {
    line.push(b' ');
    line.extend_from_slice(name.as_bytes());
    line.push(b'=');
    match value {
        Value::Text(text) if needs_quotes(text) => quoted(line, text),
        Value::Text(text) | Value::Word(text) => line.extend_from_slice(text.as_bytes()),
        Value::Number(number) => decimal(line, number),
        Value::Time(time) => milliseconds(line, time),
    }
}

fn json(line: &mut Vec<u8>, name: &str, value: Value<'_>) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
    match value {
        Value::Word(text) | Value::Text(text) => {
            // Neither a string nor a vector can fail.
            let _ = serde_json::to_writer(line, text);
        }
        Value::Number(number) => decimal(line, number),
        Value::Time(time) => milliseconds(line, time),
    }
}

fn needs_quotes(text: &str) -> bool {
    text.bytes().any(|byte| QUOTED[usize::from(byte)])
}

fn quoted(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    let mut push = |char: char| line.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    for char in text.chars() {
        match char {
            '\'' => push(char),
            char => char.escape_debug().for_each(&mut push),
        }
    }
    line.push(b'"');
}

/// With one decimal, rounded.
fn milliseconds(line: &mut Vec<u8>, time: Duration) {
    let subsecond = u64::from(time.subsec_nanos() + 50_000) / 100_000;
    let tenths = time.as_secs().saturating_mul(10_000).saturating_add(subsecond);
    decimal(line, tenths / 10);
    line.push(b'.');
    decimal(line, tenths % 10);
}

fn decimal(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// RFC 3339 in UTC with microseconds: `2026-11-21T09:30:00.000000Z`.
fn timestamp(line: &mut Vec<u8>, at: SystemTime) {
    // A clock before 1970 is set wrong; so is the line's time.
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    text[..4].copy_from_slice(&digits::<4>(year));
    text[5..7].copy_from_slice(&digits::<2>(month));
    text[8..10].copy_from_slice(&digits::<2>(day));
    text[11..13].copy_from_slice(&digits::<2>(second / 3_600));
    text[14..16].copy_from_slice(&digits::<2>(second / 60 % 60));
    text[17..19].copy_from_slice(&digits::<2>(second % 60));
    text[20..26].copy_from_slice(&digits::<6>(since.subsec_micros().into()));
    line.extend_from_slice(&text);
}

/// Year, month and day of a day after 1970-01-01 in the Gregorian calendar. Its years are counted from March, so that the
/// day that leap years have more is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    // Of 400 years every fourth is a leap year (1,460 days go by before its day), but every hundredth (36,524), but the
    // last.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, day)
}

/// The last digits.
fn digits<const COUNT: usize>(mut number: u64) -> [u8; COUNT] {
    let mut digits = [0; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// The bytes for which a value is quoted: a table, since every byte of most values is looked at.
static QUOTED: [bool; 256] = {
    let mut quoted = [false; 256];
    let mut byte = 0;
    while byte <= b' ' {
        quoted[byte as usize] = true;
        byte += 1;
    }
    quoted[b'=' as usize] = true;
    quoted[b'"' as usize] = true;
    quoted[0x7f] = true;
    quoted
};

/// From 0000-03-01.
const DAYS_TO_1970: u64 = 719_468;

const DAYS_OF_400_YEARS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    fn time(at: SystemTime) -> String {
        let mut line = Vec::new();
        timestamp(&mut line, at);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn timestamp_is_the_date_of_every_day() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(date(days), (year, month, day), "{days}");
            let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let last = match month {
                2 if is_leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert!(year > 2500);
    }

    #[test]
    fn timestamp_has_microseconds() {
        let at = UNIX_EPOCH + Duration::new(1_795_274_291, 7_042_999);
        assert_eq!(time(at), "2026-11-21T15:18:11.007042Z");
        assert_eq!(time(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn times_are_rounded_to_one_decimal() {
        for (micros, text) in
            [(0, "0.0"), (49, "0.0"), (50, "0.1"), (1_240, "1.2"), (2_000, "2.0"), (99_960, "100.0")]
        {
            let mut line = Vec::new();
            milliseconds(&mut line, Duration::from_micros(micros));
            assert_eq!(line, text.as_bytes(), "{micros}");
        }
        let mut line = Vec::new();
        milliseconds(&mut line, Duration::MAX);
        assert_eq!(line, b"1844674407370955161.5");
    }

    #[test]
    fn no_value_breaks_its_line_in_any_form() {
        let hostile = "/a b\n\"c\"\te=\u{1b}[0m\u{7f}\\é'";
        let fields = [
            ("path", Some(Value::Text(hostile))),
            ("none", None),
            ("count", Some(Value::Number(u64::MAX))),
            ("word", Some(Value::Word("done"))),
            ("ms", Some(Value::Time(Duration::from_millis(7)))),
        ];
        let line = |format| {
            let mut line = Vec::new();
            access(&mut line, format, UNIX_EPOCH, &fields);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(
            line(LogFormat::Logfmt),
            "ts=1970-01-01T00:00:00.000000Z level=info target=access message=request \
             path=\"/a b\\n\\\"c\\\"\\te=\\u{1b}[0m\\u{7f}\\\\é'\" count=18446744073709551615 word=done ms=7.0\n"
        );
        let json = line(LogFormat::Json);
        assert_eq!(json.lines().count(), 1);
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(object["path"], hostile);
        assert_eq!((&object["count"], &object["ms"]), (&u64::MAX.into(), &7.0.into()));
        assert!(object.get("none").is_none());
    }
}
