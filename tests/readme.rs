//! Both READMEs are true: their configurations are valid, and their words for outcomes and flags exist.

use std::path::Path;

use crate::support::Dir;
use crate::support::tidegate::Launch;

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

/// Flags of cargo, not of tidegate.
const OF_CARGO: [&str; 2] = ["--release", "--open"];

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a README")
}

/// The contents of all blocks fenced as `language`.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn configurations_in_the_readmes_are_valid() {
    for name in READMES {
        let configurations = blocks(&text(name), "toml");
        assert!(!configurations.is_empty(), "{name} shows no configuration");
        for configuration in configurations {
            let dir = Dir::new();
            let file = dir.write("config.toml", configuration.as_bytes());
            let check = Launch::flags(&["check", "--config", &file.display().to_string()]);
            let output = check.env("OPENAI_API_KEY", "sk-for-the-test").run().await;
            assert_eq!(output.code, 0, "{name}: {}\n{configuration}", output.stderr);
        }
    }
}

#[tokio::test]
async fn flags_in_the_readmes_exist() {
    let help = Launch::flags(&["--help"]).run().await.stdout;
    for name in READMES {
        let text = text(name);
        let flags: Vec<&str> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with("--") && word.contains(|c: char| c.is_ascii_alphabetic()))
            .filter(|word| !OF_CARGO.contains(word))
            .collect();
        assert!(flags.len() >= 6, "{name} names {} flags", flags.len());
        for flag in flags {
            assert!(help.contains(flag), "{name} names {flag}, which --help does not know");
        }
    }
}

#[test]
fn the_readmes_say_the_same() {
    let [english, chinese] = READMES.map(text);
    for language in ["sh", "toml"] {
        let commands = |text: &str| -> Vec<String> {
            // Comments are translated.
            let lines = blocks(text, language).join("\n");
            lines
                .lines()
                .map(|line| line.split(" #").next().unwrap_or(line).trim_end().to_owned())
                .filter(|line| !line.starts_with('#') && !line.is_empty())
                .collect()
        };
        assert_eq!(commands(&english), commands(&chinese), "{language} blocks differ");
    }
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(rows(&english), rows(&chinese), "a table has other rows");
}
