//! Heads of HTTP/1.1: writes the request's, reads the response's (RFC 9112 2 to 5). Pure.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version, request, response};

use super::framing::Framing;
use crate::upstream::error::Error;

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFraming {
    /// There is none.
    None,
    /// `Content-Length`; this many bytes are still to come.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A final response head, and what it says about the connection.
#[derive(Debug)]
pub struct Head {
    /// Status and fields, as they came but for what RFC 9112 wants mended.
    pub parts: response::Parts,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection may carry another request once the body is through.
    pub keep_alive: bool,
}

/// Writes a request head. Its framing comes from the `size` of the body, not from `head`'s own fields.
pub fn encode(head: &request::Parts, size: Option<u64>) -> (Vec<u8>, RequestFraming) {
    let framing = match size {
        // RFC 9110 8.6: no Content-Length where the method gives a body no meaning and there is none.
        Some(0) if !matches!(head.method, Method::POST | Method::PUT | Method::PATCH) => RequestFraming::None,
        Some(size) => RequestFraming::Length(size),
        None => RequestFraming::Chunked,
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut out = Vec::with_capacity(USUAL_HEAD_BYTES);
    for part in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    // RFC 9112 3.2: Host should come first.
    for host in head.headers.get_all(header::HOST) {
        field(&mut out, "host", host.as_bytes());
    }
    // RFC 9110 10.1.4 and 7.8: both are for the next hop only, and are sent with the option that says so.
    let (mut has_te, mut has_upgrade) = (false, false);
    for (name, value) in &head.headers {
        let name = name.as_str();
        match name {
            "host" | "content-length" | "transfer-encoding" => continue,
            "te" => has_te = true,
            "upgrade" => has_upgrade = true,
            _ => {}
        }
        field(&mut out, name, value.as_bytes());
    }
    for (has, option) in [(has_te, b"TE".as_slice()), (has_upgrade, b"upgrade")] {
        if has {
            field(&mut out, "connection", option);
        }
    }
    match framing {
        RequestFraming::None => {}
        RequestFraming::Length(size) => {
            field(&mut out, "content-length", itoa::Buffer::new().format(size).as_bytes());
        }
        RequestFraming::Chunked => field(&mut out, "transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
    (out, framing)
}

/// Writes the end of a chunked body (RFC 9112 7.1.2).
pub(super) fn encode_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether the connection is to change its protocol after this request (RFC 9110 7.8).
pub(in crate::upstream) fn asks_for_upgrade(request: &request::Parts) -> bool {
    request.headers.contains_key(header::UPGRADE)
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Finds the final response head in what has arrived so far, in pieces of any size.
#[derive(Debug, Default)]
pub struct HeadReader {
    buffer: Vec<u8>,
    /// No end of the head begins before this offset: bytes are searched once, however they come.
    searched: usize,
    /// Bytes of empty lines in front of heads that were dropped.
    blank: usize,
    interim: usize,
    /// Whether the request asked for an upgrade, so that 101 is an answer.
    may_switch: bool,
    /// What came was understood, but is not how a sound server writes: it may mean something else by it.
    doubtful: bool,
}

impl HeadReader {
    /// A reader of the response to `request`.
    pub(super) fn new(request: &request::Parts) -> Self {
        HeadReader { may_switch: asks_for_upgrade(request), ..HeadReader::default() }
    }

    /// Where to append what arrives, and how much of it at most.
    pub fn space(&mut self) -> (&mut Vec<u8>, usize) {
        let room = MAX_HEAD_BYTES.saturating_sub(self.buffer.len());
        (&mut self.buffer, room)
    }

    /// What arrived after the head.
    pub fn into_rest(self) -> Vec<u8> {
        // Room for nothing would be held as long as the body lasts; what there is, is read at once.
        if self.buffer.is_empty() { Vec::new() } else { self.buffer }
    }

    /// The final head, once it is all there; `None` if more is needed. Interim responses (1xx but 101) are dropped:
    /// hyper's server cannot send them on, and of a gateway, which is an origin server to its clients, nobody expects
    /// them (RFC 9110 3.7, 15.2).
    ///
    /// # Errors
    /// What arrived is no HTTP/1 response, is not framed clearly (RFC 9112 6.3), or is past a bound.
    pub fn next(&mut self, method: &Method) -> Result<Option<Head>, Error> {
        loop {
            self.drop_blank_lines()?;
            // RFC 9112 2.3: what does not begin like this is no HTTP/1, and is not worth waiting for.
            let begun = self.buffer.len().min(PROTOCOL.len());
            if self.buffer[..begun] != PROTOCOL[..begun] {
                return Err(Error::Malformed { what: NOT_HTTP });
            }
            if !self.has_end() {
                return match self.buffer.len() {
                    MAX_HEAD_BYTES.. => Err(Error::Malformed { what: "its head is larger than 64 KiB" }),
                    _ => Ok(None),
                };
            }
            let Parsed { length, mended, version, status, headers } = parse(&self.buffer)?;
            self.buffer.drain(..length);
            self.doubtful |= mended || self.blank > 0;
            self.searched = 0;
            let switching = status == StatusCode::SWITCHING_PROTOCOLS;
            if switching && !self.may_switch {
                // RFC 9110 15.2.2: only in answer to an Upgrade.
                return Err(Error::Malformed { what: "status 101 to a request that asked for no upgrade" });
            }
            if switching || !status.is_informational() {
                let mut head = final_head(method, version, status, headers)?;
                head.keep_alive &= !self.doubtful;
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Error::Malformed { what: "too many interim responses" });
            }
        }
    }

    /// RFC 9112 2.2 lets a server ignore empty lines in front of a request; some servers leave one behind a body, too.
    fn drop_blank_lines(&mut self) -> Result<(), Error> {
        let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.buffer.drain(..blank);
        self.blank += blank;
        if self.blank > MAX_BLANK {
            return Err(Error::Malformed { what: "more than 32 bytes of empty lines before its head" });
        }
        Ok(())
    }

    /// Whether an empty line has arrived; remembers how far it has looked.
    fn has_end(&mut self) -> bool {
        for end in memchr::memchr_iter(b'\n', &self.buffer[self.searched..]) {
            let next = &self.buffer[self.searched + end + 1..];
            if next.starts_with(b"\n") || next.starts_with(b"\r\n") {
                return true;
            }
        }
        self.searched = self.buffer.len().saturating_sub(b"\n\r".len());
        false
    }
}

/// A head that was complete.
struct Parsed {
    length: usize,
    /// There were blanks between a name and its colon.
    mended: bool,
    version: Version,
    status: StatusCode,
    headers: HeaderMap,
}

/// Parses a head that is complete. The values share one allocation of just its size.
fn parse(buffer: &[u8]) -> Result<Parsed, Error> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    // RFC 9112 5.1: a proxy takes blanks between a name and its colon out. (5.2: of folded lines it may refuse the
    // response, and 2.2: it must not pass a bare CR; httparse refuses both.)
    parser.allow_spaces_after_header_name_in_responses(true);
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, buffer, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(Error::Malformed { what: "its head ends too early" }),
        Err(error) => return Err(Error::Malformed { what: named(error) }),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Error::Malformed { what: "its status is not a number from 100 to 999" })?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let mended = parsed.headers.iter().any(|field| {
        let end = offset(buffer, field.name.as_bytes()).map(|start| start + field.name.len());
        end.and_then(|end| buffer.get(end)) != Some(&b':')
    });
    Ok(Parsed { length, mended, version, status, headers: to_map(buffer, length, parsed.headers)? })
}

/// Copies `fields`, which were parsed from the first `length` bytes of `buffer`.
fn to_map(buffer: &[u8], length: usize, fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Error> {
    let shared = Bytes::copy_from_slice(&buffer[..length]);
    let mut headers = HeaderMap::with_capacity(fields.len().max(USUAL_FIELDS));
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Error::Malformed { what: "a bad header name" })?;
        let bytes = match offset(&buffer[..length], field.value) {
            Some(start) => shared.slice(start..start + field.value.len()),
            None => Bytes::copy_from_slice(field.value),
        };
        let value = HeaderValue::from_maybe_shared(bytes)
            .map_err(|_| Error::Malformed { what: "a bad header value" })?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Where `part` stands in `buffer`, if it is a part of it.
fn offset(buffer: &[u8], part: &[u8]) -> Option<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(buffer.as_ptr() as usize);
    start.checked_add(part.len()).filter(|end| *end <= buffer.len()).map(|_| start)
}

/// Parses a trailer section, its empty line included.
pub(super) fn parse_trailers(bytes: &[u8]) -> Result<HeaderMap, Error> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete((length, fields))) => to_map(bytes, length, fields),
        Ok(httparse::Status::Partial) => Err(Error::Malformed { what: "its trailers end too early" }),
        Err(error) => Err(Error::Malformed { what: named(error) }),
    }
}

fn named(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::TooManyHeaders => "more than 100 header fields",
        httparse::Error::HeaderName => "a bad header name",
        httparse::Error::HeaderValue => "a bad header value",
        httparse::Error::Status => "a bad status line",
        httparse::Error::Version => NOT_HTTP,
        httparse::Error::NewLine => "a bad line end in its head",
        httparse::Error::Token => "a bad byte in its head",
    }
}

fn final_head(
    method: &Method,
    version: Version,
    status: StatusCode,
    mut headers: HeaderMap,
) -> Result<Head, Error> {
    let Said { chunked, length, length_as_list, closes } = Said::by(&headers)?;
    if let Some(length) = length.filter(|_| length_as_list) {
        // RFC 9110 8.6: a list of the same number is forwarded as that number.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    // RFC 9112 6.3, in its order of precedence.
    let bodyless = method == Method::HEAD || matches!(status.as_u16(), 101 | 204 | 304);
    // RFC 9112 6.1, RFC 9110 8.6: 204 must not announce a body. Whether one comes, nobody can know.
    let doubtful = status == StatusCode::NO_CONTENT && (chunked || length.is_some_and(|length| length > 0));
    let framing = match length {
        _ if bodyless => Framing::None,
        _ if chunked => Framing::Chunked,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    let keep_alive = version == Version::HTTP_11
        && framing != Framing::Close
        && !doubtful
        // RFC 9112 6.3 rule 3: both is an attempt at smuggling, or a bug.
        && !(chunked && length.is_some())
        && !closes;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    (parts.status, parts.version, parts.headers) = (status, version, headers);
    Ok(Head { parts, framing, keep_alive })
}

/// What the fields of a head say about its body and the connection.
#[derive(Default)]
struct Said {
    /// The body is chunked. The only transfer coding that is known, since no other is asked for (RFC 9112 7.4); the same
    /// field twice is a common slip of servers behind a framework that adds its own, and means the same. In HTTP/1.0,
    /// where it must not be (RFC 9112 6.1), it is what simple servers send that write chunks by hand: it is read as
    /// strictly as ever, and the connection is not used again.
    chunked: bool,
    /// `Content-Length`.
    length: Option<u64>,
    /// It came more than once, or as a list.
    length_as_list: bool,
    /// `Connection: close`.
    closes: bool,
}

impl Said {
    fn by(headers: &HeaderMap) -> Result<Self, Error> {
        let mut said = Said::default();
        for (name, value) in headers {
            let value = value.as_bytes();
            match name.as_str() {
                "transfer-encoding" if value.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
                    said.chunked = true;
                }
                "transfer-encoding" => {
                    return Err(Error::Malformed { what: "a transfer coding other than chunked" });
                }
                "content-length" => said.length(value)?,
                "connection" => said.closes |= has_close(value),
                _ => {}
            }
        }
        Ok(said)
    }

    /// RFC 9110 8.6: the same number may be repeated, by fields or in a list; anything else is an error.
    fn length(&mut self, field: &[u8]) -> Result<(), Error> {
        self.length_as_list |= self.length.is_some() || !field.iter().all(u8::is_ascii_digit);
        for item in field.split(|byte| *byte == b',') {
            let item = decimal(item.trim_ascii()).ok_or(Error::Malformed { what: "a bad Content-Length" })?;
            if self.length.is_some_and(|length| length != item) {
                return Err(Error::Malformed { what: "several Content-Lengths that differ" });
            }
            self.length = Some(item);
        }
        Ok(())
    }
}

/// Whether a field `Connection` has the option `close`.
fn has_close(field: &[u8]) -> bool {
    field.split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Digits only: no sign, no blank, no overflow.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Most request heads are shorter.
const USUAL_HEAD_BYTES: usize = 1 << 10;

/// There is room for as many fields at least: for those that are added, and since hyper puts the next request of the client's
/// connection into the same map, in which what goes up is made.
const USUAL_FIELDS: usize = 24;

/// How every response begins.
const PROTOCOL: &[u8] = b"HTTP/1.";

const NOT_HTTP: &str = "it does not start with HTTP/1.0 or HTTP/1.1";

/// Most bytes of empty lines before a head, those of interim responses included.
const MAX_BLANK: usize = 32;

/// Largest response head, interim responses and what came in the same read not counted twice.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Most header fields of a response, and most fields of a trailer section.
const MAX_HEADERS: usize = 100;

/// Most interim responses (100, 102, 103) before the final one: more is a loop.
const MAX_INTERIM: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(method: Method, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut builder = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn encoded(method: Method, size: Option<u64>) -> String {
        let fields =
            [("accept", "*/*"), ("content-length", "99"), ("host", "up"), ("x-a", "1"), ("x-a", "2")];
        let (bytes, _) = encode(&request(method, "/v1/chat?x=1", &fields), size);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn request_head_has_host_first_and_only_its_own_framing() {
        assert_eq!(
            encoded(Method::POST, Some(5)),
            "POST /v1/chat?x=1 HTTP/1.1\r\nhost: up\r\naccept: */*\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 5\r\n\r\n"
        );
        assert!(encoded(Method::POST, None).ends_with("x-a: 2\r\ntransfer-encoding: chunked\r\n\r\n"));
        assert!(encoded(Method::POST, Some(0)).ends_with("content-length: 0\r\n\r\n"));
    }

    #[test]
    fn request_head_has_no_framing_when_get_or_head_has_no_body() {
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            assert!(encoded(method, Some(0)).ends_with("x-a: 2\r\n\r\n"));
        }
        assert!(encoded(Method::GET, Some(3)).ends_with("content-length: 3\r\n\r\n"));
    }

    /// Feeds `pieces` and returns the head and what is left after it.
    fn read<'a>(
        method: &Method,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<(Head, Vec<u8>)>, Error> {
        let mut reader = HeadReader::default();
        let mut head = None;
        for piece in pieces {
            reader.space().0.extend_from_slice(piece);
            if head.is_none() {
                head = reader.next(method)?;
            }
        }
        Ok(head.map(|head| (head, reader.into_rest())))
    }

    fn whole(bytes: &str) -> Result<Head, Error> {
        Ok(read(&Method::GET, [bytes.as_bytes()])?.expect("a complete head").0)
    }

    fn framing(fields: &str) -> Result<(Framing, bool), &'static str> {
        match whole(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")) {
            Ok(head) => Ok((head.framing, head.keep_alive)),
            Err(Error::Malformed { what }) => Err(what),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn framing_follows_rfc_9112_6_3() {
        assert_eq!(framing("Content-Length: 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(framing("Content-Length: 5\r\nContent-Length: 5, 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok((Framing::None, true)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok((Framing::Chunked, true)));
        assert_eq!(framing(""), Ok((Framing::Close, false)));
        assert_eq!(framing("Connection: x, Close\r\nContent-Length: 5\r\n"), Ok((Framing::Length(5), false)));
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(framing(twice), Ok((Framing::Chunked, true)));
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(framing(both), Ok((Framing::Chunked, false)));
    }

    #[test]
    fn framing_is_refused_when_it_is_ambiguous() {
        for bad in ["5, 6", "+5", "-1", "5 5", "", "0x5", "18446744073709551616", "5,"] {
            assert!(framing(&format!("Content-Length: {bad}\r\n")).is_err(), "{bad}");
        }
        assert!(framing("Content-Length: 5\r\nContent-Length: 6\r\n").is_err());
        for bad in ["gzip", "chunked, gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked", ""]
        {
            assert!(framing(&format!("Transfer-Encoding: {bad}\r\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn body_is_none_when_method_or_status_says_so() {
        let bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let (head, _) = read(&Method::HEAD, [bytes.as_bytes()]).unwrap().unwrap();
        assert_eq!((head.framing, head.keep_alive), (Framing::None, true));
        for (status, fields, kept) in [
            (204, "", true),
            (204, "Content-Length: 0\r\n", true),
            (204, "Content-Length: 1\r\n", false),
            (204, "Transfer-Encoding: chunked\r\n", false),
            (304, "Content-Length: 1\r\n", true),
            (304, "Transfer-Encoding: chunked\r\n", true),
        ] {
            let head = whole(&format!("HTTP/1.1 {status}\r\n{fields}\r\n")).unwrap();
            assert_eq!((head.framing, head.keep_alive), (Framing::None, kept), "{status} {fields}");
        }
    }

    #[test]
    fn length_that_was_repeated_is_told_once() {
        let head = whole("HTTP/1.1 200 OK\r\nContent-Length: 5, 05\r\nContent-Length: 5\r\n\r\n").unwrap();
        let lengths: Vec<_> = head.parts.headers.get_all("content-length").iter().collect();
        assert_eq!(lengths, ["5"]);
    }

    #[test]
    fn blanks_before_a_colon_are_taken_out() {
        let head = whole("HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nX\t: y\r\n\r\n").unwrap();
        assert_eq!((head.framing, &head.parts.headers["x"]), (Framing::Chunked, &"y".parse().unwrap()));
        assert!(!head.keep_alive, "it may mean something else by it");
    }

    #[test]
    fn what_cannot_become_a_head_is_refused_at_once() {
        for bad in ["S", "HTTP/2", "http/1.1", "HTTX", " HTTP/1.1", "\u{15}\u{3}\u{3}", "{"] {
            let error = read(&Method::GET, [bad.as_bytes()]).unwrap_err();
            assert!(matches!(error, Error::Malformed { what: NOT_HTTP }), "{bad:?}");
        }
        let blank = "\r\n".repeat(MAX_BLANK / 2);
        let head = whole(&format!("{blank}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).unwrap();
        assert!(!head.keep_alive, "they may be left from the body before");
        assert!(read(&Method::GET, [blank.as_bytes(), b"\n"]).is_err());
    }

    #[test]
    fn connection_is_not_kept_when_the_upstream_speaks_http_1_0() {
        let head = whole("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n").unwrap();
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(5), false));
        assert_eq!(whole("HTTP/1.0 200 OK\r\n\r\n").unwrap().framing, Framing::Close);
    }

    #[test]
    fn interim_responses_are_dropped_up_to_a_bound() {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        let head = whole(&format!("{interim}HTTP/1.1 201 Created\r\nX: y\r\n\r\n")).unwrap();
        assert_eq!(head.parts.status, StatusCode::CREATED);
        assert!(!head.parts.headers.contains_key("link"));
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1);
        assert!(matches!(whole(&endless), Err(Error::Malformed { .. })));
        assert!(matches!(whole("HTTP/1.1 101 Switch\r\n\r\n"), Err(Error::Malformed { .. })));
    }

    #[test]
    fn head_is_refused_by_name_when_it_is_too_large() {
        let field = format!("X: {}\r\n", "y".repeat(MAX_HEAD_BYTES));
        let error = read(&Method::GET, [format!("HTTP/1.1 200 OK\r\n{field}").as_bytes()]).unwrap_err();
        assert_eq!(error.to_string(), "malformed response: its head is larger than 64 KiB");
        assert_eq!(framing(&"X: y\r\n".repeat(MAX_HEADERS + 1)), Err("more than 100 header fields"));
        assert!(framing(&"X: y\r\n".repeat(MAX_HEADERS)).is_ok());
    }

    #[test]
    fn head_is_refused_when_it_is_not_http() {
        for bad in
            ["SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 2x\r\n\r\n"]
        {
            assert!(matches!(whole(bad), Err(Error::Malformed { .. })), "{bad}");
        }
    }

    #[test]
    fn head_keeps_the_multiplicity_of_its_fields() {
        let head =
            whole("\r\nHTTP/1.1 200\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX: \u{e4}\r\n\r\n").unwrap();
        let cookies: Vec<_> = head.parts.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(head.parts.headers["x"].as_bytes(), "\u{e4}".as_bytes());
    }

    const SAMPLE: &[u8] =
        b"\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nA: 1\r\nContent-Length: 7\r\n\r\nbody...";

    fn assert_sample(pieces: Vec<&[u8]>) {
        let (head, rest) = read(&Method::GET, pieces).unwrap().unwrap();
        assert_eq!((head.parts.status.as_u16(), head.framing), (200, Framing::Length(7)));
        assert_eq!(head.parts.headers.len(), 2);
        assert_eq!(rest, b"body...");
    }

    #[test]
    fn head_is_the_same_whole_and_byte_by_byte() {
        assert_sample(vec![SAMPLE]);
        assert_sample(SAMPLE.chunks(1).collect());
    }

    proptest! {
        #[test]
        fn head_is_the_same_at_random_cuts(mut cuts in prop::collection::vec(0..SAMPLE.len(), 0..8)) {
            cuts.extend([0, SAMPLE.len()]);
            cuts.sort_unstable();
            assert_sample(cuts.windows(2).map(|cut| &SAMPLE[cut[0]..cut[1]]).collect());
        }

        #[test]
        fn head_reader_never_panics(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let _ = read(&Method::GET, pieces.iter().map(Vec::as_slice));
        }
    }
}
