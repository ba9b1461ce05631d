//! One request, from its head to the head of its response: the page to read.
//!
//! [`handle`] is called by a connection for each request. It answers everything: what cannot be served becomes
//! an error body, never an error of the connection. What happens to the response body afterwards is
//! [`crate::relay`]'s business.

mod deadline;
mod early;
mod error;
mod headers;
pub mod intent;
mod plan;
mod request;
mod response;
mod trailers;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::header::CONTENT_ENCODING;
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::codec::mask::Mask;
use crate::config::{self, FormatSetting, HttpVersion, Route};
use crate::dialect::Dialect;
use crate::log::Access;
use crate::relay::{Body, Relay, Source, Tunnel};
use crate::server::client::Client;
use crate::server::stall;
use crate::server::worker::Worker;
use crate::stream::{Cause, Commit, Failure, Phase, Plan, Session};
use crate::upstream::{self, RequestBody, Switched, Upload};
use crate::{auth, route};

use deadline::Deadline;
use early::Waited;
use error::ProxyError;
pub(crate) use error::failure;
use headers::RequestId;
pub(crate) use headers::is_hop_by_hop;
use intent::Scanner;
use plan::{Ask, Decision};
pub(crate) use trailers::Trailers;
use upgrade::Upgrade;

/// Answers one request.
///
/// # Cancel safety
/// Dropping the future aborts the upstream and writes the access line.
pub async fn handle(request: Request<Incoming>, client: Rc<Client>, worker: Rc<Worker>) -> Response<Body> {
    let trusted = headers::is_trusted(&worker.config, &client);
    let id = RequestId::of(request.headers(), trusted);
    let (head, incoming) = request.into_parts();
    let dialect = Dialect::announced(&head.headers).or_else(|| Dialect::hinted(head.uri.path()));
    let body = RequestBody::new(incoming, stall::leave_unread());
    let mut access = Access::new(Rc::clone(&worker), Rc::clone(&client), &head, id.as_str().to_owned());
    let mut response = match admit((head, body), (&id, trusted), &client, &worker, &mut access) {
        Ok(asked) => forward(asked, &id, client, worker, access).await,
        Err(error) => refuse(error, dialect, access),
    };
    response.headers_mut().insert(headers::X_REQUEST_ID, id.value().clone());
    response
}

/// A request that is to go up.
struct Asked {
    head: http::request::Parts,
    upload: Upload,
    terms: Terms,
}

/// What a response to it is judged by.
struct Terms {
    worker: Rc<Worker>,
    /// Index into the routes of the worker's configuration.
    route: usize,
    ask: Ask,
    /// Reads what the request body says about streaming.
    scanner: Option<Rc<RefCell<Scanner>>>,
    /// What the injectors put in; it must not come back to the client.
    secrets: Vec<Vec<u8>>,
    /// Which trailers may.
    trailers: Trailers,
    /// What was asked for instead of a response.
    upgrade: Option<Upgrade>,
    started: Instant,
}

/// What an upstream answered, and what was asked.
struct Answer {
    terms: Terms,
    response: upstream::Response,
}

impl Terms {
    fn route(&self) -> &Route {
        &self.worker.config.routes[self.route]
    }

    /// What the request body says about streaming, as far as it was read.
    fn body_says(&self) -> Option<bool> {
        self.scanner.as_ref().and_then(|scanner| scanner.borrow().verdict())
    }
}

/// Client head → route → client auth → upstream head.
fn admit(
    (mut head, body): (http::request::Parts, RequestBody),
    (id, trusted): (&RequestId, bool),
    client: &Rc<Client>,
    worker: &Rc<Worker>,
    access: &mut Access,
) -> Result<Asked, ProxyError> {
    let started = Instant::now();
    let config = &*worker.config;
    let wish = Upgrade::asked(&mut head, !body.is_end());
    let host = request::admit(&head, config.limits.max_headers)?;
    let index = route::find(config, host.as_ref().map(Authority::as_str), &head.method, head.uri.path())?;
    let route = &config.routes[index];
    (access.route, access.upstream) = (Some(index), Some(route.upstream));
    auth::client::check(&route.client_auth, &mut head)?;
    let bridge = request::bridge(&route.stream, &mut head.uri)?;

    let upgrade = possible(wish, &config.upstreams[route.upstream])?;
    let context = request::Context { config, route, client, trusted, host: host.as_ref(), id };
    let mut head = request::build(context, head)?;
    if let Some(upgrade) = &upgrade {
        upgrade.ask(&mut head.headers);
    }
    let ask = Ask::new(&route.stream, &head.method, head.uri.path(), &head.headers).through(bridge);
    let scanner = watches_body(route, &head).then(|| Rc::new(RefCell::new(Scanner::new())));
    let upload = upload(body, route, client, scanner.clone()).at_least(config.limits.min_body_rate);
    let secrets: Vec<Vec<u8>> = route.injectors.iter().flat_map(|injector| injector.secrets()).collect();
    let trailers = Trailers::new(&head.headers, secrets.clone());
    let worker = Rc::clone(worker);
    let terms = Terms { worker, route: index, ask, scanner, secrets, trailers, upgrade, started };
    Ok(Asked { head, upload, terms })
}

/// Upstream head → response head → the head that the client gets.
async fn forward(
    asked: Asked,
    id: &RequestId,
    client: Rc<Client>,
    worker: Rc<Worker>,
    mut access: Access,
) -> Response<Body> {
    let dialect = asked.terms.ask.dialect;
    let total = Deadline::of(&asked.terms);
    let answer = match early::bound(&asked.terms) {
        Some(bound) => match early::wait(asked, bound, total, &access).await {
            Waited::Answer(answer) => answer,
            Waited::Opened(opened) => return opened.respond(id, client, worker, access),
        },
        None => {
            let exchange = exchange(asked, &access.phase);
            tokio::select! {
                biased;
                error = total.or_drain(&worker, &access) => Err(error),
                answer = exchange => answer.map_err(|error| failed(error, &access)),
            }
        }
    };
    match answer {
        Ok(answer) => {
            access.ttfb = Some(access.elapsed());
            respond(answer, id, client, worker, access).await
        }
        Err(error) => refuse(error, dialect, access),
    }
}

/// Sends the request and waits for its response head.
///
/// # Cancel safety
/// Dropping the future aborts the exchange.
async fn exchange(asked: Asked, phase: &Cell<Phase>) -> Result<Answer, upstream::Error> {
    let Asked { head, upload, terms } = asked;
    let progress = |reached| phase.set(reached);
    let (upstream, bound) = (terms.route().upstream, terms.route().timeouts.response_head);
    let response = terms.worker.upstreams.send(upstream, head, upload, bound, &progress).await?;
    phase.set(Phase::FirstEvent);
    Ok(Answer { terms, response })
}

/// Response head → plan → session → the head that the client gets.
async fn respond(
    answer: Answer,
    id: &RequestId,
    client: Rc<Client>,
    worker: Rc<Worker>,
    mut access: Access,
) -> Response<Body> {
    let dialect = answer.terms.ask.dialect;
    if let Err(error) = guard_credential(&answer) {
        return refuse(error, dialect, access);
    }
    if answer.terms.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_over(&answer.response.head)) {
        let switched = switch(answer, id);
        return match switched {
            Ok((head, switched, terms)) => {
                access.status = Some(head.status);
                let tunnel = Tunnel::new(switched, &terms.route().timeouts, worker, access);
                Response::from_parts(head, Body::tunnel(tunnel))
            }
            Err(error) => refuse(error, dialect, access),
        };
    }
    let plan = plan(&answer);
    let (decoded, bridge) = (plan.coding.is_some(), plan.bridge);
    let Answer { terms, response: upstream::Response { mut head, body } } = answer;
    let session = Session::new(plan, Instant::now().into_std());
    let mut relay = Relay::new(Source::Body(body), session, terms.trailers, client, worker, access);
    let head = match relay.commit().await {
        Commit::PassThrough => {
            if decoded {
                response::forget_coding(&mut head.headers);
            }
            response::pass(head, id, &terms.secrets)
        }
        Commit::Reframe(_) => response::stream(head, bridge, id, &terms.secrets),
        Commit::Answer(length) => response::answer(head, length, id, &terms.secrets),
        Commit::Refuse(failure) => {
            let error = ProxyError::new(Phase::FirstEvent, failure);
            relay.access().status = Some(error.status());
            let response = error.into_response(dialect, &terms.secrets);
            relay.access().bytes = response.body().len() as u64;
            return response.map(Body::full);
        }
    };
    relay.access().status = Some(head.status);
    Response::from_parts(head, Body::relayed(relay))
}

/// The upstream's answer to an upgrade → the head that the client gets, and the connection behind it.
fn switch(answer: Answer, id: &RequestId) -> Result<(http::response::Parts, Switched, Terms), ProxyError> {
    let Answer { mut terms, response: upstream::Response { head, body } } = answer;
    let malformed = |what| ProxyError::from(upstream::Error::Malformed { what });
    let own = "it answered a WebSocket handshake with a response of its own";
    let switched = body.into_switched().ok_or(own).map_err(malformed)?;
    let upgrade = terms.upgrade.take();
    let upgrade = upgrade.ok_or("status 101 to a request that asked for no upgrade").map_err(malformed)?;
    let agreed = upgrade.agreed(&head).map_err(malformed)?;
    let mut head = response::pass(head, id, &terms.secrets);
    upgrade.finish(&mut head, agreed);
    Ok((head, switched, terms))
}

/// The one place where settings, request and response head become a plan.
fn plan(answer: &Answer) -> Plan {
    let Answer { terms, response } = answer;
    let decision = plan::decide(&terms.route().stream, &terms.ask, terms.body_says(), &response.head);
    let is_error = response.head.status.as_u16() >= 400;
    let may_echo = is_error && !terms.secrets.is_empty();
    let mask = may_echo.then(|| Mask::new(terms.secrets.clone()));
    Plan { is_error, mask, ..planned(terms, decision) }
}

/// The part of a plan that needs no response.
fn planned(terms: &Terms, decision: Decision) -> Plan {
    let route = terms.route();
    let total = route.timeouts.total;
    Plan {
        mode: decision.mode,
        is_error: false,
        dialect: decision.dialect,
        is_set: route.stream.dialect.is_some(),
        known_ai: decision.known_ai,
        coding: decision.coding,
        charset: decision.charset,
        repairs: plan::repairs(&route.stream, decision.dialect),
        literal: route.stream.literal_space,
        shapes: route.stream.shapes.clone(),
        bridge: decision.bridge,
        fake_stream: route.stream.fake_stream,
        mask: None,
        injects: !route.injectors.is_empty(),
        hold: route.stream.hold,
        heartbeat: route.stream.heartbeat,
        first_event: route.timeouts.first_event,
        first_content: route.timeouts.first_content,
        event_gap: route.timeouts.event_gap,
        total: total.map(|total| ((terms.started + total).into_std(), total)),
        max_event_bytes: route.stream.max_event_bytes,
        share: terms.worker.budget.share(),
    }
}

/// Stops what would tell a client about the credential that was injected: the upstream's refusal of it, which is
/// not the client's doing, and an error body that cannot be searched for it.
fn guard_credential(answer: &Answer) -> Result<(), ProxyError> {
    let head = &answer.response.head;
    if answer.terms.route().injectors.is_empty() || head.status.as_u16() < 400 {
        return Ok(());
    }
    let status = head.status.as_u16();
    if matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let message = format!("the upstream refused the proxy's credential ({status})");
        let failure = Failure::new(Cause::UpstreamAuth, message);
        return Err(ProxyError::new(Phase::Head, failure));
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        let message = format!("the upstream answered {status} with an encoded body");
        let failure = Failure::new(Cause::UpstreamEncodedError, message);
        return Err(ProxyError::new(Phase::Head, failure).with_status(head.status));
    }
    Ok(())
}

fn refuse(error: ProxyError, dialect: Option<&'static Dialect>, mut access: Access) -> Response<Body> {
    access.status = Some(error.status());
    access.error = Some(error.for_the_log().to_owned());
    let outcome = error.failure().outcome(error.phase());
    let response = error.into_response(dialect, &[]);
    access.bytes = response.body().len() as u64;
    access.finish(outcome);
    response.map(Body::full)
}

/// The upgrade, if there is one that the upstream can take: it goes up over HTTP/1.1 only.
fn possible(upgrade: Option<Upgrade>, upstream: &config::Upstream) -> Result<Option<Upgrade>, ProxyError> {
    match upgrade {
        Some(upgrade) if upstream.http != HttpVersion::Http2 => Ok(Some(upgrade)),
        // RFC 8441 has no way to ignore it.
        Some(upgrade) if upgrade.is_connect() => {
            let message = "the upstream takes HTTP/2 only, in which no WebSocket goes up";
            let failure = Failure::new(Cause::ClientNoWebSocket, message);
            Err(ProxyError::new(Phase::Request, failure))
        }
        _ => Ok(None),
    }
}

/// Whether the request body may say that a stream is wanted, and whether that matters.
fn watches_body(route: &Route, head: &http::request::Parts) -> bool {
    !matches!(route.stream.format, FormatSetting::Off)
        && route.stream.intent.is_none()
        && request::has_json_body(&head.headers)
}

/// The request body on its way up. While it is read, the connection knows that bytes from the client are its.
fn upload(
    body: RequestBody,
    route: &Route,
    client: &Rc<Client>,
    scanner: Option<Rc<RefCell<Scanner>>>,
) -> Upload {
    let client = Rc::clone(client);
    let upload = Upload::new(body, route.max_request_body, route.timeouts.request_body_idle)
        .with_trailers(trailers::to_upstream)
        .when_ended(Box::new(move || client.uploading.set(false)));
    match scanner {
        Some(scanner) => upload.tapped(Box::new(move |bytes| scanner.borrow_mut().push(bytes))),
        None => upload,
    }
}

/// Why there is no response, if the request body is not to blame: it ended before its time with the client, or with its
/// connection, which may know more.
fn failed(error: upstream::Error, access: &Access) -> ProxyError {
    match error {
        upstream::Error::RequestBody => {
            let failure = Failure::new(access.left(), "the request body broke off");
            ProxyError::new(access.phase.get(), failure).with_status(StatusCode::BAD_REQUEST)
        }
        error => error.into(),
    }
}
