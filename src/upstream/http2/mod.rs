//! One exchange over HTTP/2, on hyper's client: a stream of a shared connection.
//!
//! Unlike HTTP/1.1, the connection and the request body are driven by local tasks (hyper's): many exchanges
//! share them. The response body is still pulled by whoever reads it, and what is not read holds up its own
//! stream only.

mod body;
mod connection;
mod feed;
mod flood;

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, HeaderName, Request, Version, header, request};

use self::feed::{Feed, Shared};
use super::deadline::Deadline;
use super::error::{Error, Timeout};
use super::upload::Upload;
use super::{Failure, Response};
use crate::config::Upstream;

pub(super) use body::Body;
pub(super) use connection::{Connection, Lease};

/// Sends a request as a stream of the leased connection and waits for the final head.
///
/// # Errors
/// With the upload in the [`Failure`] if the upstream cannot have processed any of it (RFC 9113 8.7) and the
/// upload can be sent again.
///
/// # Cancel safety
/// Dropping the future resets the stream with CANCEL.
pub(super) async fn send(
    lease: Lease,
    upstream: &Upstream,
    head: &request::Parts,
    upload: Box<Upload>,
    head_timeout: Option<Duration>,
) -> Result<Response, Failure> {
    let connection = Rc::clone(lease.connection());
    let shared = Shared::new(upload);
    let mut request = Request::new(Feed::new(&shared, connection.spawner(), connection.meter()));
    translate(head, upstream, &mut request);

    let written = connection.written();
    let mut response = pin!(connection.sender().try_send_request(request));
    let mut deadline = Deadline::default();
    let result = poll_fn(|cx| {
        shared.watch(cx);
        if let Some(fault) = shared.take_fault() {
            return Poll::Ready(Err(fault.into()));
        }
        if let Poll::Ready(result) = response.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|error| Failed::Hyper(Box::new(error))));
        }
        poll_clock(&shared, &mut deadline, head_timeout, cx).map(|error| Err(error.into()))
    })
    .await;

    let mut failed = match result {
        Ok(response) => {
            shared.forget();
            let (mut parts, incoming) = response.into_parts();
            parts.extensions.clear();
            return Ok(Response {
                head: parts,
                body: super::Body::http2(Body::new(incoming, shared, lease)),
            });
        }
        Err(Failed::Ours(error)) => return Err(Failure::new(error, None)),
        Err(Failed::Hyper(failed)) => failed,
    };
    if let Some(fault) = shared.take_fault() {
        return Err(Failure::new(fault, None));
    }
    let upload = shared.take_upload();
    let unsent = failed.take_message().is_some() || connection.written() == written;
    let rejection = rejection(failed.error());
    drop(lease);
    match rejection {
        Some(Rejection::Stream) => connection.lower_limit(),
        Some(Rejection::Connection) => connection.retire(),
        None if unsent => connection.retire(),
        None => {}
    }
    let upload = upload.filter(|_| unsent || rejection.is_some());
    let error = translate_error(failed.error(), |source| Error::ClosedBeforeHead { source });
    Err(Failure::new(error, upload))
}

/// What ended the wait for a head.
enum Failed {
    Ours(Error),
    Hyper(Box<hyper::client::conn::TrySendError<Request<Feed>>>),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Ours(error)
    }
}

/// Bounds the wait for the head: time counts since the request body last moved, while it is the upstream's turn.
fn poll_clock(
    shared: &Shared,
    deadline: &mut Deadline,
    timeout: Option<Duration>,
    cx: &mut Context<'_>,
) -> Poll<Error> {
    let (Some(after), Some(since)) = (timeout, shared.upstreams_turn_since()) else { return Poll::Pending };
    deadline.poll(cx, since, after).map(|()| Error::Timeout { timeout: Timeout::ResponseHead, after })
}

/// RFC 9113 8.2.2 and 8.3.1: `Host` becomes `:authority`, nothing that concerns one connection is sent, and the
/// framing is HTTP/2's own.
fn translate(head: &request::Parts, upstream: &Upstream, request: &mut Request<Feed>) {
    let host = head.headers.get(header::HOST).map(|host| Authority::try_from(host.as_bytes()));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if upstream.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(host.and_then(Result::ok).unwrap_or_else(|| upstream.authority.clone()));
    uri.path_and_query = head.uri.path_and_query().cloned();
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    // All three parts are there, so it is a valid URI.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| head.uri.clone());
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = head.headers.clone();
    let headers = request.headers_mut();
    for name in CONNECTION_FIELDS {
        headers.remove(name);
    }
    keep_only_te_trailers(headers);
}

/// RFC 9113 8.2.2: `TE` may say `trailers` and nothing else.
fn keep_only_te_trailers(headers: &mut HeaderMap) {
    let mut codings = headers.get_all(header::TE).iter().flat_map(|te| te.as_bytes().split(|b| *b == b','));
    let trailers = codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
    }
}

/// What the upstream said about a request that it did not process (RFC 9113 8.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    /// REFUSED_STREAM: this stream only.
    Stream,
    /// GOAWAY with a lower last stream id. (That is the only way in which h2 fails a stream with a GOAWAY
    /// that it received: lower streams go on, or fail with the socket.)
    Connection,
}

fn rejection(error: &hyper::Error) -> Option<Rejection> {
    let error = h2_error(error).filter(|error| error.is_remote())?;
    if error.is_go_away() {
        Some(Rejection::Connection)
    } else {
        (error.reason() == Some(h2::Reason::REFUSED_STREAM)).then_some(Rejection::Stream)
    }
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes(error: &hyper::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn std::error::Error + 'static)| (*cause).source())
}

/// An error in our words. `closed` makes it when the connection just ended.
fn translate_error(error: &hyper::Error, closed: impl FnOnce(Option<io::Error>) -> Error) -> Error {
    if error.is_timeout() {
        return Error::Http2 { what: "connection: no answer to a ping".to_owned() };
    }
    let of_h2 = h2_error(error);
    // hyper takes the socket's error out of that of h2, but not always.
    let socket = of_h2.and_then(h2::Error::get_io).or_else(|| causes(error).find_map(|it| it.downcast_ref()));
    if let Some(socket) = socket {
        if socket.kind() == connection::FLOODED {
            let what = "connection ended: the upstream floods it with frames that carry nothing";
            return Error::Http2 { what: what.to_owned() };
        }
        return closed(Some(io::Error::new(socket.kind(), socket.to_string())));
    }
    let Some(error) = of_h2 else { return closed(None) };
    let (what, by) = match (error.is_go_away(), error.is_remote()) {
        (false, true) => ("stream reset", " by the upstream"),
        (false, false) => ("stream reset", ""),
        (true, true) => ("connection ended", " by the upstream"),
        (true, false) => ("connection ended", ""),
    };
    // The reason's name only: what else a GOAWAY carries is the upstream's text.
    let reason = error.reason().unwrap_or(h2::Reason::INTERNAL_ERROR);
    Error::Http2 { what: format!("{what}{by}: {reason:?}") }
}

/// What a request may carry over HTTP/1.1 but not over HTTP/2, `Host` and the framing included.
const CONNECTION_FIELDS: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

#[cfg(test)]
mod tests;
