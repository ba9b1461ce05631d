//! The program as an operator meets it: commands, exit codes, messages, the ready line.

use crate::support::Dir;
use crate::support::certs::Certs;
use crate::support::client::{Call, Request};
use crate::support::tidegate::{Launch, Output, Tidegate, config};
use crate::support::upstream::Upstream;

async fn run(args: &[&str]) -> Output {
    Launch::flags(args).run().await
}

#[tokio::test]
async fn help_and_version_are_answers() {
    let help = run(&["--help"]).await;
    assert_eq!(help.code, 0);
    for word in [
        "--upstream",
        "--listen",
        "--bearer",
        "--client-key",
        "--config",
        "serve",
        "check",
        "formats",
        "demo",
    ] {
        assert!(help.stdout.contains(word), "{word} is not in:\n{}", help.stdout);
    }
    let version = run(&["--version"]).await;
    assert_eq!((version.code, version.stdout.trim()), (0, concat!("tidegate ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn wrong_use_is_64() {
    for args in [&["--no-such-flag"][..], &["no-such-command"], &["--listen"], &["check", "--bearer"]] {
        let output = run(args).await;
        assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{args:?}: {}", output.stderr);
        assert!(!output.stderr.is_empty());
    }
}

#[tokio::test]
async fn nothing_to_do_says_what_to_type() {
    for args in [&[][..], &["serve"]] {
        let output = run(args).await;
        assert_eq!(output.code, 64, "{}", output.stderr);
        for word in ["--upstream", "config.toml"] {
            assert!(output.stderr.contains(word), "{}", output.stderr);
        }
    }
}

#[tokio::test]
async fn wrong_config_is_78_and_every_mistake_is_named_with_its_line() {
    let text = "\
[[listener]]
address = \"127.0.0.1:0\"
[upstream.up]
url = \"ftp://x\"
connect_timeot = \"5s\"
[[route]]
path = \"/\"
upstream = \"upp\"
timeouts = { event_gap = \"5 sec\" }
";
    let dir = Dir::new();
    let file = dir.write("bad.toml", text.as_bytes()).display().to_string();
    for command in ["check", "serve"] {
        let output = run(&[command, "--config", &file]).await;
        assert_eq!(output.code, 78, "{}", output.stderr);
        for (line, word) in [(4, "ftp"), (5, "connect_timeout"), (8, "upp"), (9, "5 sec")] {
            let place = format!("bad.toml:{line}");
            let found =
                output.stderr.lines().any(|message| message.contains(&place) && message.contains(word));
            assert!(found, "no {place} with {word:?} in:\n{}", output.stderr);
        }
    }
}

#[tokio::test]
async fn config_that_is_not_there_or_no_toml_is_78() {
    let dir = Dir::new();
    let missing = dir.join("missing.toml").display().to_string();
    let broken = dir.write("broken.toml", b"[[listener]\n").display().to_string();
    for file in [missing, broken] {
        let output = run(&["serve", "--config", &file]).await;
        assert_eq!(output.code, 78, "{}", output.stderr);
        assert!(output.stderr.contains(&file), "{}", output.stderr);
    }
}

#[tokio::test]
async fn address_in_use_is_1() {
    let upstream = Upstream::start().await;
    let running = Tidegate::before(&upstream, "").await;
    let address = running.addresses[0].strip_prefix("http://").expect("a TCP listener");
    let output = run(&["--upstream", &upstream.url, "--listen", address]).await;
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains(address), "{}", output.stderr);
}

#[tokio::test]
async fn config_is_found_in_the_working_directory() {
    let upstream = Upstream::start().await;
    // `Launch::config` puts config.toml where the program runs.
    let text = config(&upstream, "").replace("127.0.0.1:0", "ftp:nonsense");
    let dir = Dir::new();
    dir.write("config.toml", text.as_bytes());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .current_dir(dir.path())
        .output()
        .expect("the binary can be run");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.toml:2"));
}

#[tokio::test]
async fn check_prints_the_resolved_config() {
    let upstream = Upstream::start().await;
    let dir = Dir::new();
    let file = dir.write("c.toml", config(&upstream, "").as_bytes()).display().to_string();
    let output = run(&["check", "--config", &file]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    for word in [upstream.url.as_str(), "response_head", "event_gap", "max_event_bytes"] {
        assert!(output.stdout.contains(word), "{word} is not in:\n{}", output.stdout);
    }
}

#[tokio::test]
async fn formats_lists_every_table() {
    let output = run(&["formats"]).await;
    assert_eq!(output.code, 0);
    for word in ["sse", "ndjson", "openai-chat", "anthropic", "ollama", "generic"] {
        assert!(output.stdout.contains(word), "{word} is not in:\n{}", output.stdout);
    }
}

#[tokio::test]
async fn ready_line_names_every_address() {
    let upstream = Upstream::start().await;
    let certs = Certs::new();
    let dir = Dir::new();
    let socket = dir.join("front.sock");
    let listeners = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {}\n[[listener]]\naddress = \"unix:{}\"\n",
        certs.listener_tls(),
        socket.display()
    );
    let proxy = Launch::config(listeners + &config(&upstream, "")).start().await;
    let unix = format!("unix:{}", socket.display());
    assert_eq!(proxy.addresses.len(), 3);
    assert!(proxy.addresses[0].starts_with("https://127.0.0.1:"), "{:?}", proxy.addresses);
    assert_eq!(proxy.addresses[1], unix);
    assert!(proxy.addresses[2].starts_with("http://127.0.0.1:"), "{:?}", proxy.addresses);
    assert!(!proxy.addresses.iter().any(|address| address.ends_with(":0")), "{:?}", proxy.addresses);
    let ready = format!("tidegate {} ready on {}", env!("CARGO_PKG_VERSION"), proxy.addresses.join(" "));
    assert_eq!(proxy.stdout(), ready, "one line, and nothing else");
}

#[tokio::test]
async fn flags_are_enough() {
    let mut upstream = Upstream::start().await;
    let args = [
        "--upstream",
        &upstream.url,
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
        "--bearer",
        "env:KEY",
        "--header",
        "x-team: red",
        "--header",
        "x-secret: env:OTHER",
        "--client-key",
        "env:CLIENT",
    ];
    let launch = Launch::flags(&args).env("KEY", "k1").env("OTHER", "k2").env("CLIENT", "let-me-in");
    let proxy = launch.start().await;
    assert_eq!(proxy.addresses.len(), 2);
    let mut call = Call::start(&proxy.http(), &Request::get("/x")).await;
    assert_eq!(call.status().await, 401);
    let request = Request::get("/x").field("authorization", "Bearer let-me-in");
    let mut call = Call::start(&proxy.http(), &request).await;
    let exchange = upstream.request().await;
    assert_eq!(exchange.head.one("authorization"), Some("Bearer k1"));
    assert_eq!((exchange.head.one("x-team"), exchange.head.one("x-secret")), (Some("red"), Some("k2")));
    exchange.answer(200, &[], b"ok").await;
    assert_eq!(call.body().await, b"ok");
}

#[tokio::test]
async fn flags_take_a_unix_socket() {
    let mut upstream = Upstream::start().await;
    let dir = Dir::new();
    let socket = dir.join("s");
    // A stale socket file of a process that is gone is replaced.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let address = format!("unix:{}", socket.display());
    let proxy = Launch::flags(&["--upstream", &upstream.url, "--listen", &address]).start().await;
    let mut call = Call::start(&proxy.unix(), &Request::get("/")).await;
    upstream.request().await.answer(200, &[], b"ok").await;
    assert_eq!(call.body().await, b"ok");
}

#[tokio::test]
async fn log_can_be_json() {
    let mut upstream = Upstream::start().await;
    let args = ["--upstream", &upstream.url, "--listen", "127.0.0.1:0", "--log-format", "json"];
    let proxy = Launch::flags(&args).start().await;
    let mut call = Call::start(&proxy.http(), &Request::get("/json?secret=1")).await;
    upstream.request().await.answer(200, &[], b"ok").await;
    assert_eq!(call.body().await, b"ok");
    let line = proxy.logged("\"/json\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("each line is one JSON object");
    let text = line.to_string();
    assert!(text.contains("\"request\"") && text.contains("\"outcome\":\"done\""), "{text}");
    assert!(!proxy.log().contains("secret=1"), "the query is in the log:\n{}", proxy.log());
}

#[tokio::test]
async fn soft_limit_of_open_files_is_raised_and_told() {
    let upstream = Upstream::start().await;
    let proxy = Launch::config(config(&upstream, "")).soft_files(100).start().await;
    let line = proxy.logged("limit of open files").await;
    let (soft, hard) = proxy.file_limits();
    assert_eq!(soft, hard);
    let streams = (hard - 64) / 2;
    assert!(line.contains(&format!("files={hard} streams={streams}")), "{line}");
}

/// A log collector that dies must not take the streams with it.
#[tokio::test]
async fn streams_end_cleanly_when_nobody_reads_the_log_any_more() {
    let mut upstream = Upstream::start().await;
    let mut proxy = Tidegate::before(&upstream, "").await;
    proxy.close_log().await;
    for _ in 0..2 {
        let mut call = Call::start(&proxy.http(), &Request::stream("/x")).await;
        let mut exchange = upstream.request().await;
        exchange.respond_sse().await;
        exchange.chunk(b"data: 1\n\n").await;
        exchange.end().await;
        let rest = call.rest().await;
        assert_eq!((rest.cut.as_deref(), rest.bytes().as_slice()), (None, &b"data: 1\n\n"[..]));
    }
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.exit().await.code(), Some(0));
}

#[tokio::test]
async fn open_relay_is_refused() {
    let args = ["--upstream", "http://127.0.0.1:9", "--listen", "0.0.0.0:0", "--bearer", "env:KEY"];
    let output = Launch::flags(&args).env("KEY", "k").run().await;
    assert_eq!(output.code, 78, "{}", output.stderr);
    assert!(output.stderr.contains("client"), "it says what to do: {}", output.stderr);

    let dir = Dir::new();
    for (route, code) in [("", 78), ("auth = \"none\"", 0), ("client_key = \"env:CLIENT\"", 0)] {
        let text = format!(
            "[[listener]]\naddress = \"0.0.0.0:8080\"\n[upstream.up]\nurl = \"http://127.0.0.1:9\"\n[[route]]\n\
             path = \"/\"\nupstream = \"up\"\ninject = [{{ bearer = \"env:KEY\" }}]\n{route}\n"
        );
        let file = dir.write("c.toml", text.as_bytes()).display().to_string();
        let check = Launch::flags(&["check", "--config", &file]).env("KEY", "k").env("CLIENT", "c");
        let output = check.run().await;
        assert_eq!(output.code, code, "{route:?}: {}", output.stderr);
    }
}
