//! What an upstream says of its own error: the words, and the status that it names.
//!
//! Read only where an error was found in place of an answer, once per stream at the most; an answer is never parsed.
//! Servers say it in many forms, none of them a standard: the fields below are those of OpenAI (`error.message`, `code`,
//! `type`; in `response` too), Anthropic (`error.type`), Google (`error.code`, `error.status`), DashScope (`code`, and a comment
//! `:HTTP_STATUS/400`), Dify (`status`), Baidu (`error_code`, `error_msg`), MiniMax (`base_resp`), Coze and Zhipu (`code`,
//! `msg`), iFlytek (`header`), Tencent (`Response.Error`), Cloudflare (`errors`), FastAPI (`detail`) and AWS (the name of the
//! exception, `__type`), as their references have them (seen 2026-11).

use http::StatusCode;
use memchr::memmem;
use serde_json::Value;

use crate::codec::{Data, Event};
use crate::dialect::{COZE, Dialect, GENERIC, Sign};

/// An upstream's own account of its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quote {
    status: Option<StatusCode>,
    words: Option<String>,
    body: Option<Vec<u8>>,
}

impl Quote {
    /// Of an error: the data of an event, or a body. `name` is that of the event.
    pub(super) fn of(name: &[u8], text: &[u8], dialect: Option<&Dialect>) -> Self {
        let Ok(text) = std::str::from_utf8(text.trim_ascii()) else {
            return Quote { status: None, words: None, body: None };
        };
        let Some(value) = object(text.as_bytes()) else {
            let words = Some(text).filter(|text| !text.is_empty() && !text.starts_with('<'));
            return Quote { status: named(name), words: words.map(clipped), body: None };
        };
        let event = Event {
            name: Some(name).filter(|name| !name.is_empty()),
            data: Data::Line(text.as_bytes()),
            ..Event::default()
        };
        let reads_it = |dialect: &Dialect| *dialect != GENERIC && (dialect.sign)(&event) == Sign::Error;
        Quote {
            status: status(&value).or_else(|| named(name)),
            words: Some(clipped(words(&value).unwrap_or(text))),
            body: dialect.is_some_and(reads_it).then(|| text.as_bytes().to_vec()),
        }
    }

    /// With this status, if the error itself names none.
    pub(super) fn or_status(self, status: Option<StatusCode>) -> Self {
        Quote { status: self.status.or(status), ..self }
    }

    /// With fewer words: `bytes` of them at the most.
    pub(super) fn clipped(&self, bytes: usize) -> Self {
        let words = self.words.as_deref().map(|words| words[..words.floor_char_boundary(bytes)].to_owned());
        Quote { words, ..self.clone() }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// For people.
    pub(super) fn words(&self) -> Option<&str> {
        self.words.as_deref()
    }

    /// The error as it came, where clients of the dialect read it.
    pub(super) fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }
}

/// Whether this JSON object is an error and nothing else: what stands where an answer should be is believed to be one only
/// if it says so and has no answer in it. Where the dialect is not known, whatever may be a success passes: codes of their
/// own, or a lone `detail`, stand in answers of task queues too.
pub(super) fn is_error(text: &[u8], dialect: Option<&Dialect>) -> bool {
    if !may_be_error(text) {
        return false;
    }
    let Some(value) = object(text) else { return false };
    let has = |key: &str| value.get(key).is_some_and(|value| !is_nothing(value));
    if ANSWERS.into_iter().any(has) {
        return false;
    }
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let failed = |value: Option<&Value>| value.and_then(number).is_some_and(|code| code != 0);
    let told = |key: &str| value.get(key).is_some_and(Value::is_string);
    let says = |key: &str| {
        let words = value.get(key).and_then(Value::as_str);
        words.is_some_and(|words| !SUCCESSES.contains(&words.trim().to_ascii_lowercase().as_str()))
    };
    let known = dialect.filter(|dialect| **dialect != GENERIC);
    let code = value.get("code");
    let is_code = match (code.and_then(number), code.and_then(Value::as_str)) {
        // Coze's alone are errors but for 0: others take 1 or 200 for a success.
        (Some(code), _) if known == Some(&COZE) => code != 0,
        (Some(code), _) => code >= 400 && (known.is_some() || code < 600),
        // "InvalidApiKey" is known anywhere; "Arrearage" could be "Accepted".
        (None, Some(word)) if known.is_none() => named(word.as_bytes()).is_some(),
        (None, Some(word)) => !word.is_empty() && !SUCCESSES.contains(&word.to_ascii_lowercase().as_str()),
        (None, None) => false,
    };
    has("error")
        || failed(value.get("error_code")) && told("error_msg")
        || failed(value.pointer("/base_resp/status_code"))
        || is_code && (says("message") || says("msg"))
        || ["type", "status"].iter().any(|key| value.get(key).and_then(Value::as_str) == Some("error"))
            && told("message")
        || value.get("success") == Some(&Value::Bool(false))
            && (has("errors") || told("message") || told("msg"))
        || failed(value.pointer("/header/code")) && !has("payload")
        || value.pointer("/Response/Error/Message").is_some_and(Value::is_string)
        || told("__type") && (told("message") || told("Message"))
        || known.is_some() && has("detail") && value.as_object().is_some_and(|object| object.len() == 1)
}

/// Whether one line of data is an error, in a stream of which no more is known than the dialect.
pub(crate) fn is_error_line(line: &[u8], known: Option<&'static Dialect>) -> bool {
    is_suspect(line) && is_error(line, known)
}

/// Whether a line of data may be an error. Cheap; `true` promises nothing.
pub(super) fn is_suspect(line: &[u8]) -> bool {
    line.len() <= MAX_LINE && may_be_error(line)
}

/// Whether this JSON object has words in it that an error may have.
pub(super) fn has_words(text: &[u8]) -> bool {
    object(text).is_some_and(|value| words(&value).is_some())
}

/// The object in which the words and the code stand, if it is not the whole.
fn inner(value: &Value) -> Option<&Value> {
    let places = ["/error", "/response/error", "/Response/Error", "/header", "/errors/0"];
    places.iter().filter_map(|place| value.pointer(place)).find(|inner| inner.is_object())
}

/// Whether an object that begins so may be an error. Cheap; `true` promises nothing.
pub(super) fn may_be_error(beginning: &[u8]) -> bool {
    let beginning = beginning.trim_ascii_start();
    let text = &beginning[..beginning.len().min(LOOK_BYTES)];
    // One pass for all of them: each begins with a quote.
    let is_key = |at: usize| {
        let is_it = |key: &&[u8]| text.get(at + 1) == key.get(1) && text[at..].starts_with(key);
        KEYS.iter().any(is_it)
    };
    beginning.first() == Some(&b'{') && memchr::memchr_iter(b'"', text).any(is_key)
}

/// The status that a line of DashScope's names: `:HTTP_STATUS/400`.
pub(super) fn status_line(written: &[u8]) -> Option<StatusCode> {
    let at = memmem::rfind(written, STATUS_LINE)? + STATUS_LINE.len();
    std::str::from_utf8(written.get(at..at + 3)?).ok()?.parse().ok().and_then(error_status)
}

fn object(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok().filter(Value::is_object)
}

/// Null, false, 0, or empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn words(value: &Value) -> Option<&str> {
    let objects = inner(value).into_iter().chain([value]).chain(value.get("base_resp"));
    // Last, since Spring says `{"error":"Not Found","message":"…"}`.
    let short = text(value, "error");
    objects.flat_map(|object| WORDS.iter().filter_map(|key| text(object, key))).next().or(short)
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// The status that an error names: as a number, else by a word that stands for one.
fn status(value: &Value) -> Option<StatusCode> {
    let objects = || inner(value).into_iter().chain([value]);
    let fields = |keys: &'static [&str]| {
        objects().flat_map(move |object| keys.iter().filter_map(move |key| object.get(key)))
    };
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let by_number = fields(&["code", "status", "status_code", "statusCode", "http_status"])
        .filter_map(number)
        .find_map(|number| u16::try_from(number).ok().and_then(error_status));
    by_number.or_else(|| {
        let mut words = fields(&["code", "status", "type", "__type"]).filter_map(Value::as_str);
        words.find_map(|word| named(word.as_bytes()))
    })
}

fn error_status(number: u16) -> Option<StatusCode> {
    StatusCode::from_u16(number).ok().filter(|status| status.is_client_error() || status.is_server_error())
}

/// The status that this word stands for.
fn named(word: &[u8]) -> Option<StatusCode> {
    let (_, status) = NAMES.iter().find(|(names, _)| names.iter().any(|name| name.as_bytes() == word))?;
    error_status(*status)
}

/// The beginning, if it is long: nobody reads more.
fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_WORDS)].to_owned()
}

/// What stands in answers. An error of JSON-RPC is an answer to its caller (MCP, A2A), with status 200.
const ANSWERS: [&str; 7] = ["choices", "candidates", "output", "data", "result", "results", "jsonrpc"];

/// Where words stand, the best first.
const WORDS: [&str; 8] =
    ["message", "error_msg", "errorText", "detail", "msg", "status_msg", "error_description", "Message"];

/// Codes that say that all is well.
const SUCCESSES: [&str; 6] = ["success", "ok", "succeeded", "成功", "请求成功", "操作成功"];

/// What stands in errors, near their beginning.
const KEYS: [&[u8]; 9] = [
    b"\"error\"",
    b"\"error_",
    b"\"base_resp\"",
    b"\"code\"",
    b"\"detail\"",
    b"\"message\"",
    b"\"errors\"",
    b"\"Error\"",
    b"\"success\"",
];

const STATUS_LINE: &[u8] = b":HTTP_STATUS/";

/// How far [`may_be_error`] looks.
const LOOK_BYTES: usize = 512;

/// A longer event is no error.
const MAX_LINE: usize = 64 << 10;

/// Longest account of an error that is passed on, in bytes.
const MAX_WORDS: usize = 4 << 10;

/// Words for statuses. 529 is Anthropic's own for "overloaded".
const NAMES: [(&[&str], u16); 12] = [
    (
        &[
            "invalid_request_error",
            "context_length_exceeded",
            "INVALID_ARGUMENT",
            "FAILED_PRECONDITION",
            "InvalidParameter",
            "DataInspectionFailed",
            "validationException",
        ],
        400,
    ),
    (&["authentication_error", "invalid_api_key", "UNAUTHENTICATED", "InvalidApiKey"], 401),
    (&["billing_error"], 402),
    (&["permission_error", "PERMISSION_DENIED", "AccessDenied", "accessDeniedException"], 403),
    (&["not_found_error", "model_not_found", "NOT_FOUND", "ModelNotFound"], 404),
    (&["request_too_large"], 413),
    (
        &[
            "rate_limit_error",
            "rate_limit_exceeded",
            "insufficient_quota",
            "RESOURCE_EXHAUSTED",
            "Throttling",
            "Throttling.RateQuota",
            "Throttling.AllocationQuota",
            "throttlingException",
            "ThrottlingException",
        ],
        429,
    ),
    (&["api_error", "server_error", "INTERNAL", "InternalError", "internalServerException"], 500),
    (&["UNAVAILABLE", "serviceUnavailableException"], 503),
    (&["timeout_error", "DEADLINE_EXCEEDED"], 504),
    (&["modelTimeoutException"], 408),
    (&["overloaded_error"], 529),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{ANTHROPIC, DASHSCOPE, OPENAI_CHAT};

    #[test]
    fn status_is_the_one_that_the_error_names() {
        for (text, status) in [
            (
                r#"{"error":{"message":"x","type":"invalid_request_error","code":"invalid_api_key"}}"#,
                Some(401),
            ),
            (r#"{"error":{"message":"x","type":"tokens","code":"rate_limit_exceeded"}}"#, Some(429)),
            (r#"{"error":{"message":"x","code":429}}"#, Some(429)),
            (r#"{"error":{"message":"x","code":"503"}}"#, Some(503)),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, Some(529)),
            (r#"{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT"}}"#, Some(400)),
            (r#"{"error":{"message":"x","status":"RESOURCE_EXHAUSTED"}}"#, Some(429)),
            (r#"{"event":"error","status":404,"code":"not_found","message":"x"}"#, Some(404)),
            (r#"{"code":"InvalidApiKey","message":"x","request_id":"r"}"#, Some(401)),
            (r#"{"error_code":17,"error_msg":"x"}"#, None),
            (r#"{"code":4000,"msg":"x"}"#, None),
            (r#"{"code":429,"msg":"x"}"#, Some(429)),
            (r#"{"success":false,"errors":[{"code":403,"message":"x"}]}"#, Some(403)),
            (r#"{"__type":"ThrottlingException","message":"x"}"#, Some(429)),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"x"}}}"#,
                Some(429),
            ),
            (r#"{"error":{"message":"x","code":200}}"#, None),
            (r#"{"error":{"message":"x","code":99999999999}}"#, None),
            ("nothing", None),
        ] {
            let quote = Quote::of(b"", text.as_bytes(), None);
            assert_eq!(quote.status().map(|status| status.as_u16()), status, "{text}");
        }
        let exception = Quote::of(b"throttlingException", br#"{"message":"slow down"}"#, None);
        assert_eq!(
            (exception.status().map(|it| it.as_u16()), exception.words()),
            (Some(429), Some("slow down"))
        );
        assert_eq!(status_line(b"id: 1\n:HTTP_STATUS/400\n"), Some(StatusCode::BAD_REQUEST));
        assert_eq!(status_line(b":HTTP_STATUS/200\n"), None);
        assert_eq!(status_line(b":HTTP_STATUS/4"), None);
    }

    #[test]
    fn words_are_the_upstreams_and_never_a_page() {
        for (text, words) in [
            (r#"{"error":{"message":"boom"}}"#, Some("boom")),
            (r#"{"error":"boom"}"#, Some("boom")),
            (r#"{"status":404,"error":"Not Found","message":"boom"}"#, Some("boom")),
            (r#"{"error_code":17,"error_msg":"boom"}"#, Some("boom")),
            (r#"{"base_resp":{"status_code":1004,"status_msg":"boom"}}"#, Some("boom")),
            (r#"{"type":"error","errorText":"boom"}"#, Some("boom")),
            (r#"{"code":4000,"msg":"boom"}"#, Some("boom")),
            (r#"{"success":false,"errors":[{"code":1,"message":"boom"}]}"#, Some("boom")),
            (r#"{"header":{"code":1,"message":"boom"}}"#, Some("boom")),
            (r#"{"Response":{"Error":{"Code":"c","Message":"boom"}}}"#, Some("boom")),
            (r#"{"response":{"status":"failed","error":{"message":"boom"}}}"#, Some("boom")),
            (r#"{"detail":[{"loc":1}]}"#, Some(r#"{"detail":[{"loc":1}]}"#)),
            (" boom \n", Some("boom")),
            ("<html>boom</html>", None),
            ("", None),
        ] {
            assert_eq!(Quote::of(b"", text.as_bytes(), None).words(), words, "{text}");
        }
        assert_eq!(Quote::of(b"", b"\xff\xfe", None).words(), None);
        let long = "\u{4f60}".repeat(MAX_WORDS);
        let quote = Quote::of(b"", long.as_bytes(), None);
        assert!(quote.words().is_some_and(|words| words.len() <= MAX_WORDS && long.starts_with(words)));
    }

    #[test]
    fn body_is_kept_where_clients_of_the_dialect_read_it() {
        let body = |text: &str, dialect| Quote::of(b"", text.as_bytes(), dialect).body().map(<[u8]>::to_vec);
        let own = r#"{"error":{"message":"x"}}"#;
        assert_eq!(body(own, Some(&OPENAI_CHAT)), Some(own.as_bytes().to_vec()));
        assert_eq!(body(own, Some(&GENERIC)), None);
        assert_eq!(body(own, None), None);
        assert_eq!(body(r#"{"error_code":17}"#, Some(&OPENAI_CHAT)), None);
        assert_eq!(Quote::of(b"error", b"overloaded", Some(&ANTHROPIC)).body(), None);
    }

    #[test]
    fn answers_are_not_taken_for_errors() {
        for error in [
            r#"{"error":{"message":"x"}}"#,
            r#"{"error":"x","choices":[]}"#,
            r#"{"error_code":17,"error_msg":"x","id":"as-1"}"#,
            r#"{"base_resp":{"status_code":1004,"status_msg":"x"}}"#,
            r#"{"code":"InvalidApiKey","message":"x"}"#,
            r#"{"code":500,"message":"x","data":null}"#,
            r#"{"type":"error","message":"x"}"#,
            r#"{"code":1002,"msg":"bad key","success":false}"#,
            r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"result":null}"#,
            r#"{"header":{"code":10013,"message":"blocked","sid":"s"}}"#,
            r#"{"Response":{"Error":{"Code":"AuthFailure","Message":"x"},"RequestId":"r"}}"#,
            r#"{"__type":"ThrottlingException","message":"slow down"}"#,
            r#"{"status":"error","message":"x"}"#,
        ] {
            for dialect in [None, Some(&GENERIC), Some(&OPENAI_CHAT)] {
                assert!(is_error(error.as_bytes(), dialect), "{error}");
            }
        }
        for answer in [
            r#"{"object":"response","error":null,"output":[]}"#,
            r#"{"error":null,"choices":[{}]}"#,
            r#"{"error":{"message":"x"},"choices":[{}]}"#,
            r#"{"error_code":0,"error_msg":"ok"}"#,
            r#"{"base_resp":{"status_code":0,"status_msg":"success"},"reply":"x"}"#,
            r#"{"code":0,"message":"ok"}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"x"}}"#,
            r#"{"code":200,"message":"success","data":{}}"#,
            r#"{"code":"success","message":"done"}"#,
            r#"{"message":"hello"}"#,
            r#"{"msg":"hello","code":0}"#,
            r#"{"code":200,"msg":"hello"}"#,
            r#"{"code":20000,"msg":"成功"}"#,
            r#"{"code":20000,"message":"OK"}"#,
            r#"{"code":1,"msg":"hello"}"#,
            r#"{"code":4000,"msg":"x","data":{"answer":"x"}}"#,
            r#"{"success":true,"message":"hello"}"#,
            r#"{"success":false}"#,
            r#"{"header":{"code":0},"payload":{"text":"x"}}"#,
            r#"{"status":"success","message":"hello"}"#,
            r#"{"detail":"x","more":1}"#,
            r#"[{"error":1}]"#,
            r#"{"error":"#,
            "",
        ] {
            for dialect in [None, Some(&GENERIC), Some(&OPENAI_CHAT)] {
                assert!(!is_error(answer.as_bytes(), dialect), "{answer}");
            }
        }
    }

    /// A gateway of tasks said `{"code":20000,"message":"…"}` for "accepted", and its client got a 502 in place of the name
    /// of its task.
    #[test]
    fn what_may_be_a_success_is_an_error_only_where_the_dialect_is_known() {
        for text in [
            r#"{"code":20000,"message":"queued","task_id":"t1"}"#,
            r#"{"code":4000,"msg":"The field bot_id is required.","detail":{"logid":"1"}}"#,
            r#"{"code":700012006,"msg":"access token invalid"}"#,
            r#"{"request_id":"r","code":"Arrearage","message":"Access denied"}"#,
            r#"{"code":"PENDING","message":"queued"}"#,
            r#"{"detail":"accepted"}"#,
        ] {
            for unknown in [None, Some(&GENERIC)] {
                assert!(!is_error(text.as_bytes(), unknown), "{text}");
            }
            for known in [&COZE, &DASHSCOPE, &OPENAI_CHAT] {
                assert!(is_error(text.as_bytes(), Some(known)), "{}: {text}", known.name);
            }
        }
        let small = br#"{"code":101,"msg":"no such bot"}"#;
        assert!(is_error(small, Some(&COZE)) && !is_error(small, Some(&OPENAI_CHAT)));
        let done = r#"{"code":20000,"message":"请求成功","task_id":"t1"}"#.as_bytes();
        assert!(!is_error(done, Some(&OPENAI_CHAT)) && !is_error(done, None));
    }
}
