//! Secrets by reference: `env:NAME`, `file:PATH`, `cred:NAME`.
//!
//! A [`Secret`] knows where its value is, and shows only that: `Debug` and `Display` print the reference.
//! The value leaves through [`Secret::reveal`] alone, and no error text ever holds it. Made by
//! [`super::resolve`], revealed by the injectors and the client check in [`crate::auth`].

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A secret that is named, not shown. `Debug` and `Display` show the reference only. Clones share what was read.
#[derive(Clone)]
pub struct Secret(Arc<Place>);

/// Where the value is.
enum Place {
    /// An environment variable, read once: nobody changes a running process's environment.
    Env { name: String, value: OnceLock<Arc<str>> },
    /// A file, read again when it has changed.
    File { path: String, seen: Mutex<Option<Seen>> },
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential { name: String, seen: Mutex<Option<Seen>> },
    /// In the config itself.
    Inline(Arc<str>),
}

/// What was read from a file, and what the file looked like.
struct Seen {
    value: Arc<str>,
    stamp: Stamp,
    checked: Instant,
}

/// Inode, length and time of change: a file with another stamp is another file.
type Stamp = (u64, u64, Option<SystemTime>);

impl Secret {
    /// Reads a reference; nothing is looked up yet.
    ///
    /// `env:NAME`, `file:PATH` (relative to the working directory), `cred:NAME` (a file in systemd's
    /// `$CREDENTIALS_DIRECTORY`), or `inline:VALUE`, for who insists on writing the value itself.
    ///
    /// # Errors
    /// The text is no reference. The message does not repeat it: it may be the secret itself.
    pub fn parse(reference: &str) -> Result<Secret, String> {
        let (scheme, rest) = reference.split_once(':').unwrap_or(("", reference));
        let place = match scheme {
            "env" if is_variable_name(rest) => Place::Env { name: rest.to_owned(), value: OnceLock::new() },
            "env" => return Err("env: takes the name of an environment variable (A-Z, 0-9, _)".to_owned()),
            "file" if !rest.is_empty() => Place::File { path: rest.to_owned(), seen: Mutex::default() },
            "file" => return Err("file: takes a path".to_owned()),
            "cred" if is_file_name(rest) => {
                Place::Credential { name: rest.to_owned(), seen: Mutex::default() }
            }
            "cred" => return Err("cred: takes the name of a systemd credential".to_owned()),
            "inline" if !rest.is_empty() => Place::Inline(rest.into()),
            "inline" => return Err("inline: takes a value".to_owned()),
            _ => return Err(NOT_A_REFERENCE.to_owned()),
        };
        Ok(Secret(Arc::new(place)))
    }

    /// The value now, without the line end that editors add. `file:` and `cred:` are looked at again at most
    /// once a second, and read again when the file has changed; replace it by a rename, so that no half of it
    /// is ever read.
    ///
    /// # Errors
    /// The reference cannot be read, or what it holds is empty, longer than 64 KiB or holds control characters;
    /// the text names the reference, never the value.
    pub fn reveal(&self) -> Result<Arc<str>, String> {
        self.reveal_at(Instant::now())
    }

    fn reveal_at(&self, now: Instant) -> Result<Arc<str>, String> {
        let value = match &*self.0 {
            Place::Env { value, .. } if let Some(value) = value.get() => return Ok(Arc::clone(value)),
            Place::Env { name, value } => match std::env::var(name) {
                Ok(text) => checked(&text).map(|text| Arc::clone(value.get_or_init(|| text))),
                Err(std::env::VarError::NotPresent) => Err("the environment variable is not set"),
                Err(std::env::VarError::NotUnicode(_)) => Err("the value is not UTF-8"),
            },
            Place::File { path, seen } => return self.read_file(PathBuf::from(path), seen, now),
            Place::Credential { name, seen } => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => return self.read_file(PathBuf::from(directory).join(name), seen, now),
                None => Err("$CREDENTIALS_DIRECTORY is not set (is LoadCredential= in the unit?)"),
            },
            Place::Inline(value) => checked(value),
        };
        value.map_err(|what| format!("{self}: {what}"))
    }

    /// Reads the file, unless it is known and unchanged.
    fn read_file(&self, path: PathBuf, seen: &Mutex<Option<Seen>>, now: Instant) -> Result<Arc<str>, String> {
        let failed = |error: std::io::Error| format!("{self}: cannot read the file: {error}");
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = &mut *seen {
            let fresh = now.saturating_duration_since(seen.checked) < RECHECK_AFTER;
            if fresh || stamp(&fs::metadata(&path).map_err(failed)?) == seen.stamp {
                seen.checked = if fresh { seen.checked } else { now };
                return Ok(Arc::clone(&seen.value));
            }
        }
        *seen = None;
        let file = File::open(&path).map_err(failed)?;
        let stamp = stamp(&file.metadata().map_err(failed)?);
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        let value = checked(&text).map_err(|what| format!("{self}: {what}"))?;
        *seen = Some(Seen { value: Arc::clone(&value), stamp, checked: now });
        Ok(value)
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(reference: &str) -> Result<Self, String> {
        Secret::parse(reference)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Place::Env { name, .. } => write!(f, "env:{name}"),
            Place::File { path, .. } => write!(f, "file:{path}"),
            Place::Credential { name, .. } => write!(f, "cred:{name}"),
            Place::Inline(_) => f.write_str("inline:***"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

super::units::serde_as_text!(Secret);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.len(), metadata.modified().ok())
}

/// The value as it can be sent: without its line end, and nothing that would end a header.
fn checked(text: &str) -> Result<Arc<str>, &'static str> {
    let value = text.trim_end_matches(['\r', '\n']);
    if text.len() as u64 > MAX_BYTES {
        return Err("the value is longer than 64 KiB");
    }
    if value.is_empty() {
        return Err("the value is empty");
    }
    if value.chars().any(char::is_control) {
        return Err("the value holds a control character or more than one line");
    }
    Ok(value.into())
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/')
}

/// What to say to a value that is no reference.
const NOT_A_REFERENCE: &str = "a secret is named here, not written (write \"env:NAME\", \"file:PATH\" or \
     \"cred:NAME\"; \"inline:VALUE\" if it really must stand in this place)";

/// How long a file is trusted before it is looked at again.
const RECHECK_AFTER: Duration = Duration::from_secs(1);

/// Longest value of a file.
const MAX_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "canary-7f3a";

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tidegate-secret-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    fn of(path: &std::path::Path) -> Secret {
        Secret::parse(&format!("file:{}", path.display())).unwrap()
    }

    #[test]
    fn reference_is_shown_instead_of_the_value() {
        for (typed, shown) in [
            ("env:PATH", "env:PATH"),
            ("file:/etc/key", "file:/etc/key"),
            ("cred:key", "cred:key"),
            ("inline:canary-7f3a", "inline:***"),
        ] {
            let secret = Secret::parse(typed).unwrap();
            assert_eq!(secret.to_string(), shown);
            assert_eq!(format!("{secret:?}"), format!("Secret({shown})"));
        }
    }

    #[test]
    fn text_that_is_no_reference_is_refused_and_not_repeated() {
        for typed in [
            VALUE,
            "sk:canary-7f3a",
            "env:sk-canary-7f3a",
            "env:",
            "env:1canary",
            "cred:../canary",
            "file:",
            "",
        ] {
            let error = Secret::parse(typed).unwrap_err();
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn variable_is_revealed_and_a_missing_one_is_named() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(&*Secret::parse("env:PATH").unwrap().reveal().unwrap(), path);
        let error = Secret::parse("env:TIDEGATE_NOT_SET").unwrap().reveal().unwrap_err();
        assert_eq!(error, "env:TIDEGATE_NOT_SET: the environment variable is not set");
    }

    #[test]
    fn line_end_of_a_file_is_trimmed() {
        let path = file("trim", &format!("{VALUE}\r\n"));
        assert_eq!(&*of(&path).reveal().unwrap(), VALUE);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn unusable_value_is_refused_without_showing_it() {
        let long = VALUE.repeat(10_000);
        for (name, text, what) in [
            ("empty", "\n", "empty"),
            ("lines", "canary-7f3a\nx: canary", "control character"),
            ("long", long.as_str(), "longer than 64 KiB"),
        ] {
            let path = file(name, text);
            let error = of(&path).reveal().unwrap_err();
            assert!(error.contains(what) && !error.contains("canary"), "{error}");
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn changed_file_is_read_again_after_a_second() {
        let path = file("change", "one");
        let secret = of(&path);
        let start = Instant::now();
        assert_eq!(&*secret.reveal_at(start).unwrap(), "one");
        fs::write(&path, "three").unwrap();
        assert_eq!(&*secret.reveal_at(start + RECHECK_AFTER / 2).unwrap(), "one");
        assert_eq!(&*secret.clone().reveal_at(start + RECHECK_AFTER).unwrap(), "three");
        fs::remove_file(&path).unwrap();
        assert!(secret.reveal_at(start + 2 * RECHECK_AFTER).is_err());
    }
}
