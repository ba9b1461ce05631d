//! Every way in which a request can end, once: the words of the log and of error bodies, the status, and what
//! the manual says about it.
//!
//! A failure that is not here cannot be told: [`Failure`](super::Failure) and [`Outcome`](super::Outcome) are made
//! of a [`Cause`]. `docs/errors.md` is generated from [`Cause::ALL`] (see [`crate::manual::errors`]), so the doc
//! comment of a variant is what the manual says: when it happens.

use std::fmt;

use http::StatusCode;

use super::Who;

/// What a client is answered if a request ends so before a head was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An error body with this status.
    Status(StatusCode),
    /// An error body with the status of the upstream's response.
    StatusOfUpstream,
    /// While the head is held back, an error body with the status that the upstream's error names, else 502; nothing of
    /// tidegate's after that.
    StatusOfError,
    /// No error body of tidegate's.
    Nothing,
}

/// A cause in words.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Who is at fault.
    pub who: Who,
    /// One snake_case word: `truncated`.
    pub what: &'static str,
    /// What the client is answered.
    pub answer: Answer,
    /// When it happens; a sentence or two.
    pub when: &'static str,
    /// What to do about it; a sentence or two.
    pub remedy: &'static str,
}

/// The table: variant, who, the word, the answer, the remedy; the doc comment is when it happens.
macro_rules! causes {
    ($($(#[doc = $when:literal])+ $variant:ident: $who:ident $what:literal, $answer:expr, $remedy:literal;)+) => {
        /// Why a request ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Cause {
            $($(#[doc = $when])+ $variant,)+
        }

        impl Cause {
            /// Every cause, in the order of a request, by who is at fault.
            pub const ALL: &[Cause] = &[$(Cause::$variant),+];

            /// The row of the table.
            pub fn about(self) -> About {
                match self {
                    $(Cause::$variant => About {
                        who: Who::$who,
                        what: $what,
                        answer: $answer,
                        when: concat!($($when),+).trim_ascii(),
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

const fn status(status: StatusCode) -> Answer {
    Answer::Status(status)
}

use Answer::{Nothing, StatusOfError, StatusOfUpstream};

causes! {
    /// All that the upstream said was relayed.
    Done: Nobody "done", Nothing, "Nothing.";

    /// The request head is not HTTP, or larger than `limits.max_head_bytes` or `limits.max_headers` allow. The client
    /// gets 400, 414 or 431 without a body.
    ClientMalformed: Client "malformed", Nothing, "Look at what the client sends; raise the limit if its headers are meant.";
    /// The head of a request did not come within `timeouts.request_head`. The connection is closed; a client of HTTP/1.1
    /// that has sent a part of the head gets 408 without a body first.
    ClientTimeoutRequestHead: Client "timeout_request_head", Nothing, "Nothing, if it was a scanner; else look at the client's network.";
    /// CONNECT or TRACE.
    ClientMethodNotImplemented: Client "method_not_implemented", status(StatusCode::NOT_IMPLEMENTED), "Use another method; tidegate is no tunnel.";
    /// `Host` is missing, given twice, not valid, or not that of the request target.
    ClientBadHost: Client "bad_host", status(StatusCode::BAD_REQUEST), "Send one valid `Host`.";
    /// The head has more than `limits.max_headers` fields.
    ClientTooManyHeaders: Client "too_many_headers", status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), "Send fewer; raise the limit if its headers are meant.";
    /// The value of a field has a control character in it.
    ClientBadFieldValue: Client "bad_field_value", status(StatusCode::BAD_REQUEST), "Send printable text.";
    /// `Transfer-Encoding` is not `chunked`.
    ClientBadTransferCoding: Client "bad_transfer_coding", status(StatusCode::BAD_REQUEST), "Send the body chunked, or with `Content-Length`.";
    /// The path has dot segments, backslashes, control characters or a stray `%`, or is no path once it is rewritten.
    ClientBadPath: Client "bad_path", status(StatusCode::BAD_REQUEST), "Send a plain path.";
    /// The query parameter of `stream.bridge_query` names no bridge, or comes more than once.
    ClientBadBridge: Client "bad_bridge", status(StatusCode::BAD_REQUEST), "Send one of the bridges that `tidegate formats` lists.";
    /// An HTTP/2 client opened more streams at a time than it was told it may. Nothing of the request was looked at.
    ClientTooManyStreams: Client "too_many_streams", Nothing, "Let the client obey SETTINGS_MAX_CONCURRENT_STREAMS; it may send the request again.";
    /// A WebSocket over HTTP/2 (RFC 8441) for an upstream with `http = "2"`, to which no WebSocket can go.
    ClientNoWebSocket: Client "no_websocket", status(StatusCode::NOT_IMPLEMENTED), "Set `upstream.NAME.http` to \"auto\" or \"1.1\".";
    /// No route has this host and path.
    ClientNoRoute: Client "no_route", status(StatusCode::NOT_FOUND), "Add a `[[route]]`, or correct the URL; `tidegate check` prints the routes in the order in which they are tried.";
    /// Routes have this host and path, but not this method. `Allow` names those that they have.
    ClientMethodNotAllowed: Client "method_not_allowed", status(StatusCode::METHOD_NOT_ALLOWED), "Use one of them, or change `route.methods`.";
    /// `Tidegate-Profile` names a profile that does not exist.
    ClientUnknownProfile: Client "unknown_profile", status(StatusCode::BAD_REQUEST), "Send one of the names in the answer, or none.";
    /// The route has a `client_key`, and the request shows no key.
    ClientMissingApiKey: Client "missing_api_key", status(StatusCode::UNAUTHORIZED), "Send `Authorization: Bearer KEY` or `x-api-key: KEY`.";
    /// None of the keys in the request is the route's `client_key`.
    ClientInvalidApiKey: Client "invalid_api_key", status(StatusCode::UNAUTHORIZED), "Give the client the right key.";
    /// The request passed this tidegate before: an upstream leads back here.
    ClientLoopDetected: Client "loop_detected", status(StatusCode::LOOP_DETECTED), "Look where `upstream.NAME.url` really leads.";
    /// The client sent nothing of its request body for `timeouts.request_body_idle`.
    ClientTimeoutRequestBodyIdle: Client "timeout_request_body_idle", status(StatusCode::REQUEST_TIMEOUT), "Look at the client's network; raise the timeout for slow uploads.";
    /// The request body is larger than `route.max_request_body`.
    ClientRequestBodyTooLarge: Client "request_body_too_large", status(StatusCode::PAYLOAD_TOO_LARGE), "Send less, or raise the limit of the route.";
    /// The client sends its request body with less than `limits.min_body_rate`.
    ClientRequestBodyTooSlow: Client "request_body_too_slow", status(StatusCode::REQUEST_TIMEOUT), "Look at the client's network; lower the rate for slow uploads.";
    /// The request body is not framed as HTTP wants it.
    ClientMalformedBody: Client "malformed_body", status(StatusCode::BAD_REQUEST), "Look at the client; nothing of the request is sent twice.";
    /// The request body broke off.
    ClientRequestBody: Client "request_body", status(StatusCode::BAD_REQUEST), "Look at the client; nothing of the request is sent twice.";
    /// The client closed its connection or its stream; one that ends only its half, with nothing more to send, counts as gone, too. The upstream is left at once.
    ClientGone: Client "gone", Nothing, "Nothing, if the user stopped it; else look for a timeout in the client or in a proxy before tidegate.";
    /// The client took nothing of what was ready for it for `timeouts.client_write_stall`.
    ClientStalled: Client "stalled", Nothing, "Look at the client: it holds the connection and does not read.";
    /// The client sent more than 64 KiB ahead of the answer to its first request.
    ClientFlooded: Client "flooded", Nothing, "Let the client wait for answers, or use HTTP/2.";
    /// An HTTP/2 connection without a stream was given up after `timeouts.request_head`, and did not close.
    ClientIdle: Client "idle", Nothing, "Nothing.";

    /// The name in `upstream.NAME.url` does not resolve.
    UpstreamResolveFailed: Upstream "resolve_failed", status(StatusCode::BAD_GATEWAY), "Check the name, and the resolver of this machine.";
    /// No address of the upstream accepts a connection.
    UpstreamConnectFailed: Upstream "connect_failed", status(StatusCode::BAD_GATEWAY), "Is the server running, and on this port? The log has the address and the reason.";
    /// The TLS handshake failed: an unknown authority, another name in the certificate, no common version.
    UpstreamTlsFailed: Upstream "tls_failed", status(StatusCode::BAD_GATEWAY), "The log has the reason; a private authority goes into `upstream.NAME.ca`.";
    /// Connecting took longer than `upstream.NAME.connect_timeout`.
    UpstreamTimeoutConnect: Upstream "timeout_connect", status(StatusCode::GATEWAY_TIMEOUT), "Look for a firewall that drops packets.";
    /// The TLS handshake took longer than `upstream.NAME.tls_handshake_timeout`.
    UpstreamTimeoutTlsHandshake: Upstream "timeout_tls_handshake", status(StatusCode::GATEWAY_TIMEOUT), "Does the server speak TLS on this port?";
    /// No response head came within `timeouts.response_head`.
    UpstreamTimeoutResponseHead: Upstream "timeout_response_head", status(StatusCode::GATEWAY_TIMEOUT), "Look at the load of the server; raise the timeout for models that think long before their first word.";
    /// The upstream closed the connection before its response head was complete.
    UpstreamClosedBeforeHead: Upstream "closed_before_head", status(StatusCode::BAD_GATEWAY), "Look at the server's log: it crashed, or refuses without a word.";
    /// The response is not HTTP, its body does not decode as its `Content-Encoding` says, or its stream breaks the rules
    /// of its format.
    UpstreamMalformed: Upstream "malformed", status(StatusCode::BAD_GATEWAY), "Does the port speak HTTP? Does the URL say `http` where it should say `https`? Is `stream.format` what the server sends?";
    /// An error of the HTTP/2 connection or stream.
    UpstreamHttp2Error: Upstream "http2_error", status(StatusCode::BAD_GATEWAY), "The log has the reason; `upstream.NAME.http = \"1.1\"` avoids HTTP/2.";
    /// The upstream answered 4xx or 5xx. Status, headers and body went to the client as they were; where its stream was
    /// open already (`stream.early_head`), or it is told of errors in one (`stream.errors`), the upstream's words went into
    /// an error event.
    UpstreamStatus: Upstream "status", Nothing, "Read what it answered: the words are the upstream's.";
    /// The upstream answered 401 or 403 to the credential that the route injects.
    UpstreamAuth: Upstream "auth", status(StatusCode::BAD_GATEWAY), "Check the secret in `route.inject`: it is not the client's fault.";
    /// The upstream answered 4xx or 5xx to an injected credential, with a compressed body that cannot be searched for it.
    UpstreamEncodedError: Upstream "encoded_error", StatusOfUpstream, "Switch compression of error bodies off at the upstream.";
    /// The upstream answered a stream request with an HTML page. Of raw text (`stream.format`) a page may be the answer.
    UpstreamHtml: Upstream "html", status(StatusCode::BAD_GATEWAY), "A login page, or a wrong path: open the upstream's URL in a browser.";
    /// The upstream answered a stream request with an empty body, or with no event.
    UpstreamEmpty: Upstream "empty", status(StatusCode::BAD_GATEWAY), "Look at the server's log.";
    /// No event came within `timeouts.first_event` after the response head.
    UpstreamTimeoutFirstEvent: Upstream "timeout_first_event", status(StatusCode::GATEWAY_TIMEOUT), "Look at the load of the server; raise the timeout for models that think long.";
    /// No content came within `timeouts.first_content` after the response head: pings, roles and empty deltas only.
    UpstreamTimeoutFirstContent: Upstream "timeout_first_content", status(StatusCode::GATEWAY_TIMEOUT), "Look at the load of the server; raise the timeout for models that think long in silence.";
    /// The upstream sent nothing for `timeouts.event_gap` inside a body.
    UpstreamTimeoutEventGap: Upstream "timeout_event_gap", status(StatusCode::GATEWAY_TIMEOUT), "Look at the server; raise the timeout for models that pause long.";
    /// The stream told an error itself, in its own dialect, and ended; or an answer with status 200 was an error in JSON, or
    /// in the plain words of a proxy or a server.
    /// The client got all of it: as an event, or while the head was held back (`stream.commit`) as an error body.
    UpstreamError: Upstream "error", StatusOfError, "Read what the client got: the words are the upstream's.";
    /// The body broke off, or the stream ended before the answer was finished; of several answers in one stream (`n`), all
    /// of them.
    UpstreamTruncated: Upstream "truncated", status(StatusCode::BAD_GATEWAY), "Look at the server's log, and at proxies between it and tidegate.";
    /// The upstream reset the connection of a tunnel.
    UpstreamReset: Upstream "reset", Nothing, "Look at the server's log.";
    /// One event is larger than `stream.max_event_bytes`.
    UpstreamEventTooLarge: Upstream "event_too_large", status(StatusCode::BAD_GATEWAY), "Raise the limit if such events are meant.";
    /// A coded body says that it needs a larger window than tidegate gives it (8 MiB for zstd, 16 MiB for brotli).
    UpstreamCodingWindow: Upstream "coding_window", status(StatusCode::BAD_GATEWAY), "Switch compression of streams off at the upstream, or choose a lower level.";
    /// A coded body blows up to more than any honest stream does: a decompression bomb.
    UpstreamCodingRatio: Upstream "coding_ratio", status(StatusCode::BAD_GATEWAY), "Do not trust this upstream.";

    /// The route's `client_key` cannot be read, so nobody is let in.
    TidegateClientKeyUnavailable: Tidegate "client_key_unavailable", status(StatusCode::SERVICE_UNAVAILABLE), "The log says why: an empty or missing file, mostly.";
    /// A secret of `route.inject` cannot be read.
    TidegateCredentialUnavailable: Tidegate "credential_unavailable", status(StatusCode::BAD_GATEWAY), "The log says why: an empty or missing file, mostly.";
    /// The request took longer than `timeouts.total`.
    TidegateTimeoutTotal: Tidegate "timeout_total", status(StatusCode::GATEWAY_TIMEOUT), "Raise the timeout for long answers, or ask for shorter ones.";
    /// Nothing went through a tunnel, either way, for `timeouts.tunnel_idle`.
    TidegateTimeoutTunnelIdle: Tidegate "timeout_tunnel_idle", Nothing, "Let the client or the server send pings, or raise the timeout.";
    /// A tunnel was open for `timeouts.tunnel_total`.
    TidegateTimeoutTunnelTotal: Tidegate "timeout_tunnel_total", Nothing, "Raise the timeout for long sessions.";
    /// The unfinished events of all streams together exceed `limits.max_carry_total`.
    TidegateCarryExhausted: Tidegate "carry_exhausted", status(StatusCode::SERVICE_UNAVAILABLE), "Find the upstream that sends huge events; raise the limit if there is memory.";
    /// tidegate was stopped, and `timeouts.drain` ran out, or a second signal came.
    TidegateDrain: Tidegate "drain", status(StatusCode::SERVICE_UNAVAILABLE), "Ask again; raise the timeout if restarts cut answers short.";
    /// A bug in tidegate. The request is lost, the process goes on.
    TidegatePanic: Tidegate "panic", Nothing, "Please report it, with the log line that says where.";
}

impl Cause {
    /// Who is at fault.
    pub fn who(self) -> Who {
        self.about().who
    }

    /// What happened, in one snake_case word.
    pub fn what(self) -> &'static str {
        self.about().what
    }

    /// The `code` of error bodies and error events, such as `upstream_truncated`; what the client did wrong has no
    /// prefix (`invalid_api_key`), as it has none in other servers' answers.
    pub fn code(self) -> String {
        let About { who, what, .. } = self.about();
        match who {
            Who::Upstream => format!("upstream_{what}"),
            Who::Client => what.to_owned(),
            Who::Tidegate | Who::Nobody => format!("tidegate_{what}"),
        }
    }

    /// The status, where no head was promised to the client yet and the cause has one of its own.
    pub fn status(self) -> StatusCode {
        match self.about().answer {
            Answer::Status(status) => status,
            Answer::StatusOfUpstream | Answer::StatusOfError | Answer::Nothing => StatusCode::BAD_GATEWAY,
        }
    }
}

/// The word for the log: `who:what`, such as `upstream:truncated`, or `done`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About { who, what, .. } = self.about();
        match who {
            Who::Nobody => f.write_str(what),
            Who::Client => write!(f, "client:{what}"),
            Who::Upstream => write!(f, "upstream:{what}"),
            Who::Tidegate => write!(f, "tidegate:{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_has_a_word_of_its_own_and_is_explained_in_sentences() {
        for (index, cause) in Cause::ALL.iter().enumerate() {
            let about = cause.about();
            assert!(
                !Cause::ALL[..index].iter().any(|other| other.to_string() == cause.to_string()),
                "{cause:?}"
            );
            assert!(
                about.what.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'2'),
                "{cause:?}"
            );
            assert!(about.when.ends_with('.') && !about.when.contains("  "), "{cause:?}: {}", about.when);
            assert!(about.remedy.ends_with(['.', '?']), "{cause:?}: {}", about.remedy);
        }
        assert!(Cause::ALL.len() > 40, "{}", Cause::ALL.len());
    }

    #[test]
    fn status_tells_whose_fault_it_is_and_a_timeout_is_504() {
        for cause in Cause::ALL {
            let About { who, what, answer, .. } = cause.about();
            let Answer::Status(status) = answer else { continue };
            match (who, what.starts_with("timeout_")) {
                (Who::Client, true) => assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{cause:?}"),
                // RFC 9110 15.6.2 and RFC 5842 7.2: two of the 5xx are about what the client asked for.
                (Who::Client, false) => {
                    assert!(status.is_client_error() || [501, 508].contains(&status.as_u16()), "{cause:?}");
                }
                (_, true) => assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{cause:?}"),
                (_, false) => assert!(status.is_server_error(), "{cause:?}"),
            }
        }
    }

    #[test]
    fn words_of_a_cause_name_who_did_it() {
        assert_eq!(Cause::UpstreamTruncated.to_string(), "upstream:truncated");
        assert_eq!(Cause::UpstreamTruncated.code(), "upstream_truncated");
        assert_eq!(Cause::ClientInvalidApiKey.to_string(), "client:invalid_api_key");
        assert_eq!(Cause::ClientInvalidApiKey.code(), "invalid_api_key");
        assert_eq!(Cause::TidegateDrain.code(), "tidegate_drain");
        assert_eq!(Cause::Done.to_string(), "done");
    }
}
