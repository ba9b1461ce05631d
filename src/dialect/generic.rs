//! Any other stream of an AI upstream: nothing is known of its events, so nothing is judged by them.

use super::{Dialect, Finishes, Manual, Places, Sign, Told, common_error, no_kind};

/// No finish sign: a clean end is complete. Errors are told in the common form.
pub static GENERIC: Dialect = Dialect {
    name: "generic",
    doc: "anything else: a clean end counts as complete, a broken one ends with an error event",
    paths: &[],
    headers: &[],
    confirms: |_| true,
    evident: |_| false,
    sign: |event| if event.name == Some(b"error") { Sign::Error } else { Sign::Plain },
    finishes: Finishes::Never,
    kind: no_kind,
    choices: None,
    places: Places {
        text: &[],
        growing: &[],
        other: &[],
        finish: &[],
        usage: &[],
        changing: &[],
        first: &[],
        once: &[],
        count: None,
    },
    error: common_error,
    told: Some(Told::NAMED),
    heartbeat: None,
    manual: Manual {
        first: "anything",
        ends: "nothing: a clean end is complete",
        errors: "an event `error`",
    },
};

#[cfg(test)]
mod tests {
    use super::super::testing::{content, sign};
    use super::*;

    #[test]
    fn any_data_is_content_and_only_a_name_is_an_error() {
        assert!(content(&GENERIC, None, "x") && !content(&GENERIC, None, ""));
        assert_eq!(sign(&GENERIC, Some("error"), "x"), Sign::Error);
        assert_eq!(sign(&GENERIC, None, r#"{"error":{}}"#), Sign::Plain);
    }
}
