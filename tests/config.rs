//! Golden configurations: `tests/config/*.toml` are an input, a line of dashes, and what `tidegate check` says to
//! it: the resolved configuration, or every mistake. An input that begins with `# $ tidegate check …` is a
//! command line of the quick mode. `TIDEGATE_BLESS=1` rewrites what is below the dashes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::cli::{self, Failure, Task};
use tidegate::config::{self, Source};

const DASHES: &str = "-----\n";

/// Every golden file, sorted by name.
fn goldens() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir("tests/config")
        .expect("it is there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(paths.len() >= 18, "only {} golden files", paths.len());
    paths
}

/// The two halves of a golden file; the second is empty in a new one.
fn halves(path: &Path) -> (String, String) {
    let text = fs::read_to_string(path).expect("a golden file is text");
    let (input, expected) = text.split_once(DASHES).unwrap_or((&text, ""));
    (input.to_owned(), expected.to_owned())
}

/// What `tidegate check` says to an input.
fn checked(input: &str) -> Result<String, String> {
    let source = match input.lines().next().and_then(|line| line.strip_prefix("# $ ")) {
        Some(line) => match cli::parse(words(line)) {
            Ok(Task::Check(source)) => source,
            other => panic!("{line}: {other:?}"),
        },
        None => Source::file("config.toml", input),
    };
    cli::check(&source).map_err(|failure| match failure {
        Failure::Config(mistakes) => format!("{mistakes}\n"),
        other => panic!("{other:?}"),
    })
}

/// The words of a command line; single quotes keep spaces.
fn words(line: &str) -> Vec<OsString> {
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().map(OsString::from).collect(),
            _ => vec![OsString::from(part)],
        })
        .collect()
}

#[test]
fn every_golden_config_is_checked_as_written() {
    let bless = std::env::var_os("TIDEGATE_BLESS").is_some();
    let mut stale = Vec::new();
    for path in goldens() {
        let (input, expected) = halves(&path);
        let (Ok(said) | Err(said)) = checked(&input);
        if said == expected {
            continue;
        }
        if bless {
            fs::write(&path, format!("{input}{DASHES}{said}")).unwrap();
        } else {
            stale.push(format!("{}:\n{said}", path.display()));
        }
    }
    assert!(stale.is_empty(), "look at these, then run with TIDEGATE_BLESS=1:\n{}", stale.join("\n"));
}

#[test]
fn resolved_config_is_itself_a_config_with_the_same_meaning() {
    let mut count = 0;
    for path in goldens() {
        let Ok(first) = checked(&halves(&path).0) else { continue };
        assert_eq!(checked(&first).as_ref(), Ok(&first), "{}", path.display());
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn secret_that_was_written_out_is_never_repeated() {
    let mut count = 0;
    for path in goldens() {
        let (input, _) = halves(&path);
        count += input.matches("canary").count();
        let (Ok(said) | Err(said)) = checked(&input);
        assert!(!said.contains("canary"), "{}: {said}", path.display());
        let source = Source::file("config.toml", input);
        let shown = format!("{source:?} {:?}", config::read(&source));
        assert!(!shown.contains("canary"), "{}: {shown}", path.display());
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn resolved_config_carries_tls_from_its_files() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = std::env::temp_dir().join(format!("tidegate-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "listener = [{{ address = '127.0.0.1:0', tls = {{ cert = '{cert}', key = '{key}' }} }}]\n\
         upstream.a = {{ url = 'https://localhost:1/v1/', ca = '{cert}', http = '2' }}\n\
         route = [{{ upstream = 'a' }}]\n",
        cert = cert.display(),
        key = key.display()
    );
    let path = directory.join("config.toml");
    fs::write(&path, text).unwrap();
    let config = config::load(&path).unwrap();
    let listener = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(listener.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.tls.as_ref().unwrap().config.alpn_protocols, [b"h2".to_vec()]);
    assert_eq!((upstream.authority.as_str(), upstream.base_path.as_str()), ("localhost:1", "/v1"));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn file_that_is_not_there_is_a_mistake() {
    let mistakes = config::load(Path::new("/nonexistent/config.toml")).unwrap_err().to_string();
    assert!(mistakes.starts_with("/nonexistent/config.toml: cannot read the file"), "{mistakes}");
}
