//! `stream.early_head`: the client's stream is opened before the upstream has answered.
//!
//! For requests that want a stream and can be promised events; all others wait for their response, however long. The
//! exchange with the upstream goes on inside the response body, where everything that can still happen is told as a part
//! of the stream. Called by [`super::forward`].

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use http::Response;
use tokio::time::{Instant, sleep_until};

use super::error::ProxyError;
use super::headers::RequestId;
use super::{Answer, Asked, Deadline, Terms, exchange, failed, guard_credential, join, response};
use crate::log::Access;
use crate::relay::{Arrival, Body, Coming, Relay, Source};
use crate::stream::{Cause, Failure, Phase, Plan, Session};
use crate::upstream;

/// What came first.
pub(super) enum Waited {
    /// The response, or what there is instead.
    Answer(Result<Answer, ProxyError>),
    /// The time until the stream is opened without it.
    Opened(Opened),
}

/// An exchange that goes on while the client's stream is open.
pub(super) struct Opened {
    exchange: Exchange,
    phase: Rc<Cell<Phase>>,
    plan: Plan,
    trailers: super::Trailers,
}

type Exchange = Pin<Box<dyn Future<Output = Result<Answer, upstream::Error>>>>;

/// When the stream is opened at the latest, if the route says so and the request may be one that wants that.
pub(super) fn bound(terms: &Terms) -> Option<Instant> {
    let early = terms.stream().early_head.filter(|_| terms.upgrade.is_none())?;
    Some(terms.started + early)
}

/// Waits for the response until `bound`, and beyond if the stream cannot be opened without it.
pub(super) async fn wait(asked: Asked, bound: Instant, total: Deadline, access: &Access) -> Waited {
    let Terms { chosen, ask, scanner, manner, .. } = &*asked.terms;
    let (chosen, ask, scanner, manner) = (chosen.clone(), *ask, scanner.clone(), manner.clone());
    let waiting = join::planned(&asked.terms, super::plan::early(&ask));
    let trailers = asked.terms.trailers.clone();
    let phase = Rc::new(Cell::new(access.phase.get()));
    let mut exchange: Exchange = Box::pin({
        let phase = Rc::clone(&phase);
        async move { exchange(asked, &phase).await }
    });
    let mut answer = poll_fn(|cx| {
        let answer = exchange.as_mut().poll(cx);
        access.phase.set(phase.get());
        answer
    });
    let may_open = async {
        sleep_until(bound).await;
        let says = scanner.and_then(|scanner| scanner.borrow().verdict());
        ask.can_be_promised_events(chosen.stream(), says)
    };
    let mut ended = std::pin::pin!(total.or_drain(&chosen.worker, access));
    let opens = tokio::select! {
        biased;
        error = &mut ended => return Waited::Answer(Err(error)),
        answer = &mut answer => return Waited::Answer(answer.map_err(|error| failed(error, access))),
        may = may_open => may,
    };
    if opens {
        let plan = Plan { in_band: manner.in_band(None, true), ..waiting };
        return Waited::Opened(Opened { exchange, phase, plan, trailers });
    }
    tokio::select! {
        biased;
        error = &mut ended => Waited::Answer(Err(error)),
        answer = &mut answer => Waited::Answer(answer.map_err(|error| failed(error, access))),
    }
}

impl Opened {
    /// The head of the stream, and the rest of the exchange behind it.
    pub(super) fn respond(self, id: &RequestId, mut access: Access) -> Response<Body> {
        let Opened { exchange, phase, plan, trailers } = self;
        let head = response::early(id);
        access.status = Some(head.status);
        let coming = Coming::new(arrival(exchange, Rc::clone(&phase)), phase);
        let session = Session::new(plan, Instant::now().into_std());
        let relay = Relay::new(Source::Coming(coming), session, trailers, access);
        Response::from_parts(head, Body::relayed(relay))
    }
}

/// The response as the session takes it, or why there is none.
async fn arrival(exchange: Exchange, phase: Rc<Cell<Phase>>) -> Result<Arrival, Failure> {
    let arrived = match exchange.await {
        Ok(answer) => guard_credential(&answer).map(|()| answer),
        Err(upstream::Error::RequestBody) => {
            let failure = Failure::new(Cause::ClientRequestBody, "the request body broke off");
            Err(ProxyError::new(phase.get(), failure))
        }
        Err(error) => Err(error.into()),
    };
    match arrived {
        Ok(answer) => {
            let plan = join::readable(join::plan(&answer), &answer);
            let upstream::Response { head, body } = answer.response;
            Ok(Arrival { plan, status: head.status, body })
        }
        Err(error) => {
            let (failure, reached) = error.into_failure();
            phase.set(reached);
            Err(failure)
        }
    }
}
