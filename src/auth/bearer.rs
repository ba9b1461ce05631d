//! `Authorization: Bearer …` (RFC 6750 2.1).

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::{Error, Injector, Kind};
use crate::config::Secret;

/// The entry in [`super::INJECTORS`].
pub static BEARER: Kind =
    Kind { name: "bearer", doc: "`Authorization: Bearer SECRET`: OpenAI and most others" };

/// Puts a bearer token into requests.
#[derive(Debug)]
pub struct Bearer {
    token: Secret,
}

impl Bearer {
    /// Injects `token`, replacing whatever `Authorization` there is.
    pub fn new(token: Secret) -> Self {
        Bearer { token }
    }
}

impl Injector for Bearer {
    fn inject(&self, head: &mut Parts) -> Result<(), Error> {
        let token = super::reveal(&self.token)?;
        let value = super::sensitive(format!("Bearer {token}"), &self.token)?;
        head.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        super::reveal(&self.token).map(|token| token.as_bytes().to_vec()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn token_replaces_the_authorization_of_the_client() {
        let mut head = fixture::head("/", &[("authorization", "Basic x"), ("authorization", "Bearer y")]);
        let bearer = Bearer::new(fixture::secret("sk-1"));
        bearer.inject(&mut head).unwrap();
        let values: Vec<_> = head.headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer sk-1"]);
        assert!(values[0].is_sensitive());
        assert_eq!(bearer.secrets(), [b"sk-1"]);
    }
}
