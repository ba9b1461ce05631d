//! One request, from its head to the head of its response: the page to read.
//!
//! [`handle`] is called by a connection for each request. It answers everything: what cannot be served becomes
//! an error body, never an error of the connection. What happens to the response body afterwards is
//! [`crate::relay`]'s business.

mod chosen;
mod deadline;
mod early;
mod error;
mod headers;
mod host;
pub mod intent;
mod join;
mod manner;
mod plan;
mod request;
mod response;
mod trailers;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::auth;
use crate::codec::mask::Secrets;
use crate::config::{self, HttpVersion, Route, StreamSettings};
use crate::log::{Access, Facts};
use crate::relay::{Body, Tunnel};
use crate::server::client::Client;
use crate::server::stall;
use crate::server::worker::Worker;
use crate::stream::{Cause, Commit, Failure, Phase};
use crate::upstream::{self, RequestBody, Switched, Upload};

use chosen::{Chosen, Wish};
use deadline::Deadline;
use early::Waited;
use error::ProxyError;
pub(crate) use error::failure;
use headers::RequestId;
pub(crate) use headers::is_hop_by_hop;
use intent::Scanner;
use join::{Joined, is_error};
use manner::{Manner, Told};
use plan::Ask;
pub(crate) use trailers::Trailers;
use upgrade::Upgrade;

/// Answers one request.
///
/// # Cancel safety
/// Dropping the future aborts the upstream and writes the access line.
pub async fn handle(request: Request<Incoming>, client: Rc<Client>, worker: Rc<Worker>) -> Response<Body> {
    let trusted = headers::is_trusted(&worker.config, &client);
    let id = RequestId::of(request.headers(), trusted);
    let (mut head, incoming) = request.into_parts();
    let body = RequestBody::new(incoming, stall::leave_unread());
    let mut access = Access::new(Rc::clone(&worker), Rc::clone(&client), &head, id.as_str().into());
    let upgrade = Upgrade::asked(&mut head, !body.is_end());
    match Chosen::by(&mut head, &worker, &mut access) {
        Ok((chosen, host)) => {
            let wish = Wish::new(chosen, upgrade, host, &mut head);
            let manner = wish.manner.clone();
            match admit(wish, (head, body), (&id, trusted), &client) {
                Ok(asked) => forward(asked, &id, worker, access).await,
                Err(error) => Box::pin(refuse(error, &manner, &id, access)).await,
            }
        }
        Err(error) => {
            let manner = Manner::by_status(plan::hinted(head.uri.path(), &head.headers));
            Box::pin(refuse(error, &manner, &id, access)).await
        }
    }
}

/// A request that is to go up.
struct Asked {
    head: Parts,
    upload: Box<Upload>,
    /// In a box, as the upload is: both are handed on and on.
    terms: Box<Terms>,
}

/// What a response to it is judged by.
struct Terms {
    chosen: Chosen,
    /// How the client is told that there is no response.
    manner: Manner,
    ask: Ask,
    /// Reads what the request body says about streaming.
    scanner: Option<Rc<RefCell<Scanner>>>,
    /// What the injectors put in; it must not come back to the client.
    secrets: Secrets,
    /// Which trailers may.
    trailers: Trailers,
    /// What was asked for instead of a response.
    upgrade: Option<Upgrade>,
    started: Instant,
}

/// What an upstream answered, and what was asked.
struct Answer {
    terms: Box<Terms>,
    response: upstream::Response,
}

impl Terms {
    fn route(&self) -> &Route {
        self.chosen.route()
    }

    fn stream(&self) -> &StreamSettings {
        self.chosen.stream()
    }

    /// What the request body says about streaming, as far as it was read.
    fn body_says(&self) -> Option<bool> {
        self.scanner.as_ref().and_then(|scanner| scanner.borrow().verdict())
    }
}

/// Client auth → upstream head.
fn admit(
    wish: Wish,
    (mut head, body): (Parts, RequestBody),
    (id, trusted): (&RequestId, bool),
    client: &Rc<Client>,
) -> Result<Asked, ProxyError> {
    let started = Instant::now();
    let Wish { chosen, upgrade, host, ask, scanner, manner } = wish;
    let body = manner.watch(body);
    let (config, route, stream) = (&*chosen.worker.config, chosen.route(), chosen.stream());
    auth::client::check(&route.client_auth, &mut head)?;
    let ask = ask?;
    chosen.check(&head.headers)?;

    let upgrade = possible(upgrade, &config.upstreams[route.upstream])?;
    let secrets = Secrets::new(route.injectors.iter().flat_map(|injector| injector.secrets()).collect());
    let context = request::Context {
        config,
        route,
        may_stream: ask.may_stream(stream, &head.method),
        secrets: &secrets,
        client,
        trusted,
        host: host.as_ref(),
        id,
    };
    let mut head = request::build(context, head)?;
    if let Some(upgrade) = &upgrade {
        upgrade.ask(&mut head.headers);
    }
    let ask = if route.injectors.is_empty() { ask } else { ask.injected(stream, &head.headers) };
    let upload = upload(body, route, client, scanner.clone()).at_least(config.limits.min_body_rate);
    let trailers = Trailers::new(&head.headers, secrets.clone());
    let terms = Terms { chosen, manner, ask, scanner, secrets, trailers, upgrade, started };
    Ok(Asked { head, upload, terms: Box::new(terms) })
}

/// Upstream head → response head → the head that the client gets.
async fn forward(asked: Asked, id: &RequestId, worker: Rc<Worker>, mut access: Access) -> Response<Body> {
    let manner = asked.terms.manner.clone();
    let total = Deadline::of(&asked.terms);
    // The future of a request is moved once, with room for its largest part: so these are boxed, and what is rare.
    let answer = match early::bound(&asked.terms) {
        Some(bound) => match Box::pin(early::wait(asked, bound, total, &access)).await {
            Waited::Answer(answer) => answer,
            Waited::Opened(opened) => return opened.respond(id, access),
        },
        None => {
            let exchange = Box::pin(exchange(asked, &access.phase));
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
            Box::pin(respond(answer, id, worker, access)).await
        }
        Err(error) => Box::pin(refuse(error, &manner, id, access)).await,
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
    let response = terms.chosen.worker.upstreams.send(upstream, head, upload, bound, &progress).await?;
    phase.set(Phase::FirstEvent);
    Ok(Answer { terms, response })
}

/// Response head → plan → session → the head that the client gets.
async fn respond(answer: Answer, id: &RequestId, worker: Rc<Worker>, mut access: Access) -> Response<Body> {
    let manner = answer.terms.manner.clone();
    if let Err(error) = guard_credential(&answer) {
        return Box::pin(refuse(error, &manner, id, access)).await;
    }
    if answer.terms.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_over(&answer.response.head)) {
        let switched = switch(answer, id);
        return match switched {
            Ok((head, switched, terms)) => {
                access.status = Some(head.status);
                let tunnel = Tunnel::new(switched, &terms.route().timeouts, worker, access);
                Response::from_parts(head, Body::tunnel(tunnel))
            }
            Err(error) => Box::pin(refuse(error, &manner, id, access)).await,
        };
    }
    let is_told = is_error(&answer) && manner.is_in_band().await;
    let Joined { mut relay, mut head, secrets, decoded, bridge } = Joined::new(answer, is_told, access);
    let head = match relay.commit().await {
        Commit::PassThrough => {
            if decoded {
                response::forget_coding(&mut head.headers);
            }
            response::pass(head, id, &secrets)
        }
        Commit::Reframe(_) => response::stream(head, bridge, id, &secrets),
        Commit::Answer(length) => response::answer(head, length, id, &secrets),
        Commit::Refuse(failure) => {
            let error = ProxyError::new(Phase::FirstEvent, failure);
            let told = Box::pin(manner.tell(error, Some(head), id, &secrets)).await;
            let (response, facts) = noted(told, id, relay.access());
            relay.finish(facts);
            return response;
        }
    };
    relay.access().status = Some(head.status);
    Response::from_parts(head, Body::relayed(relay))
}

/// The upstream's answer to an upgrade → the head that the client gets, and the connection behind it.
fn switch(
    answer: Answer,
    id: &RequestId,
) -> Result<(http::response::Parts, Switched, Box<Terms>), ProxyError> {
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

/// Stops what would tell a client about the credential that was injected: the upstream's refusal of it, which is
/// not the client's doing, and an error body that cannot be searched for it.
fn guard_credential(answer: &Answer) -> Result<(), ProxyError> {
    let head = &answer.response.head;
    if answer.terms.secrets.is_empty() || head.status.as_u16() < 400 {
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

/// The answer to a request that has no response.
async fn refuse(error: ProxyError, manner: &Manner, id: &RequestId, mut access: Access) -> Response<Body> {
    let words = error.for_the_log().to_owned();
    let outcome = error.failure().outcome(error.phase());
    let told = manner.tell(error, None, id, &[]).await;
    let (response, facts) = noted(told, id, &mut access);
    access.finish(outcome, &Facts { error: Some(&words), ..facts });
    response
}

/// What the client is told, under the name of its request, and what the log is told of it.
fn noted(told: Told, id: &RequestId, access: &mut Access) -> (Response<Body>, Facts<'static>) {
    let Told { mut response, bytes, status } = told;
    access.status = Some(response.status());
    response.headers_mut().insert(headers::X_REQUEST_ID, id.value().clone());
    (response, Facts { told: status, bytes: bytes as u64, ..Facts::default() })
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

/// The request body on its way up. While it is read, the connection knows that bytes from the client are its.
fn upload(
    body: RequestBody,
    route: &Route,
    client: &Rc<Client>,
    scanner: Option<Rc<RefCell<Scanner>>>,
) -> Box<Upload> {
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
