//! Any header: `x-api-key`, `anthropic-version`…

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;

use super::{Error, Injector, Kind};
use crate::config::Secret;

/// The entry in [`super::INJECTORS`].
pub static HEADER: Kind =
    Kind { name: "header", doc: "any header, from a secret or literally: `x-api-key` of Anthropic" };

/// Puts a header into requests.
#[derive(Debug)]
pub struct Header {
    name: HeaderName,
    content: HeaderContent,
}

/// What an injected header says.
#[derive(Debug)]
pub enum HeaderContent {
    /// The value of a secret.
    Secret(Secret),
    /// This. It is not a secret (`check` and error bodies may show it), but is not logged either.
    Literal(HeaderValue),
}

impl Header {
    /// Injects the header `name`, replacing every one of that name.
    pub fn new(name: HeaderName, mut content: HeaderContent) -> Self {
        if let HeaderContent::Literal(value) = &mut content {
            value.set_sensitive(true);
        }
        Header { name, content }
    }
}

impl Injector for Header {
    fn inject(&self, head: &mut Parts) -> Result<(), Error> {
        let value = match &self.content {
            HeaderContent::Secret(secret) => {
                super::sensitive(super::reveal(secret)?.as_ref().to_owned(), secret)?
            }
            HeaderContent::Literal(value) => value.clone(),
        };
        head.headers.insert(self.name.clone(), value);
        Ok(())
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let HeaderContent::Secret(secret) = &self.content else { return Vec::new() };
        super::reveal(secret).map(|value| value.as_bytes().to_vec()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn header_replaces_every_one_of_its_name() {
        let mut head = fixture::head("/", &[("x-api-key", "a"), ("x-api-key", "b"), ("x-other", "c")]);
        let name = HeaderName::from_static("x-api-key");
        let header = Header::new(name.clone(), HeaderContent::Secret(fixture::secret("sk-1")));
        header.inject(&mut head).unwrap();
        let values: Vec<_> = head.headers.get_all(name).iter().collect();
        assert_eq!(values, ["sk-1"]);
        assert!(values[0].is_sensitive());
        assert_eq!(head.headers["x-other"], "c");
        assert_eq!(header.secrets(), [b"sk-1"]);
    }

    #[test]
    fn literal_is_sent_but_is_no_secret() {
        let mut head = fixture::head("/", &[]);
        let value = HeaderValue::from_static("2023-06-01");
        let header = Header::new(HeaderName::from_static("anthropic-version"), HeaderContent::Literal(value));
        header.inject(&mut head).unwrap();
        assert_eq!(head.headers["anthropic-version"], "2023-06-01");
        assert!(head.headers["anthropic-version"].is_sensitive());
        assert!(header.secrets().is_empty());
    }
}
