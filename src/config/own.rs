//! The `[profile.NAME]` tables as typed, in the order of the file.
//!
//! That order counts: of several whose signs a request shows, the first is taken. So it is kept in what `tidegate check`
//! prints, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Spanned;

use super::forms;
use super::mistake::Collector;
use super::switches::Switches;
use crate::profile::Signs;

/// `[profile.NAME]`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OwnProfile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) paths: Option<Spanned<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user_agents: Option<Spanned<Vec<String>>>,
    #[serde(flatten)]
    pub(super) switches: Switches,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct OwnProfiles(pub(super) Vec<(String, OwnProfile)>);

impl OwnProfiles {
    /// Their names, in the order of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The one of this name.
    pub(super) fn profile(&self, name: &str) -> Option<&OwnProfile> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, own)| own)
    }

    /// By what `auto` takes clients for them; lists that are too long are noted.
    pub(super) fn signs(&self, found: &mut Collector<'_>) -> Arc<[Signs]> {
        self.0.iter().filter_map(|(name, own)| own.signs(name, found)).collect()
    }
}

impl OwnProfile {
    /// `None`: it has none.
    fn signs(&self, name: &str, found: &mut Collector<'_>) -> Option<Signs> {
        let mut texts = |key: &str, list: &Option<Spanned<Vec<String>>>| {
            let (span, texts) = list.as_ref().map(|list| (list.span(), list.get_ref().clone()))?;
            if texts.len() > MAX_SIGNS {
                let what = format!("holds {} texts (at the most {MAX_SIGNS})", texts.len());
                found.add(span, &format!("profile.{name}.{key}"), what);
            }
            Some(texts)
        };
        let paths = texts("paths", &self.paths).unwrap_or_default();
        let agents = texts("user_agents", &self.user_agents).unwrap_or_default();
        if paths.is_empty() && agents.is_empty() {
            return None;
        }
        // What is no path was noted before.
        let paths = paths.iter().filter_map(|path| forms::path(path).ok()).collect();
        Some(Signs::new(name.to_owned(), paths, agents.iter().map(String::as_str)))
    }
}

impl Serialize for OwnProfiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, own)| (name, own)))
    }
}

impl<'de> Deserialize<'de> for OwnProfiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let typed = BTreeMap::<String, Spanned<OwnProfile>>::deserialize(deserializer)?;
        let mut typed: Vec<_> = typed.into_iter().collect();
        typed.sort_by_key(|(_, own)| own.span().start);
        Ok(OwnProfiles(typed.into_iter().map(|(name, own)| (name, own.into_inner())).collect()))
    }
}

/// Texts of a list: every request that names no profile is compared with them.
const MAX_SIGNS: usize = 32;
