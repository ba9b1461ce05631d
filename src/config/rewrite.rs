//! What happens to a path on its way up.

use std::borrow::Cow;

/// A literal change of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// As it came.
    None,
    /// This prefix of whole segments is removed.
    StripPrefix(String),
    /// A prefix of whole segments (first) is replaced by another (second).
    Replace(String, String),
}

impl Rewrite {
    /// `path` as it goes up, without the upstream's base path. Empty where the whole path was the prefix.
    pub(super) fn of<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match self {
            Rewrite::None => path.into(),
            Rewrite::StripPrefix(prefix) => below(path, prefix).unwrap_or(path).into(),
            Rewrite::Replace(from, to) => match below(path, from) {
                Some(rest) => format!("{to}{rest}").into(),
                None => path.into(),
            },
        }
    }
}

/// What follows `prefix` in `path`: nothing, or `/…`. `None` if `path` does not begin with these whole segments.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}
