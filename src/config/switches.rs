//! The keys of `[stream]` that a profile decides, as far as they were written.
//!
//! They stand in `[stream]`, in `[route.stream]`, in `[profile.NAME]`, in the [table of profiles](crate::profile) and, as the
//! values of last resort, in the key table. [`Switches::or`] lays one of these over another; below all of them nothing is
//! missing.

use serde::{Deserialize, Serialize};

use super::own::{OwnProfile, OwnProfiles};
use super::units::{Time, TimeOrOff};
use super::{forms, table};
use crate::profile::{AUTO, PROFILES, Profile};

macro_rules! switches {
    ($($name:ident: $kind:ty,)+) => {
        /// Those that were written.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub(super) struct Switches {
            $(
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub(super) $name: Option<$kind>,
            )+
        }

        impl Switches {
            /// These, and `others` where they say nothing.
            #[must_use]
            pub(super) fn or(&self, others: &Switches) -> Switches {
                Switches { $($name: self.$name.clone().or_else(|| others.$name.clone()),)+ }
            }
        }
    };
}

switches! {
    commit: Commit,
    commit_within: Time,
    early_head: TimeOrOff,
    heartbeat: TimeOrOff,
    heartbeat_form: HeartbeatForm,
    errors: Errors,
    done: Ending,
    done_to: String,
    done_close: String,
    merge: TimeOrOff,
    split: String,
    to_full: String,
    pick: String,
    pick_as: PickAs,
    ascii: bool,
    encode: Encoding,
    fields: Fields,
    ids: Ids,
    error_events: ErrorEvents,
}

/// `stream.done`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ending {
    Keep,
    Auto,
    Ensure,
    Strip,
}

/// `stream.pick_as`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PickAs {
    Json,
    Text,
}

/// `stream.encode`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    Off,
    Percent,
    Base64,
}

/// `stream.fields`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Fields {
    #[serde(rename = "all")]
    All,
    #[serde(rename = "data-only")]
    DataOnly,
}

/// `stream.ids`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ids {
    Keep,
    Drop,
}

/// `stream.error_events`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ErrorEvents {
    Keep,
    Named,
}

/// `stream.heartbeat_form`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HeartbeatForm {
    Comment,
    Block,
    Delta,
    Off,
}

/// `stream.errors`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Errors {
    Status,
    InBand,
    EventSource,
}

/// `stream.commit`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Commit {
    Head,
    FirstEvent,
    FirstContent,
}

/// The profiles of a configuration: the built-in ones, and the operator's.
#[derive(Debug)]
pub(super) struct Layers<'f> {
    own: &'f OwnProfiles,
    auto: Switches,
}

impl<'f> Layers<'f> {
    /// `own` are the `[profile.NAME]` tables. `None` only if a built-in table is not valid.
    pub(super) fn new(own: &'f OwnProfiles) -> Option<Self> {
        let defaults = read(table::switches().map(|key| (key.name(), key.sample())))?;
        Some(Layers { own, auto: written(own, AUTO.name)?.or(&defaults) })
    }

    /// The operator's profiles as typed.
    pub(super) fn own(&self) -> &'f OwnProfiles {
        self.own
    }

    /// The names of all profiles: the built-in ones in their order, then the operator's.
    pub(super) fn names(&self) -> Vec<&'f str> {
        let built_in = PROFILES.iter().map(|profile| profile.name);
        let own = self.own.names().filter(|name| named(name).is_none() && forms::profile(name).is_ok());
        built_in.chain(own).collect()
    }

    /// All switches of a client of this profile, where `typed` is what was written for the route.
    pub(super) fn resolve(&self, typed: &Switches, profile: &str) -> Option<Switches> {
        Some(typed.or(&written(self.own, profile)?).or(&self.auto))
    }

    /// What `tidegate check` shows, of the operator's profiles and of these: all of "auto", and what the others say besides.
    pub(super) fn shown<'n>(&'n self, names: impl Iterator<Item = &'n str>) -> Option<OwnProfiles> {
        let mut shown: Vec<(String, OwnProfile)> = Vec::new();
        let built_in = PROFILES.iter().map(|profile| profile.name);
        let names: Vec<&str> = names.collect();
        let chosen = built_in.filter(|name| *name == AUTO.name || names.contains(name));
        for name in self.own.names().chain(chosen) {
            if shown.iter().any(|(other, _)| other == name) {
                continue;
            }
            let typed = self.own.profile(name);
            let switches = if name == AUTO.name { self.auto.clone() } else { written(self.own, name)? };
            let paths = typed.and_then(|typed| typed.paths.clone());
            let user_agents = typed.and_then(|typed| typed.user_agents.clone());
            shown.push((name.to_owned(), OwnProfile { paths, user_agents, switches }));
        }
        Some(OwnProfiles(shown))
    }
}

/// What a profile says itself: the operator's word over the built-in one.
fn written(own: &OwnProfiles, name: &str) -> Option<Switches> {
    let built_in = match named(name) {
        Some(profile) => read(profile.keys.iter().copied())?,
        None => Switches::default(),
    };
    Some(own.profile(name).map_or_else(|| built_in.clone(), |own| own.switches.or(&built_in)))
}

fn named(name: &str) -> Option<&'static Profile> {
    PROFILES.iter().copied().find(|profile| profile.name == name)
}

/// Keys and values of TOML.
fn read<'k>(keys: impl Iterator<Item = (&'k str, &'k str)>) -> Option<Switches> {
    let lines: String = keys.map(|(name, value)| format!("{name} = {value}\n")).collect();
    toml::from_str(&lines).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tables(text: &str) -> OwnProfiles {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_built_in_profile_can_be_read_and_nothing_is_missing_below_it() {
        let own = OwnProfiles::default();
        let layers = Layers::new(&own).unwrap();
        for profile in PROFILES {
            let switches = layers.resolve(&Switches::default(), profile.name).unwrap();
            let all = toml::Table::try_from(&switches).unwrap();
            assert_eq!(all.len(), table::switches().count(), "{}", profile.name);
            let said = toml::Table::try_from(written(&own, profile.name).unwrap()).unwrap();
            assert_eq!(said.len(), profile.keys.len(), "{}", profile.name);
        }
    }

    #[test]
    fn what_is_nearer_to_the_route_wins() {
        let own = tables(
            "auto = { heartbeat = '9s', done_to = 'A' }\nminiprogram = { split = '2KiB', done_to = 'M' }\nmine = { ascii = true }",
        );
        let layers = Layers::new(&own).unwrap();
        assert_eq!(layers.names(), ["auto", "browser", "sdk", "miniprogram", "uniappx", "naive", "mine"]);
        let typed = Switches { done_to: Some("R".to_owned()), ..Switches::default() };
        let of = |typed: &Switches, profile: &str| layers.resolve(typed, profile).unwrap();
        let mini = of(&typed, "miniprogram");
        assert_eq!(mini.done_to.as_deref(), Some("R"), "the route's word");
        assert_eq!(of(&Switches::default(), "miniprogram").done_to.as_deref(), Some("M"), "the profile's");
        assert_eq!(mini.split.as_deref(), Some("2KiB"), "the operator's over the built-in one");
        assert_eq!((mini.ascii, mini.errors), (Some(true), Some(Errors::InBand)), "the built-in ones");
        assert_eq!(mini.heartbeat, Some(TimeOrOff(Some(Duration::from_secs(9)))), "auto's");
        let mine = of(&Switches::default(), "mine");
        assert_eq!((mine.ascii, mine.done_to.as_deref()), (Some(true), Some("A")));
        assert_eq!(mine.errors, Some(Errors::Status), "the key table's");
    }
}
