//! The answers to a head that hyper does not read to its end: what hyper does not say, or says too coarsely.
//!
//! hyper drops a connection whose head does not come without a word, and calls every head past a bound 431, also where it
//! is the target that is too long. Called by [`super::connection`], which writes the answer; all others are hyper's.

/// An answer without a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its status.
    pub(super) status: u16,
    /// All of it, as it is written.
    pub(super) bytes: &'static [u8],
}

/// The head did not come in time (RFC 9110 15.5.9).
pub(super) const TIMED_OUT: Refusal = Refusal {
    status: 408,
    bytes: b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
};

/// The request line alone is past the bound (RFC 9112 3: "MUST respond with a 414").
const TARGET_TOO_LONG: Refusal = Refusal {
    status: 414,
    bytes: b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
};

/// The head is past a bound (RFC 6585 5).
pub(super) const HEAD_TOO_LARGE: Refusal = Refusal {
    status: 431,
    bytes: b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
};

/// The answer to what hyper read of a head before it found that too large; `bound` is that of the whole head, in bytes.
pub(super) fn too_large(head: &[u8], bound: usize) -> Refusal {
    // RFC 9112 2.2: empty lines may come before a request.
    let blank = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let head = &head[blank..];
    let line = &head[..bound.min(head.len())];
    let has_target = line.contains(&b' ');
    if has_target && !line.contains(&b'\n') { TARGET_TOO_LONG } else { HEAD_TOO_LARGE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_at_fault_where_its_line_alone_is_past_the_bound() {
        let cases = [
            ("GET /0123456789 HTTP/1.1\r\n", 414),
            ("\r\n\nGET /0123456789", 414),
            ("GET /0123456789", 414),
            ("GET / HTTP/1.1\r\nname: value", 431),
            ("GET / HTTP/1\n", 431),
            ("0123456789012345 /", 431),
            ("", 431),
        ];
        for (head, status) in cases {
            assert_eq!(too_large(head.as_bytes(), 16).status, status, "{head:?}");
        }
    }

    #[test]
    fn refusals_say_their_status_and_that_the_connection_closes() {
        for refusal in [TIMED_OUT, TARGET_TOO_LONG, HEAD_TOO_LARGE] {
            let text = String::from_utf8_lossy(refusal.bytes);
            assert!(text.starts_with(&format!("HTTP/1.1 {} ", refusal.status)), "{text}");
            assert!(text.ends_with("\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), "{text}");
        }
    }
}
