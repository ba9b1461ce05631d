//! Credentials: what is put into requests that go up, and what clients must show.
//!
//! One injector per file, each with its entry in [`INJECTORS`]; [`client`] is the other direction. No IO beyond
//! reading a secret. Invariant: no value of a secret is ever part of an error, a `Debug` or a log line; it stands in
//! the request only, marked sensitive where the `http` types allow it (a URI cannot be marked: heads that go up must not
//! be logged).

pub mod basic;
pub mod bearer;
pub mod client;
pub mod header;
pub mod query;

use std::fmt;

use http::HeaderValue;
use http::request::Parts;

use crate::config::Secret;

/// Puts a credential into a request that goes up.
pub trait Injector: fmt::Debug + Send + Sync {
    /// Changes `head`; values are marked sensitive.
    ///
    /// # Errors
    /// The secret cannot be read now, or does not fit into a header or a URL.
    fn inject(&self, head: &mut Parts) -> Result<(), Error>;

    /// The byte strings that must never be seen by anybody: as they are in the request, encodings included.
    /// Empty if the secret cannot be read now.
    fn secrets(&self) -> Vec<Vec<u8>>;
}

/// A credential could not be injected. Says which reference failed and why, never its value.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// Which reference, and why.
    pub what: String,
}

/// A kind of injector, as the config and `tidegate formats` know it.
#[derive(Debug)]
pub struct Kind {
    /// Its name in the config.
    pub name: &'static str,
    /// One line for `tidegate formats`.
    pub doc: &'static str,
}

/// Every kind of injector.
pub static INJECTORS: &[&Kind] = &[&bearer::BEARER, &header::HEADER, &query::QUERY, &basic::BASIC];

/// The value of `secret`; never empty.
fn reveal(secret: &Secret) -> Result<std::sync::Arc<str>, Error> {
    secret.reveal().map_err(|what| Error { what })
}

/// `text` as a header value that is never shown or compressed. `secret` is where it is from.
fn sensitive(text: String, secret: &Secret) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(text).map_err(|_| Error {
        what: format!("{secret} holds a byte that a header cannot carry (a line end?)"),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
pub(crate) mod fixture {
    use crate::config::Secret;

    pub(crate) fn secret(value: &str) -> Secret {
        Secret::parse(&format!("inline:{value}")).unwrap()
    }

    pub(crate) fn unreadable() -> Secret {
        Secret::parse("env:TIDEGATE_TEST_VARIABLE_THAT_NOBODY_SETS").unwrap()
    }

    pub(crate) fn head(uri: &str, headers: &[(&str, &str)]) -> http::request::Parts {
        let mut builder = http::Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_injector_has_a_name_of_its_own_and_a_doc() {
        let mut names: Vec<_> = INJECTORS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["basic", "bearer", "header", "query"]);
        assert!(INJECTORS.iter().all(|kind| !kind.doc.is_empty()));
    }

    #[test]
    fn no_error_or_debug_shows_a_value() {
        let injectors: Vec<Box<dyn Injector>> = vec![
            Box::new(bearer::Bearer::new(fixture::secret("canary\n"))),
            Box::new(header::Header::new(
                http::header::AUTHORIZATION,
                header::HeaderContent::Secret(fixture::secret("canary\n")),
            )),
            Box::new(header::Header::new(
                http::header::AUTHORIZATION,
                header::HeaderContent::Literal(HeaderValue::from_static("canary")),
            )),
            Box::new(query::Query::new("key".to_owned(), fixture::secret("canary"))),
            Box::new(basic::Basic::new("user".to_owned(), fixture::secret("canary"))),
        ];
        for injector in injectors {
            let mut head = fixture::head("/", &[]);
            let result = injector.inject(&mut head);
            assert!(
                !format!("{injector:?} {result:?} {:?}", head.headers).contains("canary"),
                "{injector:?}"
            );
        }
    }

    #[test]
    fn injector_without_a_value_says_which_reference() {
        let injector = bearer::Bearer::new(fixture::unreadable());
        let mut head = fixture::head("/", &[("authorization", "Bearer client")]);
        let error = injector.inject(&mut head).unwrap_err();
        assert!(error.to_string().contains("TIDEGATE_TEST_VARIABLE"), "{error}");
        assert!(bearer::Bearer::new(fixture::unreadable()).secrets().is_empty());
    }
}
