//! One event of the log as one logfmt line: `ts=… level=… target=… key=value …`.
//!
//! How values are quoted says [`super::line`]. There are no spans. Used by [`super::init`].

use std::error::Error;
use std::fmt;
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::line::{self, Value};

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
        let mut fields = Fields { line: Vec::new() };
        event.record(&mut fields);
        writer.write_str(&String::from_utf8_lossy(&fields.line))?;
        writer.write_char('\n')
    }
}

/// Writes one field after the other.
struct Fields {
    line: Vec<u8>,
}

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        line::logfmt(&mut self.line, field.name(), Value::Text(text));
    }

    /// A value that never needs quotes.
    fn plain(&mut self, field: &Field, value: impl fmt::Debug) {
        // A vector takes everything.
        let _ = write!(self.line, " {}={value:?}", field.name());
    }
}

impl Visit for Fields {
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
        self.text(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
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
