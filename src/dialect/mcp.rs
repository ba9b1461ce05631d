//! The Model Context Protocol over Streamable HTTP: JSON-RPC messages as events.
//!
//! Form: MCP 2025-06-18, 2025-11-25 and 2026-07-28, "Transports". The JSON-RPC response ends the stream of a POST.
//! A server may close a stream before it, and a client then resumes it by the id of the last event, so a clean end
//! without a response says nothing. What is invented here could be taken for a message of the server: nothing is.

use crate::codec::Event;
use crate::stream::Failure;

use super::{Dialect, Finishes, Manual, Place, Places, Sign, no_kind, object, pointer};

/// Ends with a JSON-RPC response; broken streams are cut.
pub static MCP: Dialect = Dialect {
    name: "mcp",
    doc: "Model Context Protocol: ends with the JSON-RPC response; a broken stream is cut",
    paths: &["/mcp", "/mcp/"],
    headers: &["mcp-protocol-version", "mcp-session-id"],
    confirms: |event| object(event).is_some_and(|json| pointer::member(json, "jsonrpc") == Some(b"\"2.0\"")),
    evident: |_| false,
    sign,
    finishes: Finishes::Never,
    kind: no_kind,
    choices: None,
    places: Places {
        text: &[Place::any("/result/content/*/text")],
        growing: &[],
        other: &[Place::any("/result"), Place::any("/method")],
        finish: &[],
        usage: &[],
        changing: &[],
        first: &[],
        once: &[],
        count: None,
    },
    error,
    told: None,
    heartbeat: None,
    manual: Manual {
        first: "`\"jsonrpc\": \"2.0\"` in the data",
        ends: "a JSON-RPC response; a clean end without one is no fault: clients resume",
        errors: "a JSON-RPC response with an `error`",
    },
};

fn sign(event: &Event<'_>) -> Sign {
    let Some(json) = object(event) else { return Sign::Plain };
    // JSON-RPC 2.0, 4 and 5: requests and notifications have a method, responses a result or an error.
    let told = pointer::Members::of(json).find_map(|member| match member.key {
        Some(b"method") => Some(Sign::Plain),
        Some(b"result") => Some(Sign::Last),
        // Some servers send it beside a result, as null.
        Some(b"error") => {
            let value = &member.text[..pointer::length(member.text)?];
            pointer::is_something(value).then_some(Sign::Error)
        }
        _ => None,
    });
    told.unwrap_or(Sign::Plain)
}

/// Only where no stream has begun (MCP 2025-11-25, "Sending messages to the server": an error body without an id).
fn error(failure: &Failure) -> String {
    serde_json::json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": SERVER_ERROR, "message": failure.message(), "data": { "code": failure.code() } },
    })
    .to_string()
}

/// JSON-RPC 2.0, 5.1: free for implementations.
const SERVER_ERROR: i32 = -32000;

#[cfg(test)]
mod tests {
    use super::super::testing::{confirms, content, sign};
    use super::*;

    #[test]
    fn responses_end_it_and_requests_and_notifications_do_not() {
        let sign = |data| sign(&MCP, Some("message"), data);
        assert_eq!(sign(r#"{"jsonrpc":"2.0","id":1,"result":{"method":"x"}}"#), Sign::Last);
        assert_eq!(sign(r#"{"result":{},"jsonrpc":"2.0","id":1}"#), Sign::Last);
        assert_eq!(sign(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}"#), Sign::Error);
        assert_eq!(sign(r#"{"jsonrpc":"2.0","id":1,"error":null,"result":{}}"#), Sign::Last);
        assert_eq!(sign(r#"{"jsonrpc":"2.0","id":1,"error": null}"#), Sign::Plain);
        let request =
            r#"{"jsonrpc":"2.0","id":7,"params":{"result":1,"error":2},"method":"sampling/createMessage"}"#;
        assert_eq!(sign(request), Sign::Plain);
        assert_eq!(sign(r#"{"method":"notifications/progress","params":{"error":"x"}}"#), Sign::Plain);
        assert_eq!(sign(""), Sign::Plain);
    }

    #[test]
    fn the_first_message_confirms_and_is_content() {
        let message = r#"{"method":"notifications/message","params":{},"jsonrpc":"2.0"}"#;
        assert!(confirms(&MCP, None, message) && content(&MCP, None, message));
        assert!(!confirms(&MCP, Some("endpoint"), "/messages?id=1"));
        assert!(!content(&MCP, None, ""));
    }
}
