//! One event of the log as one logfmt line: `ts=… level=… target=… key=value …`.
//!
//! Names are written as they are: they come from tidegate's own sources. A value is quoted, and what is not visible
//! in it escaped, if it has a blank, a control character, `=` or `"`; so no value can end its line or begin another
//! field. There are no spans. Used by [`super::init`].

use std::error::Error;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats lines.
#[derive(Debug)]
pub(super) struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("ts=")?;
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        for part in [" level=", level(metadata.level()), " target=", metadata.target()] {
            writer.write_str(part)?;
        }
        let mut fields = Fields { writer, text: String::with_capacity(USUAL_VALUE_BYTES), result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        fields.writer.write_char('\n')
    }
}

/// Writes one field after the other, until one fails.
struct Fields<'w> {
    writer: Writer<'w>,
    /// A value that has to be looked at before it is written.
    text: String,
    result: fmt::Result,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) -> fmt::Result {
        for part in [" ", field.name(), "="] {
            self.writer.write_str(part)?;
        }
        Ok(())
    }

    fn text(&mut self, field: &Field, text: &str) {
        self.result = self.result.and_then(|()| self.name(field)).and_then(|()| {
            match text.bytes().any(|byte| byte <= b' ' || matches!(byte, b'=' | b'"' | 0x7f)) {
                true => self.quoted(text),
                false => self.writer.write_str(text),
            }
        });
    }

    fn quoted(&mut self, text: &str) -> fmt::Result {
        self.writer.write_char('"')?;
        for char in text.chars() {
            match char {
                '\'' => self.writer.write_char(char)?,
                char => write!(self.writer, "{}", char.escape_debug())?,
            }
        }
        self.writer.write_char('"')
    }

    /// A value that never needs quotes.
    fn plain(&mut self, field: &Field, value: impl fmt::Debug) {
        self.result =
            self.result.and_then(|()| self.name(field)).and_then(|()| write!(self.writer, "{value:?}"));
    }

    fn display(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.result = self.result.and_then(|()| text.write_fmt(value));
        self.text(field, &text);
        self.text = text;
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.display(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.display(field, format_args!("{value:?}"));
    }
}

fn level(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Few values that are looked at before they are written are longer.
const USUAL_VALUE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use crate::config::LogFormat;
    use crate::log::testing::Lines;

    #[test]
    fn value_cannot_end_its_line_or_begin_a_field() {
        let (lines, _guard) = Lines::capture(LogFormat::Logfmt);
        let path = "/a b\n\"c\"\te=\u{1b}[0m";
        tracing::info!(target: "access", path, empty = "", whole = 2.0, is = true, text = %"x's y", "done");
        let lines = lines.access();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let (time, rest) = lines[0].split_once(' ').expect("more than a time");
        assert!(time.starts_with("ts=20") && time.ends_with('Z'), "{time}");
        assert_eq!(
            rest,
            "level=info target=access message=done path=\"/a b\\n\\\"c\\\"\\te=\\u{1b}[0m\" empty= whole=2.0 is=true \
             text=\"x's y\""
        );
    }
}
