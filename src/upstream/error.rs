//! What can go wrong with an upstream, by name.

use std::io;
use std::time::Duration;

use crate::stream::{Cause, Phase};

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
    /// The request body is not framed as it says (RFC 9112 7.1, RFC 9113 8.1.1).
    #[error("the framing of the request body is malformed")]
    RequestBodyMalformed,
    /// The client sends its request body too slowly.
    #[error("the request body comes with less than {rate} bytes a second")]
    RequestBodyTooSlow {
        /// The bound, in bytes per second.
        rate: u64,
    },
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
    /// What a client is told: as the text of the error, but without names and addresses of upstreams.
    pub fn for_clients(&self) -> String {
        match self {
            Error::Resolve { .. } => "the name of the upstream does not resolve".to_owned(),
            Error::Connect { .. } => "the upstream does not accept connections".to_owned(),
            Error::Tls { .. } => "the TLS handshake with the upstream failed".to_owned(),
            other => other.to_string(),
        }
    }

    /// What the log is told: the text of the error and of its causes.
    pub fn for_the_log(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }

    /// What it is called towards clients and in the log: the client's fault if its request body is to blame, else
    /// the upstream's.
    pub fn cause(&self) -> Cause {
        match self {
            Error::Resolve { .. } => Cause::UpstreamResolveFailed,
            Error::Connect { .. } => Cause::UpstreamConnectFailed,
            Error::Tls { .. } => Cause::UpstreamTlsFailed,
            Error::Timeout { timeout, .. } => match timeout {
                Timeout::Connect => Cause::UpstreamTimeoutConnect,
                Timeout::TlsHandshake => Cause::UpstreamTimeoutTlsHandshake,
                Timeout::RequestBodyIdle => Cause::ClientTimeoutRequestBodyIdle,
                Timeout::ResponseHead => Cause::UpstreamTimeoutResponseHead,
            },
            Error::ClosedBeforeHead { .. } => Cause::UpstreamClosedBeforeHead,
            Error::Truncated { .. } => Cause::UpstreamTruncated,
            Error::Malformed { .. } => Cause::UpstreamMalformed,
            Error::Http2 { .. } => Cause::UpstreamHttp2Error,
            Error::RequestBody => Cause::ClientRequestBody,
            Error::RequestBodyMalformed => Cause::ClientMalformedBody,
            Error::RequestBodyTooSlow { .. } => Cause::ClientRequestBodyTooSlow,
            Error::RequestBodyTooLarge { .. } => Cause::ClientRequestBodyTooLarge,
        }
    }

    /// How far the exchange had come when [`Upstreams::send`](super::Upstreams::send) failed with this. What
    /// [`Body::poll_read`](super::Body::poll_read) fails with came after the head, whatever is said here.
    pub fn phase(&self) -> Phase {
        match self {
            Error::Resolve { .. } | Error::Connect { .. } | Error::Tls { .. } => Phase::Connect,
            Error::Timeout { timeout, .. } => match timeout {
                Timeout::Connect | Timeout::TlsHandshake => Phase::Connect,
                Timeout::RequestBodyIdle => Phase::Request,
                Timeout::ResponseHead => Phase::Head,
            },
            Error::ClosedBeforeHead { .. } | Error::Malformed { .. } | Error::Http2 { .. } => Phase::Head,
            Error::Truncated { .. } => Phase::Body,
            Error::RequestBody
            | Error::RequestBodyMalformed
            | Error::RequestBodyTooSlow { .. }
            | Error::RequestBodyTooLarge { .. } => Phase::Request,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_blames_whoever_was_waited_for() {
        let timeout = |timeout| Error::Timeout { timeout, after: Duration::from_secs(30) };
        assert_eq!(timeout(Timeout::RequestBodyIdle).cause(), Cause::ClientTimeoutRequestBodyIdle);
        let late = timeout(Timeout::ResponseHead);
        assert_eq!((late.cause(), late.phase()), (Cause::UpstreamTimeoutResponseHead, Phase::Head));
        assert_eq!(late.to_string(), "timeout response_head (30s) ran out");
    }

    #[test]
    fn name_of_a_timeout_is_in_its_word() {
        for timeout in
            [Timeout::Connect, Timeout::TlsHandshake, Timeout::RequestBodyIdle, Timeout::ResponseHead]
        {
            let cause = Error::Timeout { timeout, after: Duration::ZERO }.cause();
            assert_eq!(cause.what(), format!("timeout_{}", timeout.name()));
        }
    }

    #[test]
    fn address_and_cause_are_for_the_log_only() {
        let source = io::Error::other("connection refused");
        let error = Error::Connect { address: "10.0.0.7:8000".to_owned(), source };
        assert_eq!(error.for_the_log(), "cannot connect to 10.0.0.7:8000: connection refused");
        assert_eq!(error.for_clients(), "the upstream does not accept connections");
    }
}
