//! What a client is told when there is no response to relay: the one place where failures become statuses.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use super::request;
use crate::auth::client::Refused;
use crate::route::NoRoute;
use crate::stream::{Failure, Phase, Who};
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
    pub(super) fn new(status: StatusCode, phase: Phase, failure: Failure) -> Self {
        ProxyError { status, failure, phase, detail: None, headers: Vec::new() }
    }

    /// The client's request cannot be served as it is.
    fn client(status: StatusCode, what: &'static str, message: String) -> Self {
        ProxyError::new(status, Phase::Request, Failure::new(Who::Client, what, message))
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
        self.detail.as_deref().unwrap_or(self.failure.message())
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The response: a body in the form that OpenAI's clients read.
    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = serde_json::json!({
            "error": {
                "message": self.failure.message(),
                "type": self.failure.kind(),
                "code": self.failure.code(),
            }
        });
        let mut response = Response::new(Bytes::from(body.to_string()));
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
    Failure::new(error.who(), error.code(), error.for_clients())
}

impl From<upstream::Error> for ProxyError {
    fn from(error: upstream::Error) -> Self {
        let refusal = ProxyError::new(error.status(), error.phase(), failure(&error));
        ProxyError { detail: Some(error.for_the_log()), ..refusal }
    }
}

impl From<request::Refusal> for ProxyError {
    fn from(refusal: request::Refusal) -> Self {
        let (status, code, message) = (refusal.status(), refusal.code(), refusal.to_string());
        match refusal {
            // What is wrong with a reference is for the operator's log, not for a client.
            request::Refusal::Credential(cause) => {
                tracing::error!(error = %cause, "cannot inject a credential");
                ProxyError::new(status, Phase::Request, Failure::new(Who::Tidegate, code, message))
            }
            refusal => {
                let error = ProxyError::client(status, code, message);
                if refusal.closes() { error.closing() } else { error }
            }
        }
    }
}

impl From<NoRoute> for ProxyError {
    fn from(none: NoRoute) -> Self {
        let message = none.to_string();
        match none {
            NoRoute::NotFound => ProxyError::client(StatusCode::NOT_FOUND, "no_route", message),
            NoRoute::BadPath => ProxyError::client(StatusCode::BAD_REQUEST, "bad_path", message).closing(),
            NoRoute::MethodNotAllowed(methods) => {
                let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                let mut error =
                    ProxyError::client(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
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
        let (status, code, message) = (refused.status(), refused.code(), refused.to_string());
        if let Refused::Unreadable(cause) = &refused {
            tracing::error!(error = %cause, "cannot check client keys");
            return ProxyError::new(status, Phase::Request, Failure::new(Who::Tidegate, code, message));
        }
        let mut error = ProxyError::client(status, code, message);
        error.headers.extend(refused.challenge().map(|challenge| (WWW_AUTHENTICATE, challenge)));
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_json_in_the_form_of_openai() {
        let response = ProxyError::from(NoRoute::NotFound).into_response();
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::NOT_FOUND, &"application/json".parse().unwrap())
        );
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["error"]["code"], "no_route");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        let refused =
            ProxyError::from(NoRoute::MethodNotAllowed(vec![Method::GET, Method::HEAD])).into_response();
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD");
        let unauthorized = ProxyError::from(Refused::NoKey).into_response();
        assert_eq!(
            (unauthorized.status(), unauthorized.headers().contains_key(WWW_AUTHENTICATE)),
            (StatusCode::UNAUTHORIZED, true)
        );
    }
}
