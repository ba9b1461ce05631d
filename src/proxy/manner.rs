//! In which manner a client is told that there is no response: by a status and an error body, or by a stream that consists
//! of an error (`stream.errors`), where it asked for a stream and loses every other answer.
//!
//! The second only for requests that want a stream and get events; so what the request body says about that must be known,
//! also where nobody has read it yet (a refused key, a refused connection): then a little of it is read here, within
//! [`READ_BYTES`] and [`READ_TIME`]. Called by [`super::handle`] for every refusal.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Method, Response, StatusCode, request, response};
use tokio::time::{Instant, timeout};

use super::chosen::Chosen;
use super::error::ProxyError;
use super::headers::RequestId;
use super::intent::Scanner;
use super::plan::Ask;
use super::response as heads;
use crate::bridge::SSE;
use crate::config::Errors;
use crate::dialect::Dialect;
use crate::profile::is_event_source;
use crate::relay::Body;
use crate::stream;
use crate::upstream::{RequestBody, Unread};

/// See the module.
#[derive(Clone)]
pub(super) struct Manner {
    /// The dialect that the route sets, or that the request hints at.
    dialect: Option<&'static Dialect>,
    in_band: Option<Rc<InBand>>,
}

/// What decides whether a client is told inside a stream.
struct InBand {
    chosen: Chosen,
    ask: Ask,
    /// What the request body says about streaming, if anything may be said there.
    scanner: Option<Rc<RefCell<Scanner>>>,
    /// The rest of the body, if nobody wants it any more.
    unread: Unread,
    /// A native `EventSource` asks again after the end of any stream.
    is_event_source: bool,
}

/// What a client is answered.
pub(super) struct Told {
    pub(super) response: Response<Body>,
    /// Of the body.
    pub(super) bytes: usize,
    /// The status that it reads in the stream.
    pub(super) status: Option<StatusCode>,
}

impl Manner {
    /// By a status, whatever it is that was asked for.
    pub(super) fn by_status(dialect: Option<&'static Dialect>) -> Self {
        Manner { dialect, in_band: None }
    }

    /// For a request that is no upgrade; `head` is the client's.
    pub(super) fn new(
        chosen: &Chosen,
        head: &request::Parts,
        ask: Ask,
        scanner: Option<Rc<RefCell<Scanner>>>,
    ) -> Self {
        let settings = chosen.stream();
        let is_event_source = is_event_source(&head.method, &head.headers);
        let is_meant = match settings.errors {
            Errors::Status => false,
            Errors::InBand => true,
            Errors::EventSource => is_event_source,
        };
        // A preflight is answered to the browser, not to the page.
        let in_band = (is_meant && head.method != Method::OPTIONS).then(|| {
            let (chosen, unread) = (chosen.clone(), Unread::default());
            Rc::new(InBand { chosen, ask, scanner, unread, is_event_source })
        });
        Manner { dialect: ask.dialect, in_band }
    }

    /// The request body, such that the rest of it is found here if nobody reads it to its end.
    pub(super) fn watch(&self, body: RequestBody) -> RequestBody {
        match &self.in_band {
            Some(in_band) if in_band.scanner.is_some() => body.kept(Rc::clone(&in_band.unread)),
            _ => body,
        }
    }

    /// Whether the client is told of errors inside a stream.
    ///
    /// # Cancel safety
    /// What was read of the request body is lost.
    pub(super) async fn is_in_band(&self) -> bool {
        let Some(in_band) = &self.in_band else { return false };
        in_band.read_body().await;
        in_band.wants_events()
    }

    /// How the client is told in a stream, if it is, by as much of the request body as has gone up. `head` is that of the
    /// upstream's response, if there is one. Of a stream of which nothing is known (`known_ai`) an `EventSource` asks again as
    /// soon as it does after any break: it may be one of notices, and the server may be restarted.
    pub(super) fn in_band(&self, head: Option<&response::Parts>, known_ai: bool) -> Option<stream::InBand> {
        let in_band = self.in_band.as_ref().filter(|in_band| in_band.wants_events())?;
        Some(stream::InBand { retry: in_band.retry(head).filter(|_| known_ai) })
    }

    /// The answer to a request that ends so. `head` is that of the upstream's response, if there is one; none of `secrets`
    /// is in the answer.
    ///
    /// # Cancel safety
    /// What was read of the request body is lost.
    pub(super) async fn tell(
        &self,
        error: ProxyError,
        head: Option<response::Parts>,
        id: &RequestId,
        secrets: &[Vec<u8>],
    ) -> Told {
        let is_in_band = self.is_in_band().await;
        let stream = self.in_band.as_ref().filter(|_| is_in_band);
        if let Some(units) = stream.and_then(|in_band| in_band.stream(&error, head.as_ref())) {
            let masked = |unit: Vec<u8>| heads::masked(&unit, secrets).unwrap_or(unit);
            let units: Vec<Bytes> = units.into_iter().map(masked).map(Bytes::from).collect();
            let (bytes, status) = (units.iter().map(Bytes::len).sum(), Some(error.status()));
            let mut head =
                head.map_or_else(|| heads::early(id), |head| heads::stream(head, &SSE, id, secrets));
            head.status = StatusCode::OK;
            head.headers.extend(error.into_headers());
            let response = Response::from_parts(head, Body::events(units));
            return Told { response, bytes, status };
        }
        let response = error.into_response(self.dialect, secrets);
        Told { bytes: response.body().len(), status: None, response: response.map(Body::full) }
    }
}

impl InBand {
    /// Reads on in the request body until it is known what it says about streaming.
    async fn read_body(&self) {
        let Some(scanner) = &self.scanner else { return };
        let Some(mut body) = self.unread.take() else { return };
        let read = async {
            let mut left = READ_BYTES;
            while scanner.borrow().verdict().is_none() && left > 0 {
                let Some(data) = body.data().await else { return };
                scanner.borrow_mut().push(&data[..data.len().min(left)]);
                left = left.saturating_sub(data.len());
            }
        };
        timeout(READ_TIME, read).await.ok();
    }

    fn wants_events(&self) -> bool {
        let says = self.scanner.as_ref().and_then(|scanner| scanner.borrow().verdict());
        self.ask.can_be_told_in_events(self.chosen.stream(), says)
    }

    /// Unit by unit; `None` where the dialect tells no errors in streams.
    fn stream(&self, error: &ProxyError, head: Option<&response::Parts>) -> Option<Vec<Vec<u8>>> {
        let failure = error.failure().clone().in_place_of(error.status());
        let shapes = self.chosen.stream().shapes.as_deref();
        stream::refusal(&failure, self.ask.dialect, shapes, self.retry(head), Instant::now().into_std())
    }

    /// After what time an `EventSource` is to ask again.
    fn retry(&self, head: Option<&response::Parts>) -> Option<Duration> {
        let wished = || head.and_then(|head| retry_after(&head.headers, SystemTime::now()));
        self.is_event_source.then(|| wished().unwrap_or(A_DAY))
    }
}

/// How long the upstream asks to wait, in seconds or until a date (RFC 9110 10.2.3, 5.6.7); a day at the most, and a second
/// at the least: a page must not ask again without end.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.clamp(A_SECOND, A_DAY))
}

/// The shortest time after which a page may ask again.
const A_SECOND: Duration = Duration::from_secs(1);

/// As good as never. `EventSource` has no word for "not again" in a stream, and a status, which it would obey, says nothing
/// to the page.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is read of a request body that nobody wants, to know whether it asks for a stream.
const READ_BYTES: usize = 64 << 10;

/// How long it is waited for.
const READ_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn upstream_asks_to_wait_for_seconds_or_until_a_date_within_bounds() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 13:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("7", Some(7)),
            ("0", Some(1)),
            ("999999", Some(86_400)),
            ("Sat, 21 Nov 2026 13:30:00 GMT", Some(1800)),
            ("Saturday, 21-Nov-26 13:30:00 GMT", Some(1800)),
            ("Sat Nov 21 13:30:00 2026", Some(1800)),
            ("Fri, 20 Nov 2026 13:30:00 GMT", Some(1)),
            ("Mon, 21 Dec 2026 13:30:00 GMT", Some(86_400)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
