//! A request body on its way up.
//!
//! Pulled by the side that writes to the upstream, never ahead of it, so a slow upstream slows the client.
//! Its trailers go up where the connection has a place for them: in HTTP/2, and behind chunks in HTTP/1.1.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::error::{Error, Timeout};

/// The request body: the client's, streamed as it arrives, never held whole.
///
/// Watched on the way: every data frame is shown to the tap before it leaves; more than `max_bytes` is
/// [`super::Error::RequestBodyTooLarge`]; silence of the client longer than `idle` is
/// [`super::Timeout::RequestBodyIdle`]; less than [`Upload::at_least`] is [`super::Error::RequestBodyTooSlow`].
pub struct Upload {
    source: Source,
    tap: Option<Tap>,
    /// Called once, at the end of the client's body.
    ended: Option<Box<dyn FnOnce()>>,
    /// What of a trailer section may go up.
    trailer_filter: fn(HeaderMap) -> HeaderMap,
    trailers: Option<HeaderMap>,
    max_bytes: u64,
    idle: Option<Duration>,
    /// The size of the whole body, if it is known before it is read.
    size: Option<u64>,
    received: u64,
    /// Bytes per second that the client must come to on average; 0 is no bound.
    min_rate: u64,
    /// How long the client was waited for, all waits that are over together.
    waited: Duration,
    /// Since when the client is waited for; `None` while it is not.
    waiting_since: Option<Instant>,
    deadline: Deadline,
    replay: Replay,
}

/// A request body as hyper gives it, and who gets it if it is dropped before its end.
pub struct RequestBody {
    /// `None` only while it is dropped.
    incoming: Option<Incoming>,
    leave: Option<Box<dyn FnOnce(Incoming)>>,
    kept: Option<Unread>,
}

/// Where the rest of a request body is found that nobody has read to its end.
pub type Unread = Rc<RefCell<Option<RequestBody>>>;

/// Sees every data frame on its way up.
pub type Tap = Box<dyn FnMut(&[u8])>;

/// Where the bytes come from.
enum Source {
    Client(RequestBody),
    Done,
    /// It broke off: it is not over, and never will be.
    Broken,
    #[cfg(test)]
    Script(tests::Script),
}

/// What was already handed out, kept as long as it may have to be sent again.
///
/// Invariant: while `keeping`, `frames` is all that was ever handed out, and the first `next` of them were handed
/// out in this attempt. Once not `keeping`, `frames` is what this attempt has still to send again.
struct Replay {
    keeping: bool,
    frames: Vec<Bytes>,
    bytes: usize,
    next: usize,
}

impl RequestBody {
    /// `leave` is called with what is left of it when it is dropped before its end.
    pub fn new(incoming: Incoming, leave: Option<Box<dyn FnOnce(Incoming)>>) -> Self {
        RequestBody { incoming: Some(incoming), leave, kept: None }
    }

    /// When it is dropped before its end, the rest goes there first.
    #[must_use]
    pub fn kept(self, unread: Unread) -> Self {
        let mut body = self;
        body.kept = Some(unread);
        body
    }

    /// The next bytes; `None` at the end, or where it breaks off.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn data(&mut self) -> Option<Bytes> {
        loop {
            let frame = std::future::poll_fn(|cx| self.poll_frame(cx)).await?.ok()?;
            if let Ok(data) = frame.into_data() {
                return Some(data);
            }
        }
    }

    /// Whether it is known that nothing follows. `false` promises nothing.
    pub fn is_end(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.is_end() {
            return;
        }
        let (incoming, leave) = (self.incoming.take(), self.leave.take());
        if let Some(unread) = self.kept.take() {
            *unread.borrow_mut() = Some(RequestBody { incoming, leave, kept: None });
        } else if let (Some(incoming), Some(leave)) = (incoming, leave) {
            leave(incoming);
        }
    }
}

impl Upload {
    /// A body that comes from the client. A declared size is checked against `max_bytes` before anything is
    /// sent, an undeclared one as it arrives. In a box, since it is handed on and on.
    pub fn new(body: RequestBody, max_bytes: u64, idle: Option<Duration>) -> Box<Self> {
        let size = body.incoming.as_ref().and_then(|incoming| incoming.size_hint().exact());
        let source = if body.is_end() { Source::Done } else { Source::Client(body) };
        Self::from_source(source, size, max_bytes, idle)
    }

    /// No body at all.
    pub fn empty() -> Box<Self> {
        Self::from_source(Source::Done, Some(0), u64::MAX, None)
    }

    /// Shows every data frame to `tap` on its way up, once, also if it is sent again.
    #[must_use]
    pub fn tapped(mut self: Box<Self>, tap: Tap) -> Box<Self> {
        self.tap = Some(tap);
        self
    }

    /// Calls `ended` when the client's body has been read to its end; never if it breaks off or is dropped before.
    #[must_use]
    pub fn when_ended(mut self: Box<Self>, ended: Box<dyn FnOnce()>) -> Box<Self> {
        self.ended = Some(ended);
        self
    }

    /// Asks the client for `rate` bytes per second. What counts is the time that the client was waited for, never that
    /// which the upstream takes; and it may be `idle` behind, so that a pause is as long as it may be anyway. Without
    /// `idle` there is no bound: who allows endless pauses allows slow bodies.
    ///
    /// Without this, a byte every now and then would hold a connection of the upstream for as long as the body may be
    /// large: the silence never gets long enough.
    #[must_use]
    pub fn at_least(mut self: Box<Self>, rate: u64) -> Box<Self> {
        self.min_rate = rate;
        self
    }

    /// Sends trailers up, as far as `filter` lets them; without it they are dropped (RFC 9110 6.5.1 allows that).
    #[must_use]
    pub fn with_trailers(mut self: Box<Self>, filter: fn(HeaderMap) -> HeaderMap) -> Box<Self> {
        self.trailer_filter = filter;
        self
    }

    fn from_source(source: Source, size: Option<u64>, max_bytes: u64, idle: Option<Duration>) -> Box<Self> {
        let replay = Replay { keeping: true, frames: Vec::new(), bytes: 0, next: 0 };
        let deadline = Deadline::default();
        Box::new(Upload {
            source,
            tap: None,
            ended: None,
            trailer_filter: |_| HeaderMap::new(),
            trailers: None,
            max_bytes,
            idle,
            size,
            received: 0,
            min_rate: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            deadline,
            replay,
        })
    }

    /// Refuses a body that says itself that it is too large.
    pub(super) fn check_size(&self) -> Result<(), Error> {
        match self.size {
            Some(size) if size > self.max_bytes => Err(Error::RequestBodyTooLarge { limit: self.max_bytes }),
            _ => Ok(()),
        }
    }

    /// The size of the whole body, if it is known before it is read.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Whether it is known that nothing follows. `false` promises nothing.
    pub(super) fn is_end(&self) -> bool {
        self.replay.next == self.replay.frames.len()
            && match &self.source {
                Source::Client(body) => body.is_end(),
                Source::Done => true,
                Source::Broken => false,
                #[cfg(test)]
                Source::Script(script) => script.is_end(),
            }
    }

    /// The trailer section, once [`Upload::poll_data`] has found the end; never empty.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Whether the last [`Upload::poll_data`] had to wait for the client.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// The next bytes, never empty; `None` at the end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(frame) = self.replay.again() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.poll_source(cx) {
            Poll::Ready(item) => {
                self.waited += self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
                Poll::Ready(item.map(|frame| frame.and_then(|frame| self.admit(frame))))
            }
            Poll::Pending => {
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                let Some(idle) = self.idle else { return Poll::Pending };
                let (after, error) = match self.patience(idle) {
                    Some(left) if left < idle => (left, Error::RequestBodyTooSlow { rate: self.min_rate }),
                    _ => (idle, Error::Timeout { timeout: Timeout::RequestBodyIdle, after: idle }),
                };
                ready!(self.deadline.poll(cx, since, after));
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    /// How much longer the client may be waited for if it sends nothing more; `None` if that has no bound.
    fn patience(&self, idle: Duration) -> Option<Duration> {
        let earned = Duration::from_secs(self.received.checked_div(self.min_rate)?);
        Some(idle.saturating_add(earned).saturating_sub(self.waited))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let frame = match &mut self.source {
                Source::Client(body) => match ready!(body.poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => {
                            let trailers = frame.into_trailers().ok().map(self.trailer_filter);
                            self.trailers = trailers.filter(|trailers| !trailers.is_empty());
                            continue;
                        }
                    },
                    Some(Err(error)) => {
                        // hyper would call it ended if it were asked again.
                        self.source = Source::Broken;
                        return Poll::Ready(Some(Err(broken(&error))));
                    }
                    None => {
                        self.source = Source::Done;
                        self.note_end();
                        return Poll::Ready(None);
                    }
                },
                Source::Broken => return Poll::Ready(Some(Err(Error::RequestBody))),
                Source::Done => return Poll::Ready(None),
                #[cfg(test)]
                Source::Script(script) => match ready!(script.poll(cx)) {
                    Some(frame) => frame?,
                    None => return Poll::Ready(None),
                },
            };
            if !frame.is_empty() {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    /// Counts a new frame, shows it to the tap, and keeps it if it may be needed again.
    fn admit(&mut self, frame: Bytes) -> Result<Bytes, Error> {
        self.received = self.received.saturating_add(frame.len() as u64);
        if self.received > self.max_bytes {
            return Err(Error::RequestBodyTooLarge { limit: self.max_bytes });
        }
        if let Some(tap) = &mut self.tap {
            tap(&frame);
        }
        self.replay.keep(&frame);
        if matches!(&self.source, Source::Client(body) if body.is_end()) {
            self.note_end();
        }
        Ok(frame)
    }

    fn note_end(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended();
        }
    }

    /// Goes back to the beginning, to send it all again. `false`: what was handed out is no longer there.
    #[must_use]
    pub(super) fn rewind(&mut self) -> bool {
        self.replay.next = 0;
        self.replay.keeping || self.received == 0
    }

    /// Promises that [`Upload::rewind`] will not be asked for any more, and frees what was kept for it.
    pub(super) fn forget(&mut self) {
        self.replay.forget();
    }
}

/// Whether the client sent nonsense, or nothing more.
fn broken(error: &hyper::Error) -> Error {
    let causes = || std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let by_framing = causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| {
        // hyper's decoder of chunks says no more than this.
        matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
    });
    let by_length = causes()
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|cause| !cause.is_remote() && cause.reason() == Some(h2::Reason::PROTOCOL_ERROR));
    if by_framing || by_length { Error::RequestBodyMalformed } else { Error::RequestBody }
}

impl Replay {
    /// The next frame that was handed out before, if this attempt has not reached the first new one.
    fn again(&mut self) -> Option<Bytes> {
        if !self.keeping {
            return (!self.frames.is_empty()).then(|| self.frames.remove(0));
        }
        let frame = self.frames.get(self.next)?;
        self.next += 1;
        Some(frame.clone())
    }

    fn keep(&mut self, frame: &Bytes) {
        if !self.keeping {
            return;
        }
        self.bytes += frame.len();
        if self.bytes > MAX_REPLAY {
            self.forget();
        } else {
            self.frames.push(frame.clone());
            self.next = self.frames.len();
        }
    }

    /// Keeps only what this attempt has still to send again.
    fn forget(&mut self) {
        self.keeping = false;
        self.frames = self.frames.split_off(self.next);
        self.next = 0;
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Bytes of a request body that are kept to be sent again until it is clear that they need not be. Enough for
/// the prompt of most requests; more per waiting request would be felt.
const MAX_REPLAY: usize = 64 << 10;

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Waker;

    use super::*;

    /// A request body that a test writes piece by piece.
    #[derive(Clone, Default)]
    pub(in crate::upstream) struct Script(Rc<RefCell<Pieces>>);

    #[derive(Default)]
    struct Pieces {
        queue: VecDeque<Option<Result<Bytes, ()>>>,
        ended: bool,
        waker: Option<Waker>,
    }

    impl Script {
        pub(in crate::upstream) fn send(&self, bytes: impl Into<Bytes>) {
            self.push(Some(Ok(bytes.into())));
        }

        pub(in crate::upstream) fn fail(&self) {
            self.push(Some(Err(())));
        }

        pub(in crate::upstream) fn end(&self) {
            self.push(None);
        }

        fn push(&self, piece: Option<Result<Bytes, ()>>) {
            let mut pieces = self.0.borrow_mut();
            pieces.queue.push_back(piece);
            if let Some(waker) = pieces.waker.take() {
                waker.wake();
            }
        }

        pub(super) fn is_end(&self) -> bool {
            self.0.borrow().ended
        }

        pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
            let mut pieces = self.0.borrow_mut();
            if pieces.ended {
                return Poll::Ready(None);
            }
            match pieces.queue.pop_front() {
                Some(Some(piece)) => Poll::Ready(Some(piece.map_err(|()| Error::RequestBody))),
                Some(None) => {
                    pieces.ended = true;
                    Poll::Ready(None)
                }
                None => {
                    pieces.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }
    }

    /// A body whose pieces come from the returned script; `size` is what it declares.
    pub(in crate::upstream) fn scripted(size: Option<u64>) -> (Box<Upload>, Script) {
        scripted_with(size, u64::MAX, None)
    }

    pub(in crate::upstream) fn scripted_with(
        size: Option<u64>,
        max_bytes: u64,
        idle: Option<Duration>,
    ) -> (Box<Upload>, Script) {
        let script = Script::default();
        (Upload::from_source(Source::Script(script.clone()), size, max_bytes, idle), script)
    }

    /// A body of a declared size that is all there.
    pub(in crate::upstream) fn full(bytes: &'static [u8]) -> Box<Upload> {
        let (upload, script) = scripted(Some(bytes.len() as u64));
        script.send(bytes);
        script.end();
        upload
    }

    async fn next(upload: &mut Upload) -> Option<Result<Bytes, Error>> {
        poll_fn(|cx| upload.poll_data(cx)).await
    }

    #[tokio::test]
    async fn upload_is_refused_before_it_is_read_when_it_declares_too_much() {
        let (upload, _script) = scripted_with(Some(11), 10, None);
        assert!(matches!(upload.check_size(), Err(Error::RequestBodyTooLarge { limit: 10 })));
        let (upload, _script) = scripted_with(Some(10), 10, None);
        assert!(upload.check_size().is_ok());
    }

    #[tokio::test]
    async fn upload_ends_with_an_error_when_it_grows_too_large() {
        let (mut upload, script) = scripted_with(None, 10, None);
        script.send("0123456789");
        script.send("x");
        assert_eq!(next(&mut upload).await.unwrap().unwrap(), "0123456789");
        assert!(matches!(next(&mut upload).await, Some(Err(Error::RequestBodyTooLarge { limit: 10 }))));
    }

    #[tokio::test]
    async fn upload_is_the_same_again_after_rewind_and_tapped_once() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (upload, script) = scripted(None);
        let tap = Rc::clone(&seen);
        let mut upload = upload.tapped(Box::new(move |bytes| tap.borrow_mut().extend_from_slice(bytes)));
        script.send("one ");
        script.send("");
        script.send("two ");
        assert_eq!(next(&mut upload).await.unwrap().unwrap(), "one ");
        assert_eq!(next(&mut upload).await.unwrap().unwrap(), "two ");
        assert!(upload.rewind());
        script.send("three");
        script.end();
        let mut again = Vec::new();
        while let Some(frame) = next(&mut upload).await {
            again.extend_from_slice(&frame.unwrap());
        }
        assert_eq!(again, b"one two three");
        assert_eq!(*seen.borrow(), b"one two three");
    }

    #[tokio::test]
    async fn upload_loses_nothing_when_told_to_forget_in_the_middle_of_a_replay() {
        let mut upload = full(b"one");
        let (mut twice, script) = scripted(None);
        script.send("one ");
        script.send("two");
        script.end();
        next(&mut twice).await;
        next(&mut twice).await;
        assert!(twice.rewind());
        assert_eq!(next(&mut twice).await.unwrap().unwrap(), "one ");
        twice.forget();
        assert!(!twice.rewind());
        assert!(!twice.is_end());
        assert_eq!(next(&mut twice).await.unwrap().unwrap(), "two");
        assert!(next(&mut twice).await.is_none());
        upload.forget();
        assert_eq!(next(&mut upload).await.unwrap().unwrap(), "one");
    }

    #[tokio::test]
    async fn upload_cannot_rewind_when_more_was_handed_out_than_is_kept() {
        let (mut upload, script) = scripted(None);
        script.send(vec![0; MAX_REPLAY]);
        script.send("x");
        next(&mut upload).await.unwrap().unwrap();
        assert!(upload.rewind());
        assert_eq!(next(&mut upload).await.unwrap().unwrap().len(), MAX_REPLAY);
        next(&mut upload).await.unwrap().unwrap();
        assert!(!upload.rewind());
    }

    #[tokio::test(start_paused = true)]
    async fn upload_times_out_when_the_client_is_silent_but_not_while_nobody_asks_it() {
        let idle = Duration::from_secs(30);
        let (mut upload, script) = scripted_with(None, 10, Some(idle));
        poll_fn(|cx| {
            assert!(upload.poll_data(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(upload.is_waiting());
        script.send("x");
        assert!(next(&mut upload).await.unwrap().is_ok());
        assert!(!upload.is_waiting());
        // The upstream takes nothing for a minute: that is not the client's silence.
        tokio::time::advance(2 * idle).await;
        let start = Instant::now();
        assert!(matches!(
            next(&mut upload).await,
            Some(Err(Error::Timeout { timeout: Timeout::RequestBodyIdle, .. }))
        ));
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn upload_is_too_slow_when_the_client_stays_behind_the_rate_for_too_long() {
        let idle = Duration::from_secs(30);
        let start = Instant::now();
        let (upload, script) = scripted_with(None, 1 << 20, Some(idle));
        let mut upload = upload.at_least(100);
        // Ten seconds of waiting for 500 bytes: five seconds are lost each time.
        let mut error = None;
        for _ in 0..20 {
            let mut pause = std::pin::pin!(tokio::time::sleep(Duration::from_secs(10)));
            let frame = poll_fn(|cx| {
                if pause.as_mut().poll(cx).is_ready() {
                    script.send(vec![0; 500]);
                    return upload.poll_data(cx);
                }
                upload.poll_data(cx)
            });
            if let Some(Err(refused)) = frame.await {
                error = Some(refused);
                break;
            }
        }
        assert!(matches!(error, Some(Error::RequestBodyTooSlow { rate: 100 })), "{error:?}");
        // After five rounds it is 25 s behind of the 30 s that it may be, and then five more.
        assert_eq!(start.elapsed().as_secs(), 55);
    }

    #[tokio::test(start_paused = true)]
    async fn upload_may_pause_as_long_as_silence_may_last_however_little_came() {
        let (upload, _script) = scripted_with(None, 10, Some(Duration::from_secs(30)));
        let mut upload = upload.at_least(1_000_000);
        let start = Instant::now();
        assert!(matches!(
            next(&mut upload).await,
            Some(Err(Error::Timeout { timeout: Timeout::RequestBodyIdle, .. }))
        ));
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
