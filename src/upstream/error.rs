//! What can go wrong with an upstream, by name.

use std::io;
use std::time::Duration;

use http::StatusCode;

/// A failed exchange. The text says what happened, for logs and for the `message` of error bodies; it never
/// holds anything of the request or the response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name did not resolve.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No address of the upstream accepted a connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address tried, or the name where there were several.
        address: String,
        /// Why the last one failed.
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("TLS handshake with {name} failed")]
    Tls {
        /// The name that was asked for.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A named timeout ran out.
    #[error("timeout {name} ({after:?}) ran out", name = timeout.name())]
    Timeout {
        /// Which.
        timeout: Timeout,
        /// Its value.
        after: Duration,
    },
    /// The connection broke or was closed before the response head was complete.
    #[error("the upstream closed the connection before its response head")]
    ClosedBeforeHead {
        /// What the socket said, if it said anything.
        source: Option<io::Error>,
    },
    /// The connection broke or was closed inside the response body.
    #[error("the upstream closed the connection inside the response body")]
    Truncated {
        /// What the socket said; `None` for an end of file without an end of the body.
        source: Option<io::Error>,
    },
    /// The upstream does not speak HTTP as it should.
    #[error("malformed response: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// An HTTP/2 stream or connection error.
    #[error("HTTP/2 {what}")]
    Http2 {
        /// Which.
        what: String,
    },
    /// The request body could not be read from the client.
    #[error("the request body broke off")]
    RequestBody,
    /// The request body is larger than the route allows.
    #[error("the request body is larger than {limit} bytes")]
    RequestBodyTooLarge {
        /// The bound.
        limit: u64,
    },
}

/// The timeouts towards an upstream, in the order in which they can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// TCP or Unix connect, name resolution included.
    Connect,
    /// TLS handshake.
    TlsHandshake,
    /// The client sends nothing of its request body.
    RequestBodyIdle,
    /// Waiting for the response head.
    ResponseHead,
}

impl Timeout {
    /// The key in the config and the word in logs.
    pub fn name(self) -> &'static str {
        match self {
            Timeout::Connect => "connect",
            Timeout::TlsHandshake => "tls_handshake",
            Timeout::RequestBodyIdle => "request_body_idle",
            Timeout::ResponseHead => "response_head",
        }
    }
}

impl Error {
    /// The status that a client gets if nothing was promised yet.
    pub fn status(&self) -> StatusCode {
        match self {
            Error::Timeout { timeout: Timeout::RequestBodyIdle, .. } => StatusCode::REQUEST_TIMEOUT,
            Error::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Error::RequestBody => StatusCode::BAD_REQUEST,
            Error::RequestBodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}
