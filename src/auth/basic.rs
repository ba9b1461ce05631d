//! `Authorization: Basic …` (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::{Error, Injector, Kind};
use crate::config::Secret;

/// The entry in [`super::INJECTORS`].
pub static BASIC: Kind =
    Kind { name: "basic", doc: "`Authorization: Basic USER:SECRET`: servers behind a web server's login" };

/// Puts a user name and a password into requests.
#[derive(Debug)]
pub struct Basic {
    user: String,
    password: Secret,
}

impl Basic {
    /// Injects `user` (without a colon: RFC 7617 2) and `password`, replacing whatever `Authorization` there is.
    pub fn new(user: String, password: Secret) -> Self {
        Basic { user, password }
    }
}

impl Injector for Basic {
    fn inject(&self, head: &mut Parts) -> Result<(), Error> {
        let password = super::reveal(&self.password)?;
        let credentials = STANDARD.encode(format!("{}:{password}", self.user));
        let value = super::sensitive(format!("Basic {credentials}"), &self.password)?;
        head.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// The password, and the credentials in base64: without the padding, so that they are found with and without it.
    fn secrets(&self) -> Vec<Vec<u8>> {
        let Ok(password) = super::reveal(&self.password) else { return Vec::new() };
        let credentials = STANDARD_NO_PAD.encode(format!("{}:{password}", self.user));
        vec![password.as_bytes().to_vec(), credentials.into_bytes()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn credentials_are_those_of_the_rfc() {
        let mut head = fixture::head("/", &[("authorization", "Bearer y")]);
        let basic = Basic::new("Aladdin".to_owned(), fixture::secret("open sesame"));
        basic.inject(&mut head).unwrap();
        // RFC 7617 2.
        assert_eq!(head.headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(head.headers[AUTHORIZATION].is_sensitive());
        assert_eq!(basic.secrets(), [b"open sesame".to_vec(), b"QWxhZGRpbjpvcGVuIHNlc2FtZQ".to_vec()]);
    }
}
