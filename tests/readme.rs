//! The pages are true: what they show is typed, by a test, as a reader would; their words for flags exist; both
//! READMEs say the same.
//!
//! How a page is read: its blocks run from top to bottom, in one directory that looks like a checkout, in a network of
//! its own where an upstream answers on every port of 127.0.0.1 that the page gives to `--upstream` or `url`.
//!
//! - ```` ```toml ````: a configuration, or a piece of one. It is saved as `config.toml`, checked, and served.
//! - ```` ```sh ````: run by `bash -euo pipefail`. `tidegate` returns when it is ready, and runs until the next one starts.
//! - ```` ```nginx ````: checked by `nginx -t`, inside whatever it leaves out.
//! - ```` ```console ```` and everything else is to be read only.

mod models;
mod reader;

use std::collections::HashSet;
use std::path::Path;

use crate::support::network;
use crate::support::pages::{Block, blocks, page};
use crate::support::tidegate::Launch;
use models::Model;
use reader::Reader;

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

/// The pages whose blocks are run. To add a page, add a line.
const PAGES: &[&str] = &["README.md", "README.zh-CN.md", "docs/performance.md"];

/// Pages with tests of their own: [`super::manual`], [`super::systemd`], [`super::clients_doc`], [`super::profiles`] and
/// `tests/servers/run`.
const ELSEWHERE: [&str; 7] = [
    "docs/config.md",
    "docs/errors.md",
    "docs/systemd.md",
    "docs/clients.md",
    "docs/clients.zh-CN.md",
    "docs/servers.md",
    "docs/profiles.md",
];

/// The languages of blocks that are run.
const RUN: [&str; 3] = ["sh", "toml", "nginx"];

/// Flags of other programs.
const OF_OTHERS: [&str; 5] = ["--release", "--open", "--path", "--port", "--now"];

#[tokio::test]
async fn blocks_of_the_pages_do_what_they_show() {
    let Some(_network) = network::enter("readme::blocks_of_the_pages_do_what_they_show").await else {
        return;
    };
    let mut seen = HashSet::new();
    let (mut ran, mut commands, mut served, mut answers) = (0, 0, Vec::new(), Vec::new());
    for path in PAGES {
        let text = page(path);
        let mut models = Vec::new();
        for port in models::ports(&text) {
            models.push(Model::start(port).await);
        }
        let reader = Reader::of(&text).await;
        for block in blocks(path).iter().filter(|block| RUN.contains(&block.language.as_str())) {
            // What both READMEs show is run once.
            if seen.insert((block.language.clone(), block.code())) {
                let count = reader.reads(block).await;
                assert!(count > 0, "{}: nothing was run", block.place);
                (ran, commands) = (ran + 1, commands + count);
            }
        }
        let (of_page, got) = reader.leaves().await;
        served.extend(of_page);
        answers.extend(got);
        for model in models {
            model.stop().await;
        }
    }
    let summary =
        format!("{ran} blocks, {commands} commands, served {served:?}, curl was answered {answers:?}");
    assert!(ran >= 4 && commands >= 8 && served.len() >= 4 && !answers.is_empty(), "{summary}");
    println!("{summary}");
}

/// The reader itself: what a page must not do fails, and what it may do stays in the scratch directory.
#[tokio::test]
async fn reader_fails_where_a_user_would_and_touches_nothing_outside() {
    let test = "readme::reader_fails_where_a_user_would_and_touches_nothing_outside";
    let Some(_network) = network::enter(test).await else { return };
    let model = Model::start(11434).await;
    let reader = Reader::of("").await;
    for (script, why) in [
        ("frobnicate now", "frobnicate: command not found"),
        ("false; true", "exit status: 1"),
        ("cargo publish", "not known"),
        ("tidegate --upstrem http://127.0.0.1:11434", "--upstrem"),
        ("curl -sS http://127.0.0.1:8080/v1/models", "was answered nothing"),
        (
            "tidegate --upstream http://127.0.0.1:9\ncurl -sS http://127.0.0.1:8080/v1/models",
            "was answered 502",
        ),
        (
            "tidegate --upstream http://127.0.0.1:11434\ncurl http://127.0.0.1:8080/v1/chat/completions \\\n\
          -d '{\"stream\": true}' -X GET -H 'accept: x' -o /dev/null",
            "no stream in the answer",
        ),
        ("cp Cargo.toml /root/x", "may not touch"),
        ("echo x >/etc/tidegate-of-a-test", "redirects"),
        ("sudo systemctl enable --now tidegate", "was not installed"),
        ("systemctl frob tidegate", "not known"),
        ("tests/run --fast", "exit status: 1"),
    ] {
        let said = reader.attempts(script, false).await.expect_err(script);
        assert!(said.contains(why), "{script}: {said}");
    }
    let good = "\
        cargo build --release\n\
        sudo install -o root -m 755 target/release/tidegate /usr/local/bin/\n\
        sudo mkdir -p /etc/tidegate-of-a-test\n\
        sudo tee /etc/tidegate-of-a-test/config.toml >/dev/null <<'END'\n\
        upstream.a.url = \"http://127.0.0.1:11434\"\nroute = [{ upstream = \"a\", client_key = \"file:/etc/tidegate-of-a-test/key\" }]\nEND\n\
        echo choose-one | sudo tee /etc/tidegate-of-a-test/key >/dev/null\n\
        echo '[Service]' | sudo tee /etc/systemd/system/tidegate.service >/dev/null\n\
        sudo systemctl daemon-reload && sudo systemctl enable --now tidegate\n\
        journalctl -u tidegate -f\n\
        tidegate check --config /etc/tidegate-of-a-test/config.toml >/dev/null\n\
        target/release/tidegate --config /etc/tidegate-of-a-test/config.toml\n\
        curl -fsS -H 'x-api-key: choose-one' http://127.0.0.1:8080/v1/models | jq -e .data";
    let count = reader.attempts(good, false).await.unwrap_or_else(|said| panic!("{said}"));
    assert!(count >= 12, "{count}");
    assert!(reader.installed("/usr/local/bin/tidegate").is_file());
    assert!(reader.installed("/etc/tidegate-of-a-test/config.toml").is_file());
    assert!(!Path::new("/etc/tidegate-of-a-test").exists(), "the reader changed this machine");
    let (served, answers) = reader.leaves().await;
    assert_eq!((served.len(), answers), (3, vec!["200".to_owned()]), "{served:?}");
    model.stop().await;
}

#[test]
fn every_page_with_commands_is_run() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").read_dir().expect("docs is a folder");
    let pages = docs.map(|entry| format!("docs/{}", entry.expect("an entry").file_name().display()));
    for path in pages.filter(|path| path.ends_with(".md")) {
        let run = |block: &Block| RUN.contains(&block.language.as_str());
        let known = PAGES.contains(&path.as_str()) || ELSEWHERE.contains(&path.as_str());
        assert!(known || !blocks(&path).iter().any(run), "{path} has blocks to run: add it to PAGES");
    }
}

#[tokio::test]
async fn flags_in_the_readmes_exist() {
    let help = Launch::flags(&["--help"]).run().await.stdout;
    for name in READMES {
        let text = page(name);
        let flags: Vec<&str> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with("--") && word.contains(|c: char| c.is_ascii_alphabetic()))
            .filter(|word| !OF_OTHERS.contains(word))
            .collect();
        assert!(flags.len() >= 6, "{name} names {} flags", flags.len());
        for flag in flags {
            assert!(help.contains(flag), "{name} names {flag}, which --help does not know");
        }
    }
}

#[test]
fn the_readmes_say_the_same() {
    let [english, chinese] = READMES.map(blocks);
    for language in RUN {
        let code = |blocks: &[Block]| -> Vec<String> {
            blocks.iter().filter(|block| block.language == language).map(Block::code).collect()
        };
        assert_eq!(code(&english), code(&chinese), "{language} blocks differ");
    }
    let rows = |name: &str| page(name).lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(rows(READMES[0]), rows(READMES[1]), "a table has other rows");
}
