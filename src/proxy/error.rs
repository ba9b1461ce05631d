//! What a client is told when there is no response to relay: the one place where failures become statuses.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use super::chosen::Unknown;
use super::{request, response};
use crate::auth::client::Refused;
use crate::dialect::{Dialect, GENERIC};
use crate::route::NoRoute;
use crate::stream::{Cause, Failure, Phase};
use crate::upstream;

/// A request that ends without an upstream's response. Nothing has been promised to the client.
#[derive(Debug)]
pub(super) struct ProxyError {
    status: StatusCode,
    failure: Failure,
    phase: Phase,
    /// What the log is told instead of the failure's message, if there is more to tell.
    detail: Option<String>,
    /// Such as `WWW-Authenticate` or `Allow`.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ProxyError {
    pub(super) fn new(phase: Phase, failure: Failure) -> Self {
        ProxyError { status: failure.status(), failure, phase, detail: None, headers: Vec::new() }
    }

    /// With a status that the failure alone does not tell.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        ProxyError { status, ..self }
    }

    /// The request cannot be served as it is.
    fn refused(cause: Cause, message: String) -> Self {
        ProxyError::new(Phase::Request, Failure::new(cause, message))
    }

    /// Ends the connection with the answer (RFC 9112 9.6). hyper takes the field out of HTTP/2 responses, where a
    /// refusal is the affair of one stream.
    fn closing(mut self) -> Self {
        self.headers.push((CONNECTION, HeaderValue::from_static("close")));
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The failure in words, with what is not for clients.
    pub(super) fn for_the_log(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.failure.for_the_log())
    }

    /// Fields that go with the answer.
    pub(super) fn into_headers(self) -> Vec<(HeaderName, HeaderValue)> {
        self.headers
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// What is told inside a stream that was opened before, and how far the request had come.
    pub(super) fn into_failure(self) -> (Failure, Phase) {
        (self.failure.with_detail(self.detail), self.phase)
    }

    /// The response: an error as the clients of the dialect read it, if one is known. Ollama's show an object where
    /// they expect a string as `[object Object]`. Where it quotes the upstream, none of `secrets` is in it.
    pub(super) fn into_response(
        self,
        dialect: Option<&'static Dialect>,
        secrets: &[Vec<u8>],
    ) -> Response<Bytes> {
        let body = match self.failure.own_body() {
            Some(own) => own.to_vec(),
            None => (dialect.unwrap_or(&GENERIC).error)(&self.failure).into_bytes(),
        };
        let body = response::masked(&body, secrets).unwrap_or(body);
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        let length = response.body().len();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

/// What an upstream error is called towards clients and in the log.
pub(crate) fn failure(error: &upstream::Error) -> Failure {
    Failure::new(error.cause(), error.for_clients())
}

impl From<upstream::Error> for ProxyError {
    fn from(error: upstream::Error) -> Self {
        let refusal = ProxyError::new(error.phase(), failure(&error));
        ProxyError { detail: Some(error.for_the_log()), ..refusal }
    }
}

impl From<request::Refusal> for ProxyError {
    fn from(refusal: request::Refusal) -> Self {
        // What is wrong with a reference is for the operator's log, not for a client.
        if let request::Refusal::Credential(error) = &refusal {
            tracing::error!(%error, "cannot inject a credential");
        }
        let error = ProxyError::refused(refusal.cause(), refusal.to_string());
        if refusal.closes() { error.closing() } else { error }
    }
}

impl From<Unknown> for ProxyError {
    fn from(unknown: Unknown) -> Self {
        ProxyError::refused(Cause::ClientUnknownProfile, unknown.to_string())
    }
}

impl From<NoRoute> for ProxyError {
    fn from(none: NoRoute) -> Self {
        let message = none.to_string();
        match none {
            NoRoute::NotFound => ProxyError::refused(Cause::ClientNoRoute, message),
            NoRoute::BadPath => ProxyError::refused(Cause::ClientBadPath, message).closing(),
            NoRoute::MethodNotAllowed(methods) => {
                let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                let mut error = ProxyError::refused(Cause::ClientMethodNotAllowed, message);
                // RFC 9110 15.5.6: a 405 names what is allowed.
                if let Ok(allow) = HeaderValue::try_from(allow) {
                    error.headers.push((ALLOW, allow));
                }
                error
            }
        }
    }
}

impl From<Refused> for ProxyError {
    fn from(refused: Refused) -> Self {
        if let Refused::Unreadable(error) = &refused {
            tracing::error!(%error, "cannot check client keys");
        }
        let mut error = ProxyError::refused(refused.cause(), refused.to_string());
        error.headers.extend(refused.challenge().map(|challenge| (WWW_AUTHENTICATE, challenge)));
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_json_in_the_common_form() {
        let response = ProxyError::from(NoRoute::NotFound).into_response(None, &[]);
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::NOT_FOUND, &"application/json".parse().unwrap())
        );
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["error"]["code"], "no_route");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        let refused = ProxyError::from(NoRoute::MethodNotAllowed(vec![Method::GET, Method::HEAD]))
            .into_response(None, &[]);
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD");
        let unauthorized = ProxyError::from(Refused::NoKey).into_response(None, &[]);
        assert_eq!(
            (unauthorized.status(), unauthorized.headers().contains_key(WWW_AUTHENTICATE)),
            (StatusCode::UNAUTHORIZED, true)
        );
    }

    #[test]
    fn errors_for_ollamas_clients_are_a_string() {
        let response = ProxyError::from(Refused::NoKey).into_response(Dialect::hinted("/api/chat"), &[]);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!((body["error"].is_string(), &body["code"]), (true, &"missing_api_key".into()));
    }
}
