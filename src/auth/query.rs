//! A query parameter: `?key=…`. Also the one place that takes queries apart (RFC 3986 3.4).

use std::borrow::Cow;

use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Error, Injector, Kind};
use crate::config::Secret;

/// The entry in [`super::INJECTORS`].
pub static QUERY: Kind = Kind { name: "query", doc: "a query parameter, percent-encoded: `key` of Gemini" };

/// Puts a query parameter into requests.
#[derive(Debug)]
pub struct Query {
    name: String,
    value: Secret,
}

impl Query {
    /// Injects the parameter `name`, after all others, replacing every one of that name however it is encoded.
    pub fn new(name: String, value: Secret) -> Self {
        Query { name, value }
    }
}

impl Injector for Query {
    fn inject(&self, head: &mut Parts) -> Result<(), Error> {
        let value = super::reveal(&self.value)?;
        let parameter = format!("{}={}", encoded(&self.name), encoded(&value));
        let others = head.uri.query().map(|query| without(query, |name, _| name == self.name.as_bytes()));
        let query = match others.as_deref() {
            None | Some("") => parameter,
            Some(others) => format!("{others}&{parameter}"),
        };
        head.uri = with_query(&head.uri, &query)
            .map_err(|_| Error { what: format!("{} makes the URL too long", self.value) })?;
        Ok(())
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let Ok(value) = super::reveal(&self.value) else { return Vec::new() };
        let mut secrets = vec![value.as_bytes().to_vec()];
        if let Cow::Owned(encoded) = encoded(&value) {
            secrets.push(encoded.into_bytes());
        }
        secrets
    }
}

/// Removes the parameters of `uri` for which `unwanted` is true of the decoded name and value; `+` is no space here.
/// Everything else stays byte for byte.
pub(crate) fn remove(uri: &mut Uri, unwanted: impl FnMut(&[u8], &[u8]) -> bool) {
    let Some(query) = uri.query() else { return };
    if let Cow::Owned(rest) = without(query, unwanted) {
        // A part of a valid URI is one; if not, the root goes up, and nothing that was to be removed.
        *uri = with_query(uri, &rest).unwrap_or_default();
    }
}

fn without(query: &str, mut unwanted: impl FnMut(&[u8], &[u8]) -> bool) -> Cow<'_, str> {
    let all = query.split('&').count();
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name: Cow<'_, [u8]> = percent_decode_str(name).into();
            let value: Cow<'_, [u8]> = percent_decode_str(value).into();
            !unwanted(&name, &value)
        })
        .collect();
    if kept.len() == all { Cow::Borrowed(query) } else { Cow::Owned(kept.join("&")) }
}

/// `uri` with another query; without one if it is empty.
fn with_query(uri: &Uri, query: &str) -> Result<Uri, http::Error> {
    let path = uri.path();
    let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path)?);
    Ok(Uri::from_parts(parts)?)
}

fn encoded(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED).into()
}

/// Everything but the unreserved characters of RFC 3986 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn injected(uri: &str, secret: &str) -> String {
        let mut head = fixture::head(uri, &[]);
        Query::new("key".to_owned(), fixture::secret(secret)).inject(&mut head).unwrap();
        head.uri.to_string()
    }

    #[test]
    fn parameter_is_added_after_the_others() {
        assert_eq!(injected("/v1", "s"), "/v1?key=s");
        assert_eq!(injected("/v1?", "s"), "/v1?key=s");
        assert_eq!(injected("/v1?alt=sse&a=%20+", "s"), "/v1?alt=sse&a=%20+&key=s");
        assert_eq!(injected("http://h:1/v1?a", "s"), "http://h:1/v1?a&key=s");
    }

    #[test]
    fn parameter_replaces_all_of_its_name() {
        assert_eq!(injected("/v1?key=a&alt=sse&k%65y=b&keys=c&key", "s"), "/v1?alt=sse&keys=c&key=s");
    }

    #[test]
    fn value_is_percent_encoded_and_both_forms_are_secret() {
        assert_eq!(injected("/", "a+/=&\u{e9}-._~"), "/?key=a%2B%2F%3D%26%C3%A9-._~");
        let secrets = Query::new("key".to_owned(), fixture::secret("a/b")).secrets();
        assert_eq!(secrets, [b"a/b".to_vec(), b"a%2Fb".to_vec()]);
        assert_eq!(Query::new("key".to_owned(), fixture::secret("ab")).secrets(), [b"ab"]);
    }

    #[test]
    fn error_names_the_reference_if_the_url_is_too_long() {
        let mut head = fixture::head(&format!("/{}", "a".repeat(65_000)), &[]);
        let query = Query::new("key".to_owned(), fixture::secret(&"b".repeat(1000)));
        let error = query.inject(&mut head).unwrap_err().to_string();
        assert!(error.contains("too long") && !error.contains("bb"), "{error}");
    }

    #[test]
    fn remove_keeps_the_rest_byte_for_byte() {
        for (before, after) in [
            ("/p?a=1&key=s&b=%2f+", "/p?a=1&b=%2f+"),
            ("/p?key=s", "/p"),
            ("/p?%6bey=%73&&", "/p?&"),
            ("/p?KEY=s&key=t", "/p?KEY=s&key=t"),
            ("/p", "/p"),
            ("/p?", "/p?"),
        ] {
            let mut uri: Uri = before.parse().unwrap();
            remove(&mut uri, |name, value| name == b"key" && value == b"s");
            assert_eq!(uri.to_string(), after, "{before}");
        }
    }
}
