//! Errors in plain text, as proxies and frameworks write them in the place of an answer, with status 200.
//!
//! Text may be an answer, so only what can be none is believed: where the dialect is known, whose streams are never plain
//! text, the whole body must be a phrase that stands for a status; of any other AI stream, one of the sentences of a
//! proxy, which nobody but a proxy says. What is not sure is not judged. The [gate](super::gate) waits for it, the
//! [session](super::Session) tells it.

use http::StatusCode;

use crate::dialect::{Dialect, GENERIC};

/// Which phrases are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// None: nobody knows what such a body is.
    Nothing,
    /// Those of proxies.
    Proxies,
    /// All of them.
    Phrases,
}

impl Plain {
    /// For a stream that is read as this dialect.
    pub(super) fn of(dialect: Option<&Dialect>) -> Self {
        match dialect {
            Some(dialect) if *dialect == GENERIC => Plain::Proxies,
            Some(dialect) if dialect.told.is_some() => Plain::Phrases,
            _ => Plain::Nothing,
        }
    }

    /// Whether a body that begins so may become an error in plain text. Cheap; `true` promises nothing.
    pub(super) fn may_be_error(self, beginning: &[u8]) -> bool {
        let text = beginning.trim_ascii();
        let is_line = || memchr::memchr3(b'\n', b'\r', b'{', text).is_none();
        match self {
            Plain::Nothing => false,
            _ if text.is_empty() || text.len() > MAX_BYTES => false,
            Plain::Proxies => PROXIES.iter().any(|(sentence, _)| {
                let both = sentence.len().min(text.len());
                text[..both].eq_ignore_ascii_case(&sentence.as_bytes()[..both])
            }),
            Plain::Phrases => text[0].is_ascii_alphanumeric() && is_line(),
        }
    }

    /// The status that a whole body stands for, if it is an error in plain text.
    pub(super) fn status(self, body: &[u8]) -> Option<StatusCode> {
        if !self.may_be_error(body) {
            return None;
        }
        let text = std::str::from_utf8(body).ok()?.trim().to_ascii_lowercase();
        let of_a_proxy = PROXIES.iter().find(|(sentence, _)| text.starts_with(sentence));
        let status = of_a_proxy.map(|(_, status)| *status);
        let status = status.or_else(|| phrase(&text).filter(|_| self == Plain::Phrases))?;
        StatusCode::from_u16(status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
    }
}

/// The status of `internal server error`, `502 bad gateway`, `error: 404: not found.`, `error code: 1015`.
fn phrase(text: &str) -> Option<u16> {
    let text = text.trim_end_matches(['.', '!']);
    if let Some(number) = text.strip_prefix("error code:") {
        // Cloudflare's own begin at 1000; 1015 is its rate limit.
        return number.trim().parse().ok().map(|number: u16| match number {
            1015 => 429,
            1000.. => 502,
            _ => number,
        });
    }
    let text = text.strip_prefix("error:").unwrap_or(text).trim_start();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, words) = text.split_at(digits);
    let words = words.trim_start_matches([':', ' ', '-']);
    let own = WORDS.iter().find(|(phrase, _)| *phrase == words).map(|(_, status)| *status);
    let is_reason = |status: &u16| {
        let reason = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        reason.is_some_and(|reason| reason.eq_ignore_ascii_case(words))
    };
    let status = own.or_else(|| (400..600).find(is_reason))?;
    if number.is_empty() { Some(status) } else { number.parse().ok() }
}

/// What Envoy says where it has no response to pass on (`local_reply`, seen 2026-11); the first goes on with the reason.
const PROXIES: [(&str, u16); 3] = [
    ("upstream connect error or disconnect/reset before headers", 503),
    ("no healthy upstream", 503),
    ("upstream request timeout", 504),
];

/// Besides the reason phrases of RFC 9110 15.
const WORDS: [(&str, u16); 6] = [
    ("rate limit exceeded", 429),
    ("rate exceeded", 429),
    ("page not found", 404),
    ("server error", 500),
    ("gateway time-out", 504),
    ("stream timeout", 504),
];

/// Longest body that is looked at.
const MAX_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{MCP, OPENAI_CHAT};

    fn status(dialect: Option<&Dialect>, text: &str) -> Option<u16> {
        Plain::of(dialect).status(text.as_bytes()).map(|status| status.as_u16())
    }

    #[test]
    fn phrases_stand_for_their_status_where_text_is_no_answer() {
        for (text, wanted) in [
            ("Internal Server Error", Some(500)),
            (" internal server error\n", Some(500)),
            ("502 Bad Gateway", Some(502)),
            ("404 page not found\n", Some(404)),
            ("429: Too Many Requests", Some(429)),
            ("Error: Service Unavailable.", Some(503)),
            ("rate limit exceeded", Some(429)),
            ("Rate exceeded.", Some(429)),
            ("error code: 1015", Some(429)),
            ("error code: 1020", Some(502)),
            ("error code: 524", Some(524)),
            ("error code: 200", None),
            ("200 Internal Server Error", None),
            ("502", None),
            ("Internal Server Error is what servers say", None),
            ("Hello", None),
            ("data: Internal Server Error", None),
            ("Not Found\nat all", None),
            ("", None),
        ] {
            assert_eq!(status(Some(&OPENAI_CHAT), text), wanted, "{text:?}");
            for other in [Some(&GENERIC), Some(&MCP), None] {
                assert_eq!(status(other, text), None, "{text:?} may be an answer of {other:?}");
            }
        }
    }

    #[test]
    fn sentences_of_proxies_are_no_answer_of_any_ai() {
        let envoy =
            "upstream connect error or disconnect/reset before headers. reset reason: connection timeout";
        for (text, wanted) in
            [(envoy, 503), ("no healthy upstream", 503), ("upstream request timeout\n", 504)]
        {
            for dialect in [&OPENAI_CHAT, &GENERIC] {
                assert_eq!(status(Some(dialect), text), Some(wanted), "{text}");
            }
            assert_eq!((status(Some(&MCP), text), status(None, text)), (None, None));
        }
        assert_eq!(status(Some(&GENERIC), "upstream connect"), None);
        assert_eq!(status(Some(&GENERIC), &(envoy.to_owned() + &"x".repeat(MAX_BYTES))), None);
    }

    #[test]
    fn a_beginning_is_waited_for_only_while_it_may_become_one() {
        for (text, generic, known) in [
            ("u", true, true),
            ("Upstream conn", true, true),
            ("Hello", false, true),
            ("Hello {", false, false),
            ("one\ntwo", false, false),
            ("<p>", false, false),
            ("\n", false, false),
        ] {
            let may_be = |dialect| Plain::of(Some(dialect)).may_be_error(text.as_bytes());
            assert_eq!((may_be(&GENERIC), may_be(&OPENAI_CHAT)), (generic, known), "{text:?}");
        }
        assert!(!Plain::of(None).may_be_error(b"u"));
    }
}
