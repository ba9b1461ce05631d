//! A client that hides nothing: raw requests, and responses piece by piece as they arrived. HTTP/1.1 over any
//! stream, HTTP/2 by prior knowledge or ALPN.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use tokio::task::AbortHandle;

use super::sse::{self, Event};
use super::wire::{Endpoint, Framing, Head, Piece, Wire};
use super::within;

/// The HTTP version of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// Any method, no body.
    pub fn new(method: &str, path: &str) -> Self {
        Request { method: method.into(), path: path.into(), fields: Vec::new(), body: None }
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Request::new("GET", path)
    }

    /// A POST with a JSON body.
    pub fn post(path: &str, body: &str) -> Self {
        Request::new("POST", path).field("content-type", "application/json").body(body.as_bytes())
    }

    /// What an SDK sends to have an answer streamed.
    pub fn stream(path: &str) -> Self {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
        Request::post(path, body).field("accept", "text/event-stream")
    }

    /// One more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// The body, with its length.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    /// Its bytes in HTTP/1.1. `Host` is `proxy.test` unless a field says otherwise.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += "Host: proxy.test\r\n";
        }
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }

    /// The extended CONNECT of RFC 8441 with the same path and fields. HTTP/2 only.
    fn to_connect(&self, protocol: &'static str) -> http::Request<()> {
        let mut request = self.to_http2();
        *request.method_mut() = http::Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
        request
    }

    fn to_http2(&self) -> http::Request<()> {
        let host = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = host.map_or("proxy.test", |(_, value)| value);
        let uri = format!("http://{host}{}", self.path);
        let mut request = http::Request::builder().method(self.method.as_str()).uri(uri);
        for (name, value) in self.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            request = request.header(name, value);
        }
        request.version(http::Version::HTTP_2).body(()).expect("the request is valid")
    }
}

/// An HTTP/2 connection, for several calls at once.
#[derive(Debug, Clone)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    link: Arc<Link>,
}

/// The task that moves an HTTP/2 connection; dropping the last owner closes the socket.
#[derive(Debug)]
struct Link(AbortHandle);

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Http2 {
    /// Connects and shakes hands.
    pub async fn connect(endpoint: &Endpoint) -> Self {
        let (io, _) = Wire::connect(endpoint).await.into_parts();
        let handshake = within("an HTTP/2 handshake", h2::client::handshake(io)).await;
        let (send, connection) = handshake.expect("the peer speaks HTTP/2");
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Http2 { send, link: Arc::new(Link(task.abort_handle())) }
    }

    /// Sends a request.
    pub async fn call(&self, request: &Request) -> Call {
        let mut call = self.start(request.to_http2(), request.body.is_none()).await;
        if let Some(body) = &request.body {
            call.send(body, true);
        }
        call
    }

    /// Sends the head of a request, whose body follows by [`Call::send`].
    pub async fn open(&self, request: &Request) -> Call {
        self.start(request.to_http2(), false).await
    }

    /// Asks for a tunnel: an extended CONNECT with the path and the fields of `request`, once the peer has said that it
    /// takes any.
    pub async fn tunnel(&self, request: &Request, protocol: &'static str) -> Call {
        within("the peer to take extended CONNECTs", async {
            let mut look = tokio::time::interval(std::time::Duration::from_millis(1));
            while !self.send.is_extended_connect_protocol_enabled() {
                look.tick().await;
            }
        })
        .await;
        self.start(request.to_connect(protocol), false).await
    }

    async fn start(&self, request: http::Request<()>, end: bool) -> Call {
        let ready = within("room for a stream", self.send.clone().ready()).await;
        let mut ready = ready.expect("the connection is open");
        let method = request.method().to_string();
        let (response, upload) = ready.send_request(request, end).expect("a valid request");
        let side =
            Side::Http2 { response: Some(response), body: None, upload, frames: 0, link: self.link.clone() };
        Call { method, head: None, side }
    }
}

/// A request that was sent, and its response as it comes.
#[derive(Debug)]
pub struct Call {
    method: String,
    head: Option<Head>,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Http1 {
        wire: Wire,
        framing: Framing,
    },
    Http2 {
        response: Option<ResponseFuture>,
        body: Option<RecvStream>,
        upload: SendStream<Bytes>,
        frames: usize,
        link: Arc<Link>,
    },
}

/// What was left of a response.
#[derive(Debug)]
pub struct Rest {
    /// Its pieces.
    pub pieces: Vec<Piece>,
    /// Why it is not complete; `None` if it is.
    pub cut: Option<String>,
}

impl Rest {
    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| piece.data.iter().copied()).collect()
    }

    /// The events in it.
    pub fn events(&self) -> Vec<Event> {
        sse::parse(&self.bytes())
    }
}

impl Call {
    /// Connects and sends an HTTP/1.1 request.
    pub async fn start(endpoint: &Endpoint, request: &Request) -> Self {
        Call::over(Wire::connect(endpoint).await, request).await
    }

    /// Connects and sends a request in this version.
    pub async fn start_as(version: Version, endpoint: &Endpoint, request: &Request) -> Self {
        match version {
            Version::Http1 => Call::start(endpoint, request).await,
            Version::Http2 => Http2::connect(endpoint).await.call(request).await,
        }
    }

    /// Sends an HTTP/1.1 request on a connection that is there already.
    pub async fn over(mut wire: Wire, request: &Request) -> Self {
        wire.write(&request.to_bytes()).await;
        Call::written(wire, &request.method)
    }

    /// A request that has been, or will be, written by hand.
    pub fn written(wire: Wire, method: &str) -> Self {
        Call { method: method.into(), head: None, side: Side::Http1 { wire, framing: Framing::None } }
    }

    /// Sends more of the request body. HTTP/2 only.
    pub fn send(&mut self, data: &[u8], end: bool) {
        match &mut self.side {
            Side::Http1 { .. } => panic!("HTTP/1.1 is written by hand"),
            Side::Http2 { upload, .. } => {
                upload.send_data(Bytes::copy_from_slice(data), end).expect("the stream is open");
            }
        }
    }

    /// Ends the request body with trailers. HTTP/2 only.
    pub fn send_trailers(&mut self, name: &'static str, value: &str) {
        let Side::Http2 { upload, .. } = &mut self.side else { panic!("HTTP/1.1 is written by hand") };
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            value.parse().expect("a value"),
        )]);
        upload.send_trailers(trailers).expect("the stream is open");
    }

    /// Why the peer wants no more of the request body. HTTP/2 only.
    pub async fn stopped(&mut self) -> Reason {
        let Side::Http2 { upload, .. } = &mut self.side else { panic!("HTTP/1.1 says nothing") };
        std::future::poll_fn(|cx| upload.poll_reset(cx)).await.expect("the connection is open")
    }

    /// The trailers, once the body was read to its end.
    pub async fn trailers(&mut self) -> Vec<(String, String)> {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire.trailers().to_vec(),
            Side::Http2 { body, .. } => {
                let body = body.as_mut().expect("the head was read");
                let trailers = within("the trailers", body.trailers()).await.expect("a clean end");
                trailers.map(|trailers| fields_of(&trailers)).unwrap_or_default()
            }
        }
    }

    /// Sends another request on the same connection, after the response to the first.
    pub async fn again(self, request: &Request) -> Self {
        Call::over(self.into_wire(), request).await
    }

    /// The connection. HTTP/1.1 only.
    pub fn into_wire(self) -> Wire {
        match self.side {
            Side::Http1 { wire, .. } => wire,
            Side::Http2 { .. } => panic!("HTTP/2 has no raw bytes"),
        }
    }

    /// The connection, for raw bytes. HTTP/1.1 only.
    pub fn wire(&mut self) -> &mut Wire {
        match &mut self.side {
            Side::Http1 { wire, .. } => wire,
            Side::Http2 { .. } => panic!("HTTP/2 has no raw bytes"),
        }
    }

    /// The head of the final response; interim ones (1xx) are skipped.
    pub async fn head(&mut self) -> &Head {
        match self.try_head().await {
            Ok(_) => self.head.as_ref().expect("just read"),
            Err(why) => panic!("no response head: {why}"),
        }
    }

    /// The head, or why there is none.
    pub async fn try_head(&mut self) -> Result<Head, String> {
        if self.head.is_none() {
            let head = match &mut self.side {
                Side::Http1 { wire, framing } => {
                    let head = within("a response head", final_head(wire)).await?;
                    *framing = Framing::of_response(&head, &self.method);
                    head
                }
                Side::Http2 { response, body, .. } => {
                    let response = response.take().expect("the head is read once");
                    let response = within("a response head", response).await;
                    let (parts, stream) = response.map_err(|error| error.to_string())?.into_parts();
                    *body = Some(stream);
                    let fields = fields_of(&parts.headers);
                    Head::from_parts(format!("HTTP/2 {}", parts.status.as_str()), fields)
                }
            };
            self.head = Some(head);
        }
        Ok(self.head.clone().expect("just set"))
    }

    /// Status of the response.
    pub async fn status(&mut self) -> u16 {
        self.head().await.status()
    }

    /// The next chunk or DATA frame; `None` at the clean end, `Err` where the body broke off.
    pub async fn try_piece(&mut self) -> Result<Option<Piece>, String> {
        self.try_head().await?;
        match &mut self.side {
            Side::Http1 { wire, framing } => {
                let piece = within("a piece of the response", wire.piece(framing)).await;
                piece.map_err(|error| error.to_string())
            }
            Side::Http2 { body, frames, .. } => {
                let body = body.as_mut().expect("the head was read");
                loop {
                    let data = match within("a piece of the response", body.data()).await {
                        None => return Ok(None),
                        Some(data) => data.map_err(|error| error.to_string())?,
                    };
                    body.flow_control().release_capacity(data.len()).map_err(|error| error.to_string())?;
                    *frames += 1;
                    if !data.is_empty() {
                        return Ok(Some(Piece { data: data.to_vec(), read: *frames, at: Instant::now() }));
                    }
                }
            }
        }
    }

    /// The next chunk or DATA frame, which must come.
    pub async fn piece(&mut self) -> Piece {
        match self.try_piece().await {
            Ok(Some(piece)) => piece,
            Ok(None) => panic!("the response ended where more of it was expected"),
            Err(why) => panic!("the response broke off where more of it was expected: {why}"),
        }
    }

    /// Everything up to the end, clean or not.
    pub async fn rest(&mut self) -> Rest {
        let mut pieces = Vec::new();
        loop {
            match self.try_piece().await {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => return Rest { pieces, cut: None },
                Err(why) => return Rest { pieces, cut: Some(why) },
            }
        }
    }

    /// The whole body, which must end cleanly.
    pub async fn body(&mut self) -> Vec<u8> {
        let rest = self.rest().await;
        assert_eq!(rest.cut, None, "after {:?}", String::from_utf8_lossy(&rest.bytes()));
        rest.bytes()
    }

    /// The whole body as JSON.
    pub async fn json(&mut self) -> serde_json::Value {
        let body = self.body().await;
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&body)))
    }

    /// Closes the connection (FIN, without a word to TLS).
    pub fn close(self) -> Left {
        let left = Left::now();
        if let Side::Http2 { link, .. } = &self.side {
            link.0.abort();
        }
        left
    }

    /// Leaves abruptly: a TCP reset, or RST_STREAM with CANCEL on a connection that stays.
    pub fn reset(self) -> Left {
        let mut left = Left::now();
        match self.side {
            Side::Http1 { wire, .. } => wire.reset(),
            Side::Http2 { mut upload, link, .. } => {
                upload.send_reset(Reason::CANCEL);
                left.link = Some(link);
            }
        }
        left
    }
}

/// A client that left. Held, it keeps open the HTTP/2 connection of a stream that was reset.
#[derive(Debug)]
pub struct Left {
    /// When it did.
    pub at: Instant,
    link: Option<Arc<Link>>,
}

impl Left {
    /// A client that leaves now.
    pub fn now() -> Self {
        Left { at: Instant::now(), link: None }
    }
}

async fn final_head(wire: &mut Wire) -> Result<Head, String> {
    loop {
        match wire.head().await {
            Ok(Some(head)) if head.status() < 200 => {}
            Ok(Some(head)) => return Ok(head),
            Ok(None) => return Err("the connection was closed before a response".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Every field of a header map, as text.
pub fn fields_of(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
