//! The messy upstream: an HTTP/1.1 server that answers as [`super::script`] says, if it is shown [`KEY`].
//!
//! It stands for an AI server on another machine, so it shares nothing with the proxy: a thread and a runtime of
//! its own. It also serves [the page](super::page), which browsers get through tidegate. Other pages may call it
//! (CORS), because the page reads it directly for comparison.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{future, thread, vec};

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};

use super::page::Page;
use super::script::{Language, Play, Scenario, Step, Wire};

/// The key that it wants as `Authorization: Bearer`. Everybody may know it.
pub(super) const KEY: &str = "sk-demo-not-a-secret";

/// The server, bound and not yet started.
#[derive(Debug)]
pub(super) struct Upstream {
    listener: TcpListener,
}

/// A response body: a script as it is played, or bytes.
#[derive(Debug)]
enum Body {
    Full(Bytes),
    Script { steps: vec::IntoIter<Step>, next: Option<(Pin<Box<Sleep>>, Bytes)> },
}

type Answer = Response<Body>;

impl Upstream {
    /// Binds `address`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Upstream { listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves on a thread of its own until the process ends.
    ///
    /// # Errors
    /// There is no thread or no runtime to be had.
    pub(super) fn start(self, page: Page) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || runtime.block_on(serve(self.listener, Arc::new(page)));
        thread::Builder::new().name("demo-upstream".to_owned()).spawn(serve).map(drop)
    }
}

async fn serve(listener: TcpListener, page: Arc<Page>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the messy upstream cannot listen"),
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let page = Arc::clone(&page);
                tokio::spawn(async move {
                    connection(socket, page).await;
                    drop(place);
                });
            }
            // Out of file descriptors, mostly: wait for one.
            Err(_) => sleep(ACCEPT_RETRY).await,
        }
    }
}

async fn connection(socket: TcpStream, page: Arc<Page>) {
    // Each write is a packet of its own, else there would be no mess to see.
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| {
        let page = Arc::clone(&page);
        async move { Ok::<_, Infallible>(answer(request, &page).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // A client that goes away is no error here.
    let _ = http.serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(request: Request<Incoming>, page: &Page) -> Answer {
    let wire = match request.uri().path() {
        "/" => return front(&request, page),
        "/v1/chat/completions" => Wire::OpenAi,
        "/api/chat" => Wire::Ollama,
        path => return failure(StatusCode::NOT_FOUND, "not_found", &format!("there is nothing at {path}")),
    };
    match *request.method() {
        Method::OPTIONS => preflight(),
        Method::POST if !has_key(request.headers()) => failure(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            &format!("this server wants 'Authorization: Bearer {KEY}'; tidegate puts it in for you"),
        ),
        Method::POST => match question(request.into_body()).await {
            Ok(question) => chat(wire, &question),
            Err(what) => failure(StatusCode::BAD_REQUEST, "invalid_request", what),
        },
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "use POST"),
    }
}

/// The page. Who comes without the key has not come through tidegate, where the page must be seen.
fn front(request: &Request<Incoming>, page: &Page) -> Answer {
    if !has_key(request.headers()) {
        let mut response = Response::new(Body::Full(Bytes::new()));
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        if let Ok(front) = HeaderValue::try_from(page.front()) {
            response.headers_mut().insert(LOCATION, front);
        }
        return response;
    }
    let (headers, html) = page.render(request.headers());
    let mut response = Response::new(Body::Full(html.into()));
    *response.headers_mut() = headers;
    response
}

fn has_key(headers: &HeaderMap) -> bool {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    shown.and_then(|value| value.strip_prefix("Bearer ")) == Some(KEY)
}

/// What the client asks for, as JSON.
async fn question(body: Incoming) -> Result<Value, &'static str> {
    let read = async {
        let (mut body, mut bytes) = (pin!(body), Vec::new());
        while let Some(frame) = future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| "the body broke off")?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            if bytes.len() > MAX_QUESTION {
                return Err("the body is larger than 1 MiB");
            }
        }
        serde_json::from_slice(&bytes).map_err(|_| "the body is not JSON")
    };
    timeout(BODY_TIMEOUT, read).await.unwrap_or(Err("the body did not come"))
}

fn chat(wire: Wire, question: &Value) -> Answer {
    let model = question["model"].as_str().unwrap_or_default();
    let last = question["messages"].as_array().and_then(|messages| messages.last());
    let asked = last.map(|message| message["content"].to_string()).unwrap_or_default();
    let play = Play { wire, scenario: Scenario::of_model(model), language: Language::of_question(&asked) };
    // Without a word about it, OpenAI sends no stream and Ollama does.
    let (media_type, streams) = match wire {
        Wire::OpenAi => ("text/event-stream", question["stream"].as_bool().unwrap_or(false)),
        Wire::Ollama => ("application/x-ndjson", question["stream"].as_bool().unwrap_or(true)),
    };
    if !streams {
        return response(StatusCode::OK, "application/json", Body::Full(play.whole().into()));
    }
    let steps = play.script().into_iter();
    let mut response = response(StatusCode::OK, media_type, Body::Script { steps, next: None });
    if play.scenario == Scenario::Truncated {
        // Only the close ends such a body (RFC 9112 6.3), so that a server that dies looks like one that is done.
        *response.version_mut() = Version::HTTP_10;
    }
    response
}

fn preflight() -> Answer {
    let mut response = Response::new(Body::Full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, accept"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn failure(status: StatusCode, code: &str, message: &str) -> Answer {
    let error = json!({ "error": { "message": message, "type": "demo_error", "code": code } });
    response(status, "application/json", Body::Full(error.to_string().into()))
}

fn response(status: StatusCode, media_type: &'static str, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
    response
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Script { steps, next } => {
                if next.is_none() {
                    *next = steps.next().map(|step| (Box::pin(sleep(step.pause)), step.bytes));
                }
                let Some((pause, bytes)) = next else { return Poll::Ready(None) };
                ready!(pause.as_mut().poll(cx));
                let bytes = std::mem::take(bytes);
                *next = None;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Full(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Body::Script { .. } => http_body::SizeHint::default(),
        }
    }
}

/// The key is no secret and the answers are all the same, so any page may have them.
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

/// Connections at a time; others wait in the kernel.
const MAX_CONNECTIONS: usize = 256;

/// Wait after an accept that failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The head of a request, and an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request body.
const MAX_QUESTION: usize = 1 << 20;
