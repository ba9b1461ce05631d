//! `tidegate demo`: a messy AI server, tidegate in front of it, and a page that shows the difference.
//!
//! tidegate here is the product: a [`Server`] from a [`Source`], as the quick mode makes one. The
//! upstream knows nothing of it. Called by `main.rs`: [`Demo::bind`], [`Demo::greeting`], [`Demo::run`].

mod page;
mod script;
mod text;
mod upstream;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crate::config::{self, Config, Mistakes, Source};
use crate::server::{BindError, RunError, Server};

use page::{Page, host_of};
use upstream::{KEY, Upstream};

/// Both servers, bound.
#[derive(Debug)]
pub struct Demo {
    config: Arc<Config>,
    server: Server,
    upstream: Upstream,
    front: String,
    raw: SocketAddr,
}

/// The demo cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// `--listen` is wrong.
    #[error("{0}")]
    Config(Mistakes),
    /// tidegate's address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The messy upstream cannot be bound or started.
    #[error("cannot start the messy upstream")]
    Upstream(#[source] io::Error),
    /// tidegate failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Demo {
    /// Binds tidegate to `listen` (`HOST:PORT`), or to 127.0.0.1:8080 or any free port, and the messy upstream to
    /// port 8081 of the same address, or any free one.
    ///
    /// # Errors
    /// `listen` is no address or cannot be bound, or there is no free port.
    pub fn bind(listen: Option<&str>) -> Result<Self, DemoError> {
        let address = match listen {
            // What does not resolve is told by the configuration, with the name of the flag.
            Some(listen) => listen.to_socket_addrs().ok().and_then(|mut found| found.next()),
            None => None,
        };
        let ip = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
        let upstream = Upstream::bind(SocketAddr::new(ip, UPSTREAM_PORT))
            .or_else(|_| Upstream::bind(SocketAddr::new(ip, 0)))
            .map_err(DemoError::Upstream)?;
        let raw = upstream.address().map_err(DemoError::Upstream)?;
        let (config, server) = match listen {
            Some(listen) => front(listen, raw)?,
            None => front(LISTEN, raw).or_else(|_| front(LISTEN_FREE, raw))?,
        };
        let front = match server.addresses().first().and_then(|address| address.strip_prefix("http://")) {
            Some(address) => url(address.parse().unwrap_or(raw)),
            None => return Err(DemoError::Config(Mistakes::one("--listen", NO_BROWSER))),
        };
        Ok(Demo { config, server, upstream, front, raw })
    }

    /// What tidegate runs with: where its log goes and how it looks.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What to look at and what to type. Its last line is the ready line of `serve`.
    pub fn greeting(&self) -> String {
        let (front, raw) = (&self.front, url(self.raw));
        let key = format!(" -H 'Authorization: Bearer {KEY}'");
        let ready = self.server.addresses().join(" ");
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "A messy AI server, and tidegate in front of it.

  Open this page       {front}/
  the messy server     {raw}   cuts events and characters, glues, dribbles, wants a key
  through tidegate     {front}   same server, same answers, the key is put in

Or type this (with --raw curl shows the edges of the chunks):

  # straight from the messy server: cut anywhere
  {chat_raw}
  # through tidegate: whole events, one by one, and no key
  {chat_fixed}

  # the server dies in mid-sentence: curl sees a normal end
  {cut_raw}
  # through tidegate: the client is told
  {cut_fixed}

  # Ollama's own API: lines of JSON, and events for who accepts them
  {ollama_raw}
  {ollama_fixed}

More models: slow (4 s until the first token), error (told in the stream). Any other one chats.
Ask in English, and the answer is English.
The same tidegate, started by hand:

  DEMO_KEY={KEY} tidegate --upstream {raw} --bearer env:DEMO_KEY

Ctrl-C ends the demo. The log follows.

tidegate {version} ready on {ready}
",
            chat_raw = curl(&raw, OPENAI, &key, "chat"),
            chat_fixed = curl(front, OPENAI, "", "chat"),
            cut_raw = curl(&raw, OPENAI, &key, "truncated"),
            cut_fixed = curl(front, OPENAI, "", "truncated"),
            ollama_raw = curl(&raw, OLLAMA, &key, "chat"),
            ollama_fixed = curl(front, OLLAMA, " -H 'Accept: text/event-stream'", "chat"),
        )
    }

    /// Serves until a signal ends it, at once.
    ///
    /// # Errors
    /// A thread cannot be started, or tidegate failed.
    pub fn run(self) -> Result<(), DemoError> {
        let page = Page::new(&format!("{}/", self.front), self.raw);
        self.upstream.start(page).map_err(DemoError::Upstream)?;
        Ok(self.server.run()?)
    }
}

/// tidegate, bound.
fn front(listen: &str, raw: SocketAddr) -> Result<(Arc<Config>, Server), DemoError> {
    let (_, config) = config::read(&source(listen, &url(raw))).map_err(DemoError::Config)?;
    let config = Arc::new(config);
    let server = Server::bind(Arc::clone(&config))?;
    Ok((config, server))
}

/// The configuration: what the quick mode makes of `--listen`, `--upstream` and `--bearer`, and three things that
/// serve the show. Everybody may use the key, which is no secret.
fn source(listen: &str, upstream: &str) -> Source {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    Source::flags(&[
        ("--listen", "[[listener]]".to_owned()),
        ("--listen", format!("address = {}", quoted(listen))),
        ("demo", "[upstream.messy]".to_owned()),
        ("demo", format!("url = {}", quoted(upstream))),
        ("demo", "[[route]]".to_owned()),
        ("demo", "upstream = \"messy\"".to_owned()),
        ("demo", "auth = \"none\"".to_owned()),
        ("demo", format!("inject = [{{ bearer = \"inline:{KEY}\" }}]")),
        // Nobody watches for the usual 15 s.
        ("demo", "stream = { heartbeat = \"1s\" }".to_owned()),
        // Ctrl-C ends the demo, answers and all.
        ("demo", "[timeouts]".to_owned()),
        ("demo", "drain = \"0s\"".to_owned()),
    ])
}

/// A line to be pasted into a shell.
fn curl(server: &str, path: &str, headers: &str, model: &str) -> String {
    let body = format!(
        r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"{QUESTION}"}}]}}"#
    );
    format!("curl -N {server}{path}{headers} -H 'Content-Type: application/json' -d '{body}'")
}

/// The URL of an address as a client on this machine writes it.
fn url(address: SocketAddr) -> String {
    format!("http://{}:{}", host_of(&address), address.port())
}

/// Where the quick mode listens.
const LISTEN: &str = "127.0.0.1:8080";

/// Where the demo listens if that is taken.
const LISTEN_FREE: &str = "127.0.0.1:0";

/// Where the messy upstream listens if it can.
const UPSTREAM_PORT: u16 = 8081;

const OPENAI: &str = "/v1/chat/completions";
const OLLAMA: &str = "/api/chat";

/// Chinese characters are cut best.
const QUESTION: &str = "你好";

const NO_BROWSER: &str = "a browser cannot open this (write HOST:PORT)";
