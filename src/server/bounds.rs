//! hyper's servers with every bound set: what one connection of a client may cost.
//!
//! Called by a [connection](super::connection) once it is known which version of HTTP it speaks. What the configuration
//! bounds comes from there; what is left are the constants below.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::stall::Streams;
use crate::config::Config;

/// HTTP/1.1 with all its bounds.
pub(super) fn http1(config: &Config) -> http1::Builder {
    let limits = &config.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.timeouts.request_head)
        .max_header_size(limits.max_head_bytes)
        .max_buf_size(limits.max_head_bytes.max(HTTP1_BUFFER))
        .half_close(false)
        .keep_alive(true)
        .pipeline_flush(false)
        // One `send` for all chunks that are ready: with vectored writes hyper flushes every 16 of them.
        .writev(false);
    // hyper's own default has the same value and needs no allocation per request.
    if limits.max_headers != HTTP1_HEADERS {
        builder.max_headers(limits.max_headers);
    }
    builder
}

/// HTTP/2 with all its bounds.
pub(super) fn http2(config: &Config, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(config.limits.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .adaptive_window(false)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS)
        .max_local_error_reset_streams(HTTP2_ERROR_RESETS)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .enable_connect_protocol();
    builder
}

/// Bytes that hyper reads ahead, and writes behind, per HTTP/1.1 connection.
const HTTP1_BUFFER: usize = 64 << 10;

/// hyper's default for the number of headers.
const HTTP1_HEADERS: usize = 100;

/// Streams that one client may have open on one connection.
const HTTP2_STREAMS: u32 = 128;

/// Request body bytes in flight per stream.
const HTTP2_STREAM_WINDOW: u32 = 64 << 10;

/// Request body bytes in flight per connection.
const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;

/// Response bytes that h2 holds per stream.
const HTTP2_SEND_BUFFER: usize = 64 << 10;

/// Streams opened and reset before they were looked at, after which the connection is closed (rapid reset).
const HTTP2_PENDING_RESETS: usize = 20;

/// Streams reset for errors of the client, after which the connection is closed.
const HTTP2_ERROR_RESETS: usize = 256;

/// How often a client is asked whether it is there.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long its answer may take.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
