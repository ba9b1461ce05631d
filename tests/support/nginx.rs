//! nginx, as Debian has it, with what a page says about it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::certs::Certs;
use super::pages::{Block, certificates};
use super::wire::Endpoint;
use super::{Dir, within};

/// A configuration around a block: of a whole file, of `http`, of a `server` or of a `location`.
#[derive(Debug)]
pub struct Nginx {
    text: String,
    certs: Certs,
    dir: Dir,
}

impl Nginx {
    /// Wraps the block, and puts certificates where it names some.
    pub fn new(block: &Block) -> Self {
        let (dir, certs) = (Dir::new(), Certs::new());
        let mut text = wrapped(&block.text);
        for (path, file) in certificates(&text, &certs) {
            text = text.replace(&path, &file.display().to_string());
        }
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("    {kind}_temp_path {};\n", dir.join(kind).display()))
            .collect();
        // One process: killed, it leaves no workers behind. Root: a namespace has no other users to give files to.
        let process = "daemon off;\nmaster_process off;\nuser root;\n";
        let head = format!("{process}pid {};\nerror_log stderr warn;\n", dir.join("nginx.pid").display());
        let http = format!("http {{\n    access_log off;\n{temporary}");
        let text = format!("{head}events {{}}\n{}", text.replacen("http {\n", &http, 1));
        Nginx { text, certs, dir }
    }

    /// `nginx -t`: fails unless nginx takes the configuration.
    pub async fn check(&self, place: &str) {
        let mut command = self.command();
        let output = within("nginx -t", command.arg("-t").output()).await;
        let output = output.expect("nginx is installed (tests/run installs nginx-light)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{place}: nginx refuses it:\n{said}\n{}", self.text);
    }

    /// Starts it and waits until it listens.
    pub async fn start(&self) -> Child {
        let child = self.command().kill_on_drop(true).stdin(Stdio::null()).spawn();
        let mut child = child.expect("nginx is installed (tests/run installs nginx-light)");
        let address = self.address();
        let mut again = tokio::time::interval(Duration::from_millis(20));
        within("nginx to listen", async {
            loop {
                let connected = TcpStream::connect(address).await.is_ok();
                let ended = child.try_wait().expect("a child can be asked");
                assert!(ended.is_none(), "nginx ended: {ended:?}");
                if connected {
                    return;
                }
                again.tick().await;
            }
        })
        .await;
        child
    }

    /// Where clients connect: the first `listen`.
    pub fn endpoint(&self) -> Endpoint {
        match self.listen().contains(" ssl") {
            true => Endpoint::Tls(self.address(), self.certs.client(&["http/1.1"])),
            false => Endpoint::Tcp(self.address()),
        }
    }

    fn address(&self) -> SocketAddr {
        let place = self.listen().split_whitespace().next().expect("listen has an address");
        let port = place.rsplit(':').next().expect("a part").parse().expect("listen names a port");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn listen(&self) -> &str {
        let rest = self.text.split("listen ").nth(1).expect("the configuration listens");
        rest.split(';').next().expect("a directive ends")
    }

    fn command(&self) -> Command {
        let file = self.dir.write("nginx.conf", self.text.as_bytes());
        let mut command = Command::new("nginx");
        command
            .arg("-c")
            .arg(file)
            .arg("-p")
            .arg(self.dir.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

/// The block inside what it leaves out.
fn wrapped(block: &str) -> String {
    let begins = |names: &[&str]| block.lines().any(|line| names.iter().any(|name| line.starts_with(name)));
    if begins(&["http {"]) {
        return block.to_owned();
    }
    if begins(&["server {", "upstream "]) {
        return format!("http {{\n{block}}}\n");
    }
    let location =
        if begins(&["location "]) { block.to_owned() } else { format!("location / {{\n{block}}}\n") };
    format!("http {{\nserver {{\nlisten 127.0.0.1:8088;\n{location}}}\n}}\n")
}
