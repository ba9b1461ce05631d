//! The command line: what was asked for, and how it can fail.
//!
//! Flags of the quick mode stand for a small configuration file (`quick`) and are checked as one.
//! Called by `main.rs` alone; [`parse`] comes first, then each [`Task`].

mod formats;
mod quick;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Mistakes, Source};

pub use formats::formats;

/// What tidegate is to do.
#[derive(Debug)]
pub enum Task {
    /// Serve this configuration.
    Serve(Source),
    /// Show this configuration, resolved.
    Check(Source),
    /// Show the tables.
    Formats,
    /// Show the difference, with tidegate at this address (`HOST:PORT`).
    Demo(Option<String>),
}

/// Why tidegate ends without having done it.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong, or only asked for help. Exit code 64, or 0 for help.
    Clap(clap::Error),
    /// The command line is not enough. Exit code 64.
    Usage(String),
    /// The configuration is wrong. Exit code 78.
    Config(Mistakes),
    /// The world is not as it should be. Exit code 1.
    Runtime(String),
}

#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about = "A reverse proxy that makes the streams of AI upstreams just work for every client.",
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; this is what happens without a command
    Serve(Options),
    /// Check the configuration and print it as TOML with every default filled in, secrets by reference
    Check(Options),
    /// List the formats, repairs, dialects, shapes, bridges and injectors
    Formats,
    /// See it at work: a built-in messy AI server, tidegate in front of it, and a page that shows both
    Demo {
        /// Where tidegate listens [default: 127.0.0.1:8080, or a free port]
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
    },
}

/// Where the configuration comes from: a file, or flags.
#[derive(Debug, Default, Args)]
struct Options {
    /// The configuration file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["upstream", "listen", "bearer", "header", "client_key",
        "no_client_auth", "log_format"])]
    config: Option<PathBuf>,
    /// Proxy to this URL, without a configuration file: http://…, https://… or unix:PATH
    #[arg(long, value_name = "URL", help_heading = QUICK)]
    upstream: Option<String>,
    /// Listen here: HOST:PORT or unix:PATH; repeatable [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", requires = "upstream", help_heading = QUICK)]
    listen: Vec<String>,
    /// Send this secret up as Authorization: Bearer
    #[arg(long, value_name = "REF", requires = "upstream", help_heading = QUICK)]
    bearer: Option<String>,
    /// Send this header up; the value may be a REF; repeatable
    #[arg(long, value_name = "NAME: VALUE", requires = "upstream", help_heading = QUICK)]
    header: Vec<String>,
    /// Clients must show this key, as Authorization: Bearer, x-api-key, api-key, or ?key=
    #[arg(long, value_name = "REF", requires = "upstream", help_heading = QUICK)]
    client_key: Option<String>,
    /// Everybody who can connect may use the injected secrets
    #[arg(long, requires = "upstream", conflicts_with = "client_key", help_heading = QUICK)]
    no_client_auth: bool,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", requires = "upstream", value_parser = ["logfmt", "json"], help_heading = QUICK)]
    log_format: Option<String>,
}

/// Reads the command line (its first word is the program) and the configuration that it names.
///
/// # Errors
/// The command line is wrong or asks for help, or there is no readable configuration.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Task, Failure> {
    let line = CommandLine::try_parse_from(arguments).map_err(Failure::Clap)?;
    match line.command.unwrap_or(Command::Serve(line.options)) {
        Command::Serve(options) => options.source(CONFIG_PATHS).map(Task::Serve),
        Command::Check(options) => options.source(CONFIG_PATHS).map(Task::Check),
        Command::Formats => Ok(Task::Formats),
        Command::Demo { listen } => Ok(Task::Demo(listen)),
    }
}

/// The resolved configuration as TOML, with every default filled in and secrets by reference.
///
/// # Errors
/// The configuration has mistakes.
pub fn check(source: &Source) -> Result<String, Failure> {
    let (file, config) = config::read(source).map_err(Failure::Config)?;
    let mut text = file.to_toml().map_err(|error| Failure::Runtime(error.to_string()))?;
    for note in config::notes(&config) {
        text.push_str(&format!("\n# note: {note}\n"));
    }
    Ok(text)
}

/// Writes to standard output and flushes.
///
/// # Errors
/// It is closed or full.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Runtime(format!("cannot write to standard output: {error}")))
}

impl Options {
    /// The configuration: the file that was named, or the flags, or the first file that there is.
    fn source(&self, paths: &[&str]) -> Result<Source, Failure> {
        if let Some(path) = &self.config {
            return Source::open(path).map_err(Failure::Config);
        }
        if let Some(upstream) = &self.upstream {
            return quick::source(upstream, self).map_err(Failure::Usage);
        }
        match paths.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => Source::open(path).map_err(Failure::Config),
            None => Err(Failure::Usage(format!(
                "no configuration: neither {}.\n{WHAT_TO_TYPE}",
                paths.join(" nor ")
            ))),
        }
    }
}

impl Failure {
    /// A failure at run time: an error with its causes.
    pub fn runtime(error: &dyn std::error::Error) -> Failure {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Failure::Runtime(text)
    }

    /// Says why on standard error (help goes to standard output), and returns the exit code.
    pub fn report(&self) -> ExitCode {
        let text = match self {
            Failure::Clap(error) => {
                // Where nobody reads, nothing can be said.
                let _ = error.print();
                return ExitCode::from(self.code());
            }
            Failure::Usage(text) | Failure::Runtime(text) => format!("tidegate: {text}\n"),
            Failure::Config(mistakes) => format!("{mistakes}\n"),
        };
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        ExitCode::from(self.code())
    }

    /// The exit code, after `sysexits.h`.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Clap(error) if !error.use_stderr() => 0,
            Failure::Clap(_) | Failure::Usage(_) => 64,
            Failure::Config(_) => 78,
            Failure::Runtime(_) => 1,
        }
    }
}

/// Where a configuration is looked for, in this order.
pub(crate) const CONFIG_PATHS: &[&str] = &["./config.toml", "/etc/tidegate/config.toml"];

const QUICK: &str = "Quick mode, without a file";

const WHAT_TO_TYPE: &str = "
To put tidegate on http://127.0.0.1:8080 in front of an AI server on this machine, type

    tidegate --upstream http://127.0.0.1:11434

or, in front of a hosted one, with its key in the environment,

    tidegate --upstream https://api.openai.com --bearer env:OPENAI_API_KEY

To keep it, add `check` and save what it prints:

    tidegate check --upstream http://127.0.0.1:11434 > config.toml";

const AFTER_HELP: &str = "\
Secrets are named, never written. REF is
  env:NAME   an environment variable
  file:PATH  a file, read again when it changes
  cred:NAME  a systemd credential

Examples:
  tidegate demo
  tidegate --upstream http://127.0.0.1:11434
  tidegate --listen 0.0.0.0:8080 --upstream https://api.openai.com \\
           --bearer env:OPENAI_API_KEY --client-key env:TIDEGATE_CLIENT_KEY
  tidegate check --upstream http://127.0.0.1:11434 > config.toml
  tidegate --config /etc/tidegate/config.toml

Without --config and --upstream the configuration is ./config.toml, else
/etc/tidegate/config.toml. Every key is explained in config.toml.example.

When it is ready, tidegate prints one line with its addresses on standard output; the log is on
standard error. SIGTERM or SIGINT lets running streams finish, a second one ends them.

Exit codes: 0 done, 64 wrong command line, 78 wrong configuration, 1 anything else.";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, Failure> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn command_line_of_clap_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
        assert!(matches!(parsed("tidegate --upstream http://127.0.0.1:1"), Ok(Task::Serve(_))));
        assert!(matches!(parsed("tidegate serve --upstream http://127.0.0.1:1"), Ok(Task::Serve(_))));
        assert!(matches!(parsed("tidegate check --upstream http://127.0.0.1:1"), Ok(Task::Check(_))));
        assert!(matches!(parsed("tidegate formats"), Ok(Task::Formats)));
        assert!(matches!(parsed("tidegate demo"), Ok(Task::Demo(None))));
        let Ok(Task::Demo(Some(listen))) = parsed("tidegate demo --listen 127.0.0.1:1") else { panic!() };
        assert_eq!(listen, "127.0.0.1:1");
    }

    #[test]
    fn wrong_command_line_is_a_usage_error_and_help_is_not() {
        for (line, code) in [
            ("tidegate --help", 0),
            ("tidegate check --help", 0),
            ("tidegate --version", 0),
            ("tidegate --nonsense", 64),
            ("tidegate --listen 127.0.0.1:1", 64),
            ("tidegate --config x --upstream http://a", 64),
            ("tidegate --config x --listen 127.0.0.1:1", 64),
            ("tidegate --upstream http://a --client-key env:A --no-client-auth", 64),
            ("tidegate --upstream http://a --header nonsense", 64),
            ("tidegate --upstream http://a --log-format xml", 64),
            ("tidegate --config /nonexistent/config.toml", 78),
        ] {
            assert_eq!(parsed(line).unwrap_err().code(), code, "{line}");
        }
    }

    #[test]
    fn configuration_that_is_nowhere_is_a_usage_error_that_says_what_to_type() {
        let failure = Options::default().source(&["/nonexistent/a", "/nonexistent/b"]).unwrap_err();
        assert_eq!(failure.code(), 64);
        let Failure::Usage(text) = failure else { panic!("{failure:?}") };
        assert!(text.contains("/nonexistent/b") && text.contains("tidegate --upstream http"), "{text}");
    }

    #[test]
    fn first_file_that_exists_is_taken() {
        let path = std::env::temp_dir().join(format!("tidegate-cli-{}.toml", std::process::id()));
        std::fs::write(&path, "# here").unwrap();
        let source = Options::default().source(&["/nonexistent/a", path.to_str().unwrap()]).unwrap();
        assert_eq!(source.text(), "# here");
        std::fs::remove_file(path).unwrap();
    }
}
