//! The quick mode: flags as the configuration file that they stand for.
//!
//! Each line of that file belongs to one flag, so that a mistake in it names the flag.

use super::Options;
use crate::config::Source;

/// The file.
///
/// # Errors
/// A `--header` is not `name: value`. What it is instead is not repeated: it may be a secret.
pub(super) fn source(upstream: &str, options: &Options) -> Result<Source, String> {
    let mut lines: Vec<(&'static str, String)> = Vec::new();
    for address in &options.listen {
        lines.push(("--listen", "[[listener]]".to_owned()));
        lines.push(("--listen", format!("address = {}", quoted(address))));
    }
    lines.push(("--upstream", format!("[upstream.{NAME}]")));
    lines.push(("--upstream", format!("url = {}", quoted(upstream))));
    lines.push(("--upstream", "[[route]]".to_owned()));
    lines.push(("--upstream", format!("upstream = {}", quoted(NAME))));
    if let Some(key) = &options.client_key {
        lines.push(("--client-key", format!("client_key = {}", quoted(key))));
    }
    if options.no_client_auth {
        lines.push(("--no-client-auth", "auth = \"none\"".to_owned()));
    }
    if let Some(bearer) = &options.bearer {
        lines.push(("--bearer", "[[route.inject]]".to_owned()));
        lines.push(("--bearer", format!("bearer = {}", quoted(bearer))));
    }
    for header in &options.header {
        let (name, value) = split_header(header).ok_or("--header: write it as 'name: value'")?;
        lines.push(("--header", "[[route.inject]]".to_owned()));
        lines.push(("--header", format!("header = {}", quoted(name))));
        lines.push(("--header", format!("value = {}", quoted(value))));
    }
    if let Some(format) = &options.log_format {
        lines.push(("--log-format", "[log]".to_owned()));
        lines.push(("--log-format", format!("format = {}", quoted(format))));
    }
    Ok(Source::flags(&lines))
}

/// The name and the value of `name: value`.
fn split_header(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty() && !value.is_empty()).then_some((name, value))
}

/// A TOML basic string on one line: JSON's escapes are a part of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What the only upstream is called.
const NAME: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_flag_cannot_leave_its_line() {
        let source = source("x\"\nurl = \"http://a\u{1}\\", &Options::default()).unwrap();
        assert_eq!(source.text().lines().count(), 4);
        let document: toml::Table = source.text().parse().unwrap();
        assert_eq!(document["upstream"][NAME]["url"].as_str(), Some("x\"\nurl = \"http://a\u{1}\\"));
    }

    #[test]
    fn header_is_split_at_the_first_colon() {
        assert_eq!(split_header("x-key: env:KEY"), Some(("x-key", "env:KEY")));
        assert_eq!(split_header(": a"), None);
        assert_eq!(split_header("a:"), None);
    }

    #[test]
    fn header_that_is_none_is_refused_and_not_repeated() {
        let options = Options { header: vec!["x-key canary".to_owned()], ..Options::default() };
        let error = source("http://a", &options).unwrap_err();
        assert!(error.starts_with("--header") && !error.contains("canary"), "{error}");
    }
}
