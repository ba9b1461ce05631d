//! One request from head to response.

use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::relay::Body;
use crate::server::client::Client;
use crate::server::worker::Worker;

/// Answers one request.
pub async fn handle(request: Request<Incoming>, client: Rc<Client>, worker: Rc<Worker>) -> Response<Body> {
    let _ = (request, client, worker);
    Response::new(Body::full(bytes::Bytes::from_static(b"hello\n")))
}
