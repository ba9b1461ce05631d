//! Response head → plan → session → relay: what [`super::respond`] does between two waits.

use http::response;
use tokio::time::Instant;

use super::plan::{self, Decision};
use super::{Answer, Terms};
use crate::bridge::Bridge;
use crate::codec::mask::Secrets;
use crate::config::Errors;
use crate::log::Access;
use crate::relay::{Relay, Source};
use crate::stream::{Mode, Plan, Session};
use crate::upstream;

/// A response that is relayed, and what its head is made of once it is known which the client gets.
pub(super) struct Joined {
    pub(super) relay: Box<Relay>,
    pub(super) head: response::Parts,
    pub(super) secrets: Secrets,
    /// Content codings are taken off the body.
    pub(super) decoded: bool,
    pub(super) bridge: &'static Bridge,
}

impl Joined {
    /// Plans. `is_told`: it is an error, and the client is told of it inside a stream.
    pub(super) fn new(answer: Answer, is_told: bool, access: Access) -> Self {
        let mut plan = plan(&answer);
        if is_told {
            let mode = Mode::Tell(answer.response.head.status);
            plan = readable(Plan { mode, ..plan }, &answer);
        }
        let (decoded, bridge) = (plan.coding.is_some(), plan.bridge);
        let Answer { terms, response: upstream::Response { head, body } } = answer;
        let session = Session::new(plan, Instant::now().into_std());
        let Terms { secrets, trailers, .. } = *terms;
        let relay = Relay::new(Source::Body(body), session, trailers, access);
        Joined { relay, head, secrets, decoded, bridge }
    }
}

/// The one place where settings, request and response head become a plan.
pub(super) fn plan(answer: &Answer) -> Plan {
    let Answer { terms, response } = answer;
    let decision = plan::decide(terms.stream(), &terms.ask, terms.body_says(), &response.head);
    let plan = planned(terms, decision);
    // Who is told of everything in streams gets an answer in them, whatever the API is: without an event there was none.
    let is_meant = plan.dialect.is_none() && terms.stream().errors == Errors::InBand;
    let in_band = terms.manner.in_band(Some(&response.head), plan.known_ai || is_meant);
    let known_ai = plan.known_ai || is_meant && in_band.is_some();
    Plan { is_error: is_error(answer), in_band, known_ai, ..plan }
}

pub(super) fn is_error(answer: &Answer) -> bool {
    answer.response.head.status.as_u16() >= 400
}

/// The same for a response whose words, if it is an error, are read and told.
pub(super) fn readable(plan: Plan, answer: &Answer) -> Plan {
    let response = &answer.response;
    let is_error = !response.head.status.is_success();
    let coding = if is_error { plan::coding_of_error(&response.head.headers) } else { plan.coding };
    Plan { coding, ..plan }
}

/// The part of a plan that needs no response.
pub(super) fn planned(terms: &Terms, decision: Decision) -> Plan {
    let (route, stream) = (terms.route(), terms.stream());
    let total = route.timeouts.total;
    Plan {
        mode: decision.mode,
        is_error: false,
        dialect: decision.dialect,
        is_set: stream.dialect.is_some(),
        known_ai: decision.known_ai,
        coding: decision.coding,
        charset: decision.charset,
        repairs: plan::repairs(stream, decision.dialect),
        literal: stream.literal_space,
        shapes: stream.shapes.clone(),
        bridge: decision.bridge,
        fake_stream: stream.fake_stream,
        secrets: terms.secrets.clone(),
        injects: !terms.secrets.is_empty(),
        in_band: None,
        finds_bare: terms.ask.is_googles,
        hold: stream.hold,
        heartbeat: stream.heartbeat,
        heartbeat_form: stream.heartbeat_form,
        first_event: route.timeouts.first_event,
        first_content: route.timeouts.first_content,
        event_gap: route.timeouts.event_gap,
        total: total.map(|total| ((terms.started + total).into_std(), total)),
        max_event_bytes: stream.max_event_bytes,
        share: terms.chosen.worker.budget.share(),
    }
}
