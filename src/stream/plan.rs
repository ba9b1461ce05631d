//! What a session is given, and what it gives back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::bridge::Bridge;
use crate::codec::charset::Charset;
use crate::codec::coding::Codings;
use crate::codec::mask::Secrets;
use crate::codec::repair::{Repairs, Tally};
use crate::dialect::Dialect;
use crate::format::Format;
use crate::shape;

use super::{Budget, Failure, Label, Share};

/// What is to happen to one response; decided before its first body byte.
#[derive(Debug)]
pub struct Plan {
    /// Pass, reframe, or find out.
    pub mode: Mode,
    /// The response is a 4xx or 5xx: complete, but no success.
    pub is_error: bool,
    /// The dialect that the route sets or the path hints at.
    pub dialect: Option<&'static Dialect>,
    /// The route sets it: no event need confirm it.
    pub is_set: bool,
    /// The route carries an AI stream, by path, body flag or setting: a broken one ends with an error event.
    pub known_ai: bool,
    /// Taken off before anything else looks at the bytes.
    pub coding: Option<Codings>,
    /// The character set that the body is in, if it is to be converted (reframed streams only).
    pub charset: Option<Charset>,
    /// What is put right (reframed streams only).
    pub repairs: Repairs,
    /// A space after `data:` is data (reframed Server-Sent Events only).
    pub literal: bool,
    /// What is changed in the events (reframed streams only).
    pub shapes: Option<Arc<shape::Settings>>,
    /// How the client is written to (reframed streams only).
    pub bridge: &'static Bridge,
    /// A whole answer in place of the stream that was asked for becomes one.
    pub fake_stream: bool,
    /// What must not come back: hidden in every word of the upstream's that tidegate quotes, and in a body that passes if it
    /// is an error. An answer, and a stream of the upstream's own, are not searched.
    pub secrets: Secrets,
    /// The route injects a credential: an upstream that refuses it is not the client's doing.
    pub injects: bool,
    /// The client is told in streams what others read in a status.
    pub in_band: Option<InBand>,
    /// The client finds an error in a stream where it is [no event](crate::dialect::Told::is_event): it is an official one
    /// of Google's. All others are told in events.
    pub finds_bare: bool,
    /// What must be seen of a stream before its head leaves; `None`: nothing.
    pub hold: Option<Hold>,
    /// Silence towards the client after which a heartbeat is written (reframed streams only).
    pub heartbeat: Option<Duration>,
    /// What it looks like, and what becomes of comments.
    pub heartbeat_form: HeartbeatForm,
    /// Bound for the first event (in a body that passes: does not apply).
    pub first_event: Option<Duration>,
    /// Bound for the first content of a stream whose dialect is known.
    pub first_content: Option<Duration>,
    /// Longest silence of the upstream.
    pub event_gap: Option<Duration>,
    /// When the whole request must be over.
    pub total: Option<(Instant, Duration)>,
    /// Largest event in bytes.
    pub max_event_bytes: usize,
    /// This stream's share of what the process may hold back.
    pub share: Share,
}

/// What is done with the bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Untouched.
    PassThrough,
    /// The upstream has not answered, and the client has been given the head of a stream: heartbeats until
    /// [`Session::answered`](super::Session::answered).
    Await,
    /// The response is an error with this status, and nothing is promised to the client: its words become a
    /// [`Commit::Refuse`].
    Tell(StatusCode),
    /// Decoded from this format, written by the bridge.
    Reframe(&'static Format),
    /// The first bytes tell. Where the label promises a stream that is to be written anew, they only tell its format.
    /// Otherwise the body may also pass, or be refused, and the head is held back until that is known.
    Sniff(Label, Wanted),
}

/// How a client is told that there is no answer, in a stream that consists of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InBand {
    /// After what time an `EventSource` is to ask again, which it does after any end of a stream (HTML 9.2.3). `None`: it is
    /// none.
    pub retry: Option<Duration>,
}

/// What is written where nothing is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatForm {
    /// A comment line. Comments of the upstream's pass.
    Comment,
    /// A comment and a blank line, so that no event shares its block. Comments of the upstream's become such blocks.
    Block,
    /// An event of the dialect that says nothing, once one of its events was seen, until the answer is finished; else a
    /// comment and a blank line. Comments of the upstream's do not pass.
    Delta,
    /// Nothing. Comments of the upstream's do not pass.
    Off,
}

/// How long the head of a stream is held back, and with it everything that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// What lets it go.
    pub until: Until,
    /// What lets it go in any case, but at the [end](Until::End): the time since the response head.
    pub within: Duration,
}

/// What shows that a stream is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// An event with data that is no error.
    Event,
    /// Content, where the dialect is known; else such an event.
    Content,
    /// Nothing but its end.
    End,
}

/// What a client can read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// What the bridge writes, whatever the upstream streams.
    Events,
    /// What the upstream sends: only Server-Sent Events are reframed, other formats pass.
    AsSent,
    /// One answer: a stream is put together to one, all else passes as it is.
    Answer,
    /// What the bridge writes, and the route says what the upstream sends: this format, whatever its label and its bytes,
    /// but for a page, and for an error that nothing labels as a stream.
    In(&'static Format),
}

/// What head the client is to be given.
#[derive(Debug, Clone, PartialEq)]
pub enum Commit {
    /// The upstream's.
    PassThrough,
    /// The head of a stream that was in this format.
    Reframe(&'static Format),
    /// One answer of this many bytes, put together from a stream.
    Answer(u64),
    /// An error: nothing has been promised yet.
    Refuse(Failure),
}

/// How a body ends for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Properly, by its framing.
    Clean,
    /// Cut: connection closed without a last chunk, or stream reset.
    Abort,
}

/// What a call produced. Reused from call to call: [`Out::clear`] it before.
#[derive(Debug, Default)]
pub struct Out {
    /// Bytes for the client.
    pub bytes: Vec<u8>,
    /// Where each unit ends in `bytes`: an event, a comment line, a heartbeat, a run of passed bytes. A chunk
    /// is one of them, a DATA frame one or several.
    pub ends: Vec<usize>,
    /// Set when nothing follows.
    pub end: Option<End>,
}

/// Counts of one stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Events written to the client, or put together to the answer that it gets; 0 for a body that passes.
    pub events: u64,
    /// Body bytes for the client, before transfer coding.
    pub bytes: u64,
    /// When the first event (of a body that passes: the first byte) was written.
    pub first_event: Option<Instant>,
    /// When the first event with content was written, if the dialect is known.
    pub first_content: Option<Instant>,
    /// Longest silence of the upstream inside the body.
    pub longest_gap: Duration,
    /// Events that were put right, and how.
    pub repaired: Tally,
    /// Cumulative texts that did not begin with what came before.
    pub rewrites: u64,
    /// The label, if the stream was in another format.
    pub lying_label: Option<Label>,
}

impl Plan {
    /// The plainest plan, for who has no route (tests, benches, fuzzing): what is decoded is written as Server-Sent Events, and
    /// nothing else is done. No dialect, repairs, shapes, heartbeats and time bounds; events of at most 1 MiB, and a share of a
    /// [`Budget`] of its own, of 1 GiB.
    pub fn plain(mode: Mode) -> Self {
        Plan {
            mode,
            is_error: false,
            dialect: None,
            is_set: false,
            known_ai: false,
            coding: None,
            charset: None,
            repairs: Repairs::NONE,
            literal: false,
            shapes: None,
            bridge: &crate::bridge::SSE,
            fake_stream: false,
            secrets: Secrets::default(),
            injects: false,
            in_band: None,
            finds_bare: false,
            hold: None,
            heartbeat: None,
            heartbeat_form: HeartbeatForm::Comment,
            first_event: None,
            first_content: None,
            event_gap: None,
            total: None,
            max_event_bytes: 1 << 20,
            share: Arc::new(Budget::new(1 << 30)).share(),
        }
    }
}

impl Out {
    /// Forgets what the last call produced; keeps the buffers, but for one that a large event blew up.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.ends.clear();
        self.end = None;
    }
}

/// Output that a worker may keep room for.
const KEEP_BYTES: usize = 1 << 20;
