//! The page: one document, put together once from the files in `page/`, with what changes from request to request
//! filled in. Nothing in it comes from another host, and its policy (CSP Level 3) forbids that as well.

use std::net::SocketAddr;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

use super::upstream::KEY;

/// The page of one run of the demo.
#[derive(Debug)]
pub(super) struct Page {
    front: String,
    raw: SocketAddr,
    template: String,
}

impl Page {
    /// The page that is seen at `front`, a URL, and compares it with what the server at `raw` sends.
    pub(super) fn new(front: &str, raw: SocketAddr) -> Self {
        let mut template = HTML.replace("/*style*/", STYLE).replace("{{version}}", env!("CARGO_PKG_VERSION"));
        template = template.replace("/*script*/", &SCRIPTS.concat()).replace("{{key}}", KEY);
        Page { front: front.to_owned(), raw, template }
    }

    /// Where it is seen.
    pub(super) fn front(&self) -> &str {
        &self.front
    }

    /// The head and the document for a request with `headers`. The host that the client used for tidegate is taken
    /// for the upstream as well, which may be neither `127.0.0.1` nor this machine's only name.
    pub(super) fn render(&self, headers: &HeaderMap) -> (HeaderMap, String) {
        let host = host(headers).unwrap_or_else(|| host_of(&self.raw));
        let raw = format!("http://{host}:{}", self.raw.port());
        // A host-source cannot be an IPv6 address (CSP 2.3.1).
        let source =
            if host.starts_with('[') { format!("http://*:{}", self.raw.port()) } else { raw.clone() };
        let nonce = nonce();
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
             worker-src blob:; connect-src 'self' {source}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let mut head = HeaderMap::new();
        head.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        head.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if let Ok(policy) = HeaderValue::try_from(policy) {
            head.insert(CONTENT_SECURITY_POLICY, policy);
        }
        (head, self.template.replace("{{raw}}", &raw).replace("{{nonce}}", &nonce))
    }
}

/// An address as it stands in a URL; one that means all of this machine's is its loopback.
pub(super) fn host_of(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// The host that the client typed, without its port. It goes into the document, so only what hosts are made of.
fn host(headers: &HeaderMap) -> Option<String> {
    let authority = headers.get("x-forwarded-host").or_else(|| headers.get(HOST))?.to_str().ok()?;
    let authority: http::uri::Authority = authority.parse().ok()?;
    let host = authority.host();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    (!host.is_empty() && host.chars().all(plain)).then(|| host.to_owned())
}

/// Names the scripts and styles that are the page's own; new for each response.
fn nonce() -> String {
    let mut bytes = [0; 16];
    // Without randomness the policy still forbids every other host.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");

/// One module in several files, in this order.
const SCRIPTS: [&str; 4] = [
    include_str!("page/words.js"),
    include_str!("page/client.js"),
    include_str!("page/anatomy.js"),
    include_str!("page/view.js"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(forwarded_host: &str) -> (String, String) {
        let page = Page::new("http://127.0.0.1:8080", "127.0.0.1:8081".parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-host", forwarded_host.parse().unwrap());
        let (head, html) = page.render(&headers);
        (head[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned(), html)
    }

    #[test]
    fn document_names_no_other_host_and_leaves_no_gap() {
        let (policy, html) = rendered("127.0.0.1:8080");
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:8081;"), "{policy}");
        assert!(!html.contains("{{") && !html.contains("/*style*/") && !html.contains("/*script*/"));
        assert!(html.contains(KEY) && html.contains(r#"data-raw="http://127.0.0.1:8081""#));
        for url in
            html.split("http").skip(1).filter(|rest| rest.starts_with("s://") || rest.starts_with("://"))
        {
            let named =
                ["://127.0.0.1:", "://www.w3.org/2000/svg"].iter().any(|known| url.starts_with(known));
            assert!(named, "http{}", &url[..url.len().min(60)]);
        }
    }

    #[test]
    fn raw_address_follows_the_host_that_the_client_used() {
        for (host, raw, source) in [
            ("localhost:8080", "http://localhost:8081", "http://localhost:8081"),
            ("192.168.1.5:8080", "http://192.168.1.5:8081", "http://192.168.1.5:8081"),
            ("[::1]:8080", "http://[::1]:8081", "http://*:8081"),
            ("x';script-src *", "http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("\"><script>", "http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ] {
            let (policy, html) = rendered(host);
            assert!(html.contains(&format!("data-raw=\"{raw}\"")), "{host}");
            assert!(policy.contains(&format!("connect-src 'self' {source};")), "{host}: {policy}");
            assert_eq!(policy.matches("script-src").count(), 1);
        }
    }

    #[test]
    fn nonce_is_new_for_each_response() {
        assert_ne!(rendered("a").0, rendered("a").0);
    }
}
