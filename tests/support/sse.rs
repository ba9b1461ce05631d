//! Server-sent events as the HTML standard reads them, and the form in which tidegate writes them.

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` where none was given.
    pub event: String,
    /// Its data, lines joined by LF.
    pub data: String,
    /// The `id` line of its block, if there was one.
    pub id: Option<String>,
    /// The `retry` line of its block, if there was a valid one.
    pub retry: Option<u64>,
}

impl Event {
    /// An unnamed event with this data and nothing else.
    pub fn message(data: &str) -> Self {
        Event { event: "message".into(), data: data.into(), id: None, retry: None }
    }
}

/// Reads a whole stream to the letter of HTML 9.2.6.
pub fn parse(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut events = Vec::new();
    let mut block = Block::default();
    for line in lines(text) {
        if line.is_empty() {
            events.extend(std::mem::take(&mut block).dispatch());
        } else {
            block.take(line);
        }
    }
    events
}

/// Complete lines only: what follows the last line end is not a line.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        let width = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
    lines
}

#[derive(Default)]
struct Block {
    event: String,
    data: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
}

impl Block {
    fn take(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => self.retry = value.parse().ok(),
            _ => {}
        }
    }

    fn dispatch(self) -> Option<Event> {
        let event = if self.event.is_empty() { "message".to_owned() } else { self.event };
        self.data.map(|data| Event { event, data, id: self.id, retry: self.retry })
    }
}

/// Everything in a stream, cut as it came on the wire, that is not in tidegate's canonical form: LF only, one
/// space, fields in order, no blank runs, no BOM, whole events, one event per chunk, comments without a
/// blank line of their own.
pub fn faults<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut whole = Vec::new();
    for (number, chunk) in chunks.into_iter().enumerate() {
        whole.extend_from_slice(chunk);
        faults.extend(chunk_faults(chunk).into_iter().map(|fault| format!("chunk {number}: {fault}")));
    }
    if whole.starts_with("\u{feff}".as_bytes()) {
        faults.push("the stream begins with a BOM".into());
    }
    if whole.starts_with(b"\n") || super::wire::find(&whole, b"\n\n\n").is_some() {
        faults.push("blank lines in a row".into());
    }
    faults
}

/// Whether a chunk is a heartbeat of the default form.
pub fn is_heartbeat(chunk: &[u8]) -> bool {
    chunk == b":\n"
}

fn chunk_faults(chunk: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(chunk) else {
        return vec![format!("cuts a character: {:?}", String::from_utf8_lossy(chunk))];
    };
    let shown = if text.len() > 200 { format!("{} bytes", text.len()) } else { format!("{text:?}") };
    let mut faults = Vec::new();
    if text.contains('\r') {
        faults.push(format!("holds a CR: {shown}"));
    }
    let Some(body) = text.strip_suffix('\n') else {
        faults.push(format!("ends inside a line: {shown}"));
        return faults;
    };
    let mut blocks = 0;
    let mut block: Vec<&str> = Vec::new();
    let mut commented = false;
    for line in body.split('\n') {
        if line.is_empty() {
            if block.is_empty() {
                faults.push(format!("a blank line after no event (comment: {commented}): {shown}"));
            } else {
                blocks += 1;
                faults.extend(block_faults(&block));
                block.clear();
            }
        } else if line.starts_with(':') {
            commented = true;
            if !block.is_empty() {
                faults.push(format!("a comment inside an event: {shown}"));
            }
        } else {
            block.push(line);
        }
    }
    if !block.is_empty() {
        faults.push(format!("ends inside an event: {shown}"));
    }
    if blocks > 1 {
        faults.push(format!("{blocks} events in one chunk: {shown}"));
    }
    faults
}

fn block_faults(block: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut last = 0;
    for line in block {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let Some(rank) = ["event", "id", "retry", "data"].iter().position(|known| *known == name) else {
            continue;
        };
        if rank < last
            || (rank == last && rank < 3 && block.iter().filter(|l| l.starts_with(name)).count() > 1)
        {
            faults.push(format!("{name} is out of order in {block:?}"));
        }
        last = last.max(rank);
        if !(value.starts_with(' ') || value.is_empty()) {
            faults.push(format!("no space after the colon: {line:?}"));
        }
    }
    faults
}
