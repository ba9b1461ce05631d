//! `docs/errors.md`: how requests end, in the words of error bodies and of the log.

use super::config::title;
use super::{GENERATED, anchor, block, bullet, heading, paragraph, table};
use crate::config::table::KEYS;
use crate::dialect::{GENERIC, OLLAMA};
use crate::log;
use crate::metrics::METRICS;
use crate::stream::{self, About, Answer, Cause, Failure, Phase, Who};

/// The whole page.
pub fn text() -> String {
    let mut out = GENERATED.to_owned();
    heading(&mut out, 1, "Errors, outcomes and the access line");
    what_a_client_reads(&mut out);
    for (who, title) in FAULTS {
        heading(&mut out, 2, title);
        let causes: Vec<Cause> = Cause::ALL.iter().copied().filter(|cause| cause.who() == who).collect();
        table(
            &mut out,
            ["`outcome` in the log", "`code` of the error", "status"],
            causes.iter().map(|cause| {
                let outcome = format!("[`{cause}`](#{})", anchor(&cause.to_string()));
                [outcome, code(*cause), status(*cause)]
            }),
        );
        for cause in causes {
            entry(&mut out, cause);
        }
    }
    access_line(&mut out);
    metrics(&mut out);
    out
}

fn what_a_client_reads(out: &mut String) {
    paragraph(
        out,
        "Every request ends in exactly one way: its outcome. The access line has it as `outcome`; a client reads the \
         same word as `code`, with `_` for `:` and without `client:`. What an upstream answers itself, 4xx and 5xx too, passes as it is.",
    );
    let failure =
        Failure::new(Cause::UpstreamTruncated, "the upstream closed the connection inside the response body");
    let early = Failure::new(Cause::UpstreamConnectFailed, "the upstream does not accept connections");
    heading(out, 2, "What a client reads");
    paragraph(out, "Before a response head was sent, an error is a status and a body of JSON:");
    block(
        out,
        "text",
        &format!(
            "HTTP/1.1 {}\ncontent-type: application/json\n\n{}",
            early.status(),
            (GENERIC.error)(&early)
        ),
    );
    out.push('\n');
    paragraph(
        out,
        "Inside a stream it is the last event, after which the body ends properly. SDKs raise it as an error. No \
         `[DONE]` follows it, unless the client's profile or `stream.done` asks for a marker behind errors, too:",
    );
    block(out, "text", &GENERIC.told(&failure).unwrap_or_default());
    out.push('\n');
    paragraph(
        out,
        "That is the form of OpenAI's chat completions and Responses, of Anthropic's Messages, and of whatever has no \
         form of its own. Clients of other APIs read theirs, before the head and inside a stream; \
         [dialects.md](dialects.md) lists them. Ollama's want a string:",
    );
    block(out, "text", &(OLLAMA.error)(&failure));
    out.push('\n');
    paragraph(
        out,
        "Where the events have no known form for errors, and in bodies that pass, the connection (in HTTP/2 the \
         stream) is cut: a broken answer never looks complete. (A client of HTTP/1.0, whose \
         streams end with the connection, is sent a TCP reset, which may take along what has not arrived yet.) The `type` tells who is at fault:",
    );
    out.push('\n');
    let kinds = FAULTS.iter().filter(|(who, _)| *who != Who::Nobody);
    table(
        out,
        ["`type`", "who is at fault"],
        kinds.map(|(who, title)| [format!("`{}`", stream::kind(*who)), title.to_lowercase()]),
    );
}

fn entry(out: &mut String, cause: Cause) {
    let About { when, remedy, .. } = cause.about();
    heading(out, 3, &cause.to_string());
    paragraph(out, when);
    out.push('\n');
    let answer = match code(cause) {
        none if none == NONE => String::new(),
        code => format!("{} with the code {code}, or an error event with that code", status(cause)),
    };
    bullet(out, "The client gets", &answer);
    bullet(out, "What to do", remedy);
    let keys = KEYS.iter().filter(|key| key.causes.contains(&cause));
    let keys: Vec<String> = keys
        .map(|key| match key.section() {
            "" => format!("[`{0}`](config.md#{0})", key.path),
            _ => format!("[{0}](config.md#{1})", title(key), anchor(&title(key))),
        })
        .collect();
    bullet(out, "Keys", &keys.join(", "));
}

fn code(cause: Cause) -> String {
    match cause.about().answer {
        Answer::Nothing => NONE.to_owned(),
        Answer::Status(_) | Answer::StatusOfUpstream | Answer::StatusOfError => format!("`{}`", cause.code()),
    }
}

fn status(cause: Cause) -> String {
    match cause.about().answer {
        Answer::Status(status) => status.as_str().to_owned(),
        Answer::StatusOfUpstream => "the upstream's status".to_owned(),
        Answer::StatusOfError => "the status that the error names, else 502".to_owned(),
        Answer::Nothing => NONE.to_owned(),
    }
}

fn metrics(out: &mut String) {
    heading(out, 2, "Metrics");
    paragraph(
        out,
        "With `metrics.address` set, `GET /metrics` there answers what Prometheus reads (OpenMetrics 1.0). The counts \
         begin at zero with the process, and are taken where the access line is written. Every name begins with \
         `tidegate_`:",
    );
    out.push('\n');
    table(
        out,
        ["metric", "meaning"],
        METRICS.iter().map(|(name, meaning)| [format!("`{name}`"), (*meaning).to_owned()]),
    );
}

fn access_line(out: &mut String) {
    heading(out, 2, "The access line");
    paragraph(
        out,
        "One line for each request, on standard error, at level info with the target `access`, when the request is \
         over. Nothing of what was asked or answered is in it. A field that has nothing to say is left out; a request \
         that was refused before its head was complete has only its client, `method=-`, status, outcome and phase. As every \
         line, it has its time (`ts` in logfmt, `timestamp` in JSON), `level`, `target` and `message` too.",
    );
    paragraph(
        out,
        "A line is written behind the answers of the moment, so that none of them waits for whoever reads the log, in writes of at \
         most 4,096 bytes (or one line, if that is longer), which a pipe takes whole. A worker that never comes to rest writes \
         its lines once there are 256 KiB of them, or with the first that ends 100 ms after the oldest. Who stops reading the \
         log stops tidegate as soon as the pipe is full: every worker, and a drain.",
    );
    out.push('\n');
    table(
        out,
        ["field", "meaning"],
        log::FIELDS.iter().map(|(name, meaning)| [format!("`{name}`"), (*meaning).to_owned()]),
    );
    heading(out, 3, "Phases");
    paragraph(out, "How far a request had come when it ended:");
    out.push('\n');
    let phases = Phase::ALL.iter().map(|phase| phase.about());
    table(
        out,
        ["`phase`", "meaning"],
        phases.map(|(name, meaning)| [format!("`{name}`"), meaning.to_owned()]),
    );
}

/// Who can be at fault, in the order of the page.
const FAULTS: [(Who, &str); 4] = [
    (Who::Nobody, "Nobody"),
    (Who::Client, "The client"),
    (Who::Upstream, "The upstream"),
    (Who::Tidegate, "tidegate, or who runs it"),
];

const NONE: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_row_and_an_entry() {
        let text = text();
        for cause in Cause::ALL {
            let heading = format!("### {cause}");
            assert_eq!(text.lines().filter(|line| **line == heading).count(), 1, "{cause}");
            let row = format!("| [`{cause}`]");
            assert_eq!(text.lines().filter(|line| line.starts_with(&row)).count(), 1, "{cause}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("### ")).count(), Cause::ALL.len() + 1);
    }
}
