//! The document against the key table.
//!
//! Walks a parsed TOML document, notes every unknown key, wrong type, bad unit and bad value, and fills in the
//! defaults. What is wrong is noted and replaced by a valid sample at [`Source::NOWHERE`], so that the document
//! that comes out can always be read as a [`super::file::File`] and the rest of it be checked too.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Collector, Source, nearest, quoted};
use super::table::{self, Key, Kind, Presence};
use super::units::{Size, Time, without_unit};

/// Checks a whole document and completes it.
pub(super) fn document(document: &mut DeTable<'_>, found: &mut Collector<'_>) {
    section(document, 0..0, "", "", found);
    inherit(document);
}

/// Checks one table; `section` is its path in the key table, `shown` in the document.
fn section(
    table: &mut DeTable<'_>,
    span: Range<usize>,
    section: &str,
    shown: &str,
    found: &mut Collector<'_>,
) {
    let keys = table::keys_of(section);
    let mut meant = Vec::new();
    for name in table.keys() {
        if !keys.iter().any(|key| key.name() == name.get_ref()) {
            let (hint, suggested) = unknown_key(name.get_ref(), section, &keys);
            found.add(name.span(), &join(shown, name.get_ref()), format_args!("unknown key{hint}"));
            meant.extend(suggested);
        }
    }
    for key in keys {
        let shown = join(shown, key.name());
        if let Some(value) = table.get_mut(key.name()) {
            if let Err(what) = check(value, key, section, &shown, found) {
                found.add(value.span(), &shown, what);
                put(table, key, Source::NOWHERE, section, &shown, found);
            }
            continue;
        }
        match key.presence {
            // The keys of `[route.stream]` and `[route.timeouts]`: their defaults are in the top-level table.
            _ if key.section() != section => {}
            Presence::Default(_) => put(table, key, span.clone(), section, &shown, found),
            // Profiles stand between what is written and the defaults.
            Presence::Optional(_) | Presence::Profile(_) => {}
            Presence::Required(example) => {
                if !meant.contains(&key.name()) {
                    found.add(
                        span.clone(),
                        &shown,
                        format_args!("is missing ({})", how_to_write(key, example)),
                    );
                }
                put(table, key, Source::NOWHERE, section, &shown, found);
            }
        }
    }
}

/// Checks one value, and all that is below it.
fn check(
    value: &mut Spanned<DeValue<'_>>,
    key: &Key,
    within: &str,
    shown: &str,
    found: &mut Collector<'_>,
) -> Result<(), String> {
    let span = value.span();
    let path = join(within, key.name());
    match (&key.kind, value.get_mut()) {
        (Kind::Table | Kind::Own(_), DeValue::Table(inner)) => section(inner, span, &path, shown, found),
        (Kind::Tables, DeValue::Array(items)) if items.iter().all(|item| item.get_ref().is_table()) => {
            if items.is_empty() && !matches!(key.presence, Presence::Default("[]")) {
                return Err(format!("is empty ({})", how_to_write(key, key.sample())));
            }
            for item in items.iter_mut() {
                let span = item.span();
                if let DeValue::Table(inner) = item.get_mut() {
                    section(inner, span, &path, shown, found);
                }
            }
        }
        (Kind::Named | Kind::Profiles(_), DeValue::Table(named)) => {
            let path = format!("{path}.*");
            for (name, item) in named.iter_mut() {
                let (span, shown) = (item.span(), join(shown, name.get_ref()));
                if let (Kind::Profiles(_), Err(what)) = (&key.kind, super::forms::profile(name.get_ref())) {
                    found.add(name.span(), &shown, what);
                }
                if let DeValue::Table(inner) = item.get_mut() {
                    section(inner, span, &path, &shown, found);
                    continue;
                }
                found.add(span, &shown, format_args!("is not a table (write {})", table::written(&path)));
                let mut inner = DeTable::new();
                section(&mut inner, Source::NOWHERE, &path, &shown, found);
                *item = Spanned::new(Source::NOWHERE, DeValue::Table(inner));
            }
            if named.is_empty() && matches!(key.kind, Kind::Named) {
                found.add(span, shown, format_args!("is empty ({})", how_to_write(key, key.sample())));
            }
        }
        (Kind::Text(_, check), DeValue::String(text)) => check(text)?,
        (Kind::Texts(_, check), DeValue::Array(items)) => return texts(items, *check, shown, found),
        (kind, scalar) => return check_scalar(kind, scalar, key),
    }
    Ok(())
}

/// Checks a list of texts, each at its own place.
fn texts(
    items: &[Spanned<DeValue<'_>>],
    check: fn(&str) -> Result<(), String>,
    shown: &str,
    found: &mut Collector<'_>,
) -> Result<(), String> {
    let mut wrong = None;
    for item in items {
        let result = match item.get_ref() {
            DeValue::String(text) => check(text),
            other => Err(format!("holds {} where a text must be", noun(other))),
        };
        if let Err(what) = result
            && let Some((span, earlier)) = wrong.replace((item.span(), what))
        {
            found.add(span, shown, earlier);
        }
    }
    match wrong {
        // The last is left to the caller, which replaces the whole list.
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// Checks a value without anything below it.
fn check_scalar(kind: &Kind, value: &DeValue<'_>, key: &Key) -> Result<(), String> {
    let out_of_range =
        |typed: &str, hint: &str| Err(format!("{typed} is out of range ({}{hint})", kind.describe()));
    match (kind, value) {
        (Kind::Word(words), DeValue::String(text)) => super::forms::word(text, &words()),
        (Kind::Time { off: true, .. }, DeValue::String(text)) if text == "off" => Ok(()),
        (Kind::Time { min, max, off }, DeValue::String(text)) => {
            let time: Time = text.parse()?;
            let hint = if *off && time.0.is_zero() { "; write \"off\" to have none" } else { "" };
            if table::in_time_range(time, min, max) { Ok(()) } else { out_of_range(text, hint) }
        }
        (Kind::Size { min, max }, DeValue::String(text)) => {
            let size: Size = text.parse()?;
            if table::in_size_range(size, min, max) { Ok(()) } else { out_of_range(text, "") }
        }
        (Kind::Count { auto: true, .. }, DeValue::String(text)) if text == "auto" => Ok(()),
        (Kind::Count { min, max, .. }, DeValue::Integer(number)) => {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) if (*min..=*max).contains(&number) => Ok(()),
                _ => out_of_range(&number.to_string(), ""),
            }
        }
        (Kind::Switch, DeValue::Boolean(_)) => Ok(()),
        (Kind::Time { off: true, .. }, DeValue::Integer(number)) if number.as_str() == "0" => {
            Err("0 is no duration (write \"off\" to have none)".to_owned())
        }
        (Kind::Time { .. }, DeValue::Integer(number)) => Err(without_unit(number.as_str(), true)),
        (Kind::Size { .. }, DeValue::Integer(number)) => Err(without_unit(number.as_str(), false)),
        (kind, value) => Err(wrong_type(kind, value, key)),
    }
}

/// What is said to a value of a wrong type. Only lists of texts, which are never secrets, are repeated.
fn wrong_type(kind: &Kind, value: &DeValue<'_>, key: &Key) -> String {
    let hint = match (kind, value) {
        (Kind::Word(words), DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
            let typed = scalar(value);
            if words().contains(&typed.as_str()) {
                format!("write {typed:?}")
            } else {
                format!("one of {}", quoted(&words()))
            }
        }
        (Kind::Texts(..), DeValue::String(text)) => format!("write [{text:?}]"),
        (Kind::Tables, DeValue::Table(_)) => format!("write {}", table::written(key.path)),
        (Kind::Count { .. }, DeValue::String(text)) if text.parse::<i64>().is_ok() => format!("write {text}"),
        (Kind::Switch, DeValue::String(text)) if matches!(&**text, "true" | "false") => {
            format!("write {text}")
        }
        _ => format!("such as {}", key.sample()),
    };
    format!("is {}, must be: {} ({hint})", noun(value), kind.describe())
}

/// A number or a switch as it was typed.
fn scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(switch) => switch.to_string(),
        _ => String::new(),
    }
}

fn noun(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Fills the tables of each route that have a namesake at the top from there.
fn inherit(document: &mut DeTable<'_>) {
    for key in table::keys_of("route").into_iter().filter(|key| matches!(key.kind, Kind::Own(_))) {
        let Some(DeValue::Table(top)) = document.get(key.name()).map(|top| top.get_ref().clone()) else {
            continue;
        };
        let Some(DeValue::Array(routes)) = document.get_mut("route").map(Spanned::get_mut) else { continue };
        for route in routes.iter_mut() {
            let DeValue::Table(route) = route.get_mut() else { continue };
            let Some(DeValue::Table(own)) = route.get_mut(key.name()).map(Spanned::get_mut) else { continue };
            for inherited in table::keys_of(key.path) {
                if let Some((name, value)) = top.get_key_value(inherited.name())
                    && !own.contains_key(inherited.name())
                {
                    own.insert(name.clone(), value.clone());
                }
            }
        }
    }
}

/// What to say about a key that is not in the table, and which key it was probably meant to be.
fn unknown_key(name: &str, section: &str, keys: &[&'static Key]) -> (String, Option<&'static str>) {
    let elsewhere = || table::KEYS.iter().find(|key| key.name() == name);
    if let Some(near) = nearest(name, keys.iter().map(|key| key.name())) {
        return (format!(" (did you mean {near:?}?)"), Some(near));
    }
    if let Some(key) = elsewhere() {
        return (format!(" here (it belongs to {})", table::written(key.section())), None);
    }
    if section.is_empty() {
        let names: Vec<&str> = keys.iter().map(|key| key.name()).collect();
        return (format!(" (one of {})", quoted(&names)), None);
    }
    (format!(" (see {} in config.toml.example)", table::written(section)), None)
}

/// How a missing key is to be written.
fn how_to_write(key: &Key, example: &str) -> String {
    match key.kind {
        Kind::Tables | Kind::Named => {
            let path =
                if matches!(key.kind, Kind::Named) { format!("{}.*", key.path) } else { key.path.to_owned() };
            let required = table::keys_of(&path).into_iter().find_map(|key| match key.presence {
                Presence::Required(example) => Some(format!(" and below it {} = {example}", key.name())),
                _ => None,
            });
            format!("write {}{}", table::written(&path), required.unwrap_or_default())
        }
        _ => format!("write {} = {example}", key.name()),
    }
}

/// Puts a key's sample into a table, completed, at `span`.
fn put(
    table: &mut DeTable<'_>,
    key: &Key,
    span: Range<usize>,
    within: &str,
    shown: &str,
    found: &mut Collector<'_>,
) {
    let Ok(value) = DeValue::parse(key.sample()) else { return };
    let mut value = Spanned::new(span.clone(), placed(value.into_inner(), &span));
    if check(&mut value, key, within, shown, found).is_ok() {
        table.insert(Spanned::new(span, Cow::Borrowed(key.name())), value);
    }
}

/// The value with all that is below it at `span`.
fn placed(value: DeValue<'static>, span: &Range<usize>) -> DeValue<'static> {
    let at = |value: Spanned<DeValue<'static>>| Spanned::new(span.clone(), placed(value.into_inner(), span));
    match value {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(at).collect()),
        DeValue::Table(inner) => DeValue::Table(
            inner
                .into_iter()
                .map(|(name, value)| (Spanned::new(span.clone(), name.into_inner()), at(value)))
                .collect(),
        ),
        scalar => scalar,
    }
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_of_every_key_is_valid() {
        let source = Source::file("table", "");
        let mut found = Collector::new(&source);
        let mut count = 0;
        for key in table::KEYS {
            if matches!(key.kind, Kind::Named) || key.path == "route" {
                continue; // Their samples hold required keys without a sample of their own.
            }
            let mut sample = DeValue::parse(key.sample()).unwrap();
            let checked = check(&mut sample, key, key.section(), key.path, &mut found);
            assert_eq!(checked, Ok(()), "{}", key.path);
            count += 1;
        }
        found.finish().unwrap();
        assert_eq!(count, table::KEYS.len() - 2);
    }

    #[test]
    fn document_with_mistakes_comes_out_readable() {
        let text = "upstream = 1\nroute = [{ path = 2, inject = [{ bearer = 3 }], stream = 4 }]\nlog = 5";
        let source = Source::file("config.toml", text);
        let mut found = Collector::new(&source);
        let mut parsed = DeTable::parse(text).unwrap();
        document(parsed.get_mut(), &mut found);
        let file: Result<super::super::file::File, _> =
            serde::Deserialize::deserialize(toml::de::Deserializer::from(parsed));
        assert!(file.is_ok(), "{file:?}");
        // Two of them stand in one line with the route's missing upstream.
        assert_eq!(found.finish().unwrap_err().count(), 6);
    }
}
