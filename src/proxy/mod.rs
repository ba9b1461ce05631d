//! One request, from its head to the head of its response: the page to read.
//!
//! [`handle`] is called by a connection for each request. It answers everything: what cannot be served becomes
//! an error body, never an error of the connection. What happens to the response body afterwards is
//! [`crate::relay`]'s business.

mod error;
mod headers;
mod intent;
mod plan;
mod request;
mod response;

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::header::CONTENT_ENCODING;
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use crate::codec::mask::Mask;
use crate::config::{FormatSetting, Route};
use crate::log::Access;
use crate::relay::{Body, Relay};
use crate::server::client::Client;
use crate::server::worker::{Phase as Drain, Worker};
use crate::stream::{Commit, Failure, Phase, Plan, Session, Who};
use crate::upstream::{self, Upload};
use crate::{auth, route};

use error::ProxyError;
pub(crate) use error::failure;
use headers::RequestId;
pub(crate) use headers::is_hop_by_hop;
use intent::Scanner;
use plan::Ask;
pub(crate) use response::trailers as pass_trailers;

/// Answers one request.
///
/// # Cancel safety
/// Dropping the future aborts the upstream and writes the access line.
pub async fn handle(request: Request<Incoming>, client: Rc<Client>, worker: Rc<Worker>) -> Response<Body> {
    let trusted = headers::is_trusted(&worker.config, &client);
    let id = RequestId::of(request.headers(), trusted);
    let (head, incoming) = request.into_parts();
    let mut access =
        Access::new(Arc::clone(&worker.config), Rc::clone(&client), &head, id.as_str().to_owned());
    let mut response = match ask((head, incoming), (&id, trusted), &client, &worker, &mut access).await {
        Ok(answer) => respond(answer, &id, client, Rc::clone(&worker), access).await,
        Err(error) => refuse(error, access),
    };
    response.headers_mut().insert(headers::X_REQUEST_ID, id.value().clone());
    response
}

/// What an upstream answered, and what was asked.
struct Answer<'w> {
    route: &'w Route,
    ask: Ask,
    /// What the request body says about streaming.
    body_says: Option<bool>,
    /// What the injectors put in; it must not come back to the client.
    secrets: Vec<Vec<u8>>,
    started: Instant,
    response: upstream::Response,
}

/// Client head → route → client auth → upstream head → response head.
async fn ask<'w>(
    (mut head, incoming): (http::request::Parts, Incoming),
    (id, trusted): (&RequestId, bool),
    client: &Rc<Client>,
    worker: &'w Rc<Worker>,
    access: &mut Access,
) -> Result<Answer<'w>, ProxyError> {
    let started = Instant::now();
    let config = &*worker.config;
    let host = request::host(&head)?;
    let index = route::find(config, host.as_ref().map(Authority::as_str), &head.method, head.uri.path())?;
    let route = &config.routes[index];
    (access.route, access.upstream) = (Some(index), Some(route.upstream));
    auth::client::check(&route.client_auth, &mut head)?;

    let context = request::Context { config, route, client, trusted, host: host.as_ref(), id };
    let head = request::build(context, head)?;
    let ask = Ask::new(&route.stream, &head.method, head.uri.path(), &head.headers);
    let scanner = watches_body(route, &head).then(|| Rc::new(RefCell::new(Scanner::new())));
    let upload = upload(incoming, route, client, scanner.clone());
    let secrets = route.injectors.iter().flat_map(|injector| injector.secrets()).collect();

    let progress = |phase| access.phase.set(phase);
    let response = tokio::select! {
        biased;
        () = ending(worker) => Err(shutting_down(access.phase.get())),
        () = deadline(started, route) => Err(total_ran_out(route, access.phase.get())),
        response = worker.upstreams.send(route.upstream, head, upload, route.timeouts.response_head, &progress) => {
            response.map_err(ProxyError::from)
        }
    }?;
    access.ttfb = Some(access.elapsed());
    access.phase.set(Phase::FirstEvent);
    let body_says = scanner.and_then(|scanner| scanner.borrow().verdict());
    Ok(Answer { route, ask, body_says, secrets, started, response })
}

/// Response head → plan → session → the head that the client gets.
async fn respond(
    answer: Answer<'_>,
    id: &RequestId,
    client: Rc<Client>,
    worker: Rc<Worker>,
    access: Access,
) -> Response<Body> {
    if let Err(error) = guard_credential(&answer) {
        return refuse(error, access);
    }
    let plan = plan(&answer, &worker);
    let decoded = plan.coding.is_some();
    let Answer { secrets, response: upstream::Response { mut head, body }, .. } = answer;
    let session = Session::new(plan, Instant::now().into_std());
    let mut relay = Relay::new(body, session, secrets.clone(), client, worker, access);
    let head = match relay.commit().await {
        Commit::PassThrough => {
            if decoded {
                response::forget_coding(&mut head.headers);
            }
            response::pass(head, id, &secrets)
        }
        Commit::Reframe(_) => response::stream(head, id, &secrets),
        Commit::Refuse(failure) => {
            let error = ProxyError::new(failure.status(), Phase::FirstEvent, failure);
            relay.access().status = Some(error.status());
            return error.into_response().map(Body::full);
        }
    };
    relay.access().status = Some(head.status);
    Response::from_parts(head, Body::relayed(relay))
}

/// The one place where settings, request and response head become a plan.
fn plan(answer: &Answer<'_>, worker: &Worker) -> Plan {
    let Answer { route, ask, body_says, secrets, started, response } = answer;
    let decision = plan::decide(&route.stream, ask, *body_says, &response.head);
    let is_error = response.head.status.as_u16() >= 400;
    let may_echo = is_error && !secrets.is_empty();
    Plan {
        mode: decision.mode,
        is_error,
        dialect: ask.dialect,
        known_ai: decision.known_ai,
        coding: decision.coding,
        charset: decision.charset,
        repairs: plan::repairs(&route.stream, ask.dialect),
        mask: may_echo.then(|| Mask::new(secrets.clone())),
        heartbeat: route.stream.heartbeat,
        first_event: route.timeouts.first_event,
        event_gap: route.timeouts.event_gap,
        total: route.timeouts.total.map(|total| ((*started + total).into_std(), total)),
        max_event_bytes: route.stream.max_event_bytes,
        share: worker.budget.share(),
    }
}

/// Stops what would tell a client about the credential that was injected: the upstream's refusal of it, which is
/// not the client's doing, and an error body that cannot be searched for it.
fn guard_credential(answer: &Answer<'_>) -> Result<(), ProxyError> {
    let head = &answer.response.head;
    if answer.route.injectors.is_empty() || head.status.as_u16() < 400 {
        return Ok(());
    }
    let status = head.status.as_u16();
    if matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let message = format!("the upstream refused the proxy's credential ({status})");
        let failure = Failure::new(Who::Upstream, "auth", message);
        return Err(ProxyError::new(StatusCode::BAD_GATEWAY, Phase::Head, failure));
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        let message = format!("the upstream answered {status} with an encoded body");
        let failure = Failure::new(Who::Upstream, "encoded_error", message);
        return Err(ProxyError::new(head.status, Phase::Head, failure));
    }
    Ok(())
}

fn refuse(error: ProxyError, mut access: Access) -> Response<Body> {
    access.status = Some(error.status());
    access.error = Some(error.for_the_log().to_owned());
    let outcome = error.failure().outcome(error.phase());
    let response = error.into_response();
    access.bytes = response.body().len() as u64;
    access.finish(outcome);
    response.map(Body::full)
}

/// Whether the request body may say that a stream is wanted, and whether that matters.
fn watches_body(route: &Route, head: &http::request::Parts) -> bool {
    !matches!(route.stream.format, FormatSetting::Off)
        && route.stream.intent.is_none()
        && request::has_json_body(&head.headers)
}

/// The request body on its way up. While it is read, the connection knows that bytes from the client are its.
fn upload(
    incoming: Incoming,
    route: &Route,
    client: &Rc<Client>,
    scanner: Option<Rc<RefCell<Scanner>>>,
) -> Upload {
    let client = Rc::clone(client);
    let upload = Upload::new(incoming, route.max_request_body, route.timeouts.request_body_idle)
        .when_ended(Box::new(move || client.uploading.set(false)));
    match scanner {
        Some(scanner) => upload.tapped(Box::new(move |bytes| scanner.borrow_mut().push(bytes))),
        None => upload,
    }
}

/// Ready when running requests must end: the `drain` timeout ran out.
async fn ending(worker: &Worker) {
    let member = worker.streams.join();
    poll_fn(|cx| {
        member.watch(cx);
        if worker.phase.get() == Drain::Ending { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn deadline(started: Instant, route: &Route) {
    match route.timeouts.total {
        Some(total) => sleep_until(started + total).await,
        None => pending().await,
    }
}

fn shutting_down(phase: Phase) -> ProxyError {
    let failure = Failure::new(
        Who::Tidegate,
        "drain",
        "the proxy is shutting down and could not wait for the response",
    );
    ProxyError::new(failure.status(), phase, failure)
}

fn total_ran_out(route: &Route, phase: Phase) -> ProxyError {
    let message = format!("timeout total ({:?}) ran out", route.timeouts.total.unwrap_or_default());
    let failure = Failure::new(Who::Tidegate, "timeout_total", message);
    ProxyError::new(failure.status(), phase, failure)
}
