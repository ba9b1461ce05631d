//! By what `auto` takes a client for a profile, in the operator's own words: `paths` and `user_agents` of `[profile.NAME]`.
//!
//! One sign is enough. They come before what is built in, in the order of the file, since the operator knows the clients.
//! Made by [`crate::config`] once; asked by [`crate::proxy`] for each request that names no profile.

use http::header::{HeaderMap, USER_AGENT};
use memchr::memmem::Finder;

use crate::config::PathMatch;
use crate::route;

/// The signs of one profile.
#[derive(Debug, Clone)]
pub struct Signs {
    profile: String,
    paths: Vec<PathMatch>,
    /// Parts of a `User-Agent`, in lower case.
    user_agents: Vec<Finder<'static>>,
}

impl Signs {
    /// Of the profile of this name.
    pub fn new<'a>(
        profile: String,
        paths: Vec<PathMatch>,
        user_agents: impl Iterator<Item = &'a str>,
    ) -> Self {
        let finder = |part: &str| Finder::new(&part.to_ascii_lowercase()).into_owned();
        Signs { profile, paths, user_agents: user_agents.map(finder).collect() }
    }

    /// The name of the profile.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The paths whose clients are taken for it.
    pub fn paths(&self) -> &[PathMatch] {
        &self.paths
    }

    /// `agent` is in lower case.
    fn are_shown(&self, path: &str, agent: &[u8]) -> bool {
        self.paths.iter().any(|condition| route::path_matches(condition, path))
            || self.user_agents.iter().any(|part| part.find(agent).is_some())
    }
}

/// The profile that a request for this path of the client's shows to be for, the first in the order of `signs`.
pub fn shown<'s>(signs: &'s [Signs], path: &str, headers: &HeaderMap) -> Option<&'s str> {
    if signs.is_empty() {
        return None;
    }
    let path = route::normal(path);
    let agent = headers.get(USER_AGENT).map(|agent| agent.as_bytes().to_ascii_lowercase());
    let agent = agent.unwrap_or_default();
    let shown = signs.iter().find(|signs| signs.are_shown(&path, &agent))?;
    Some(&shown.profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(path: &str) -> PathMatch {
        PathMatch::Prefix(path.to_owned())
    }

    #[test]
    fn first_profile_with_a_sign_that_is_shown_is_found() {
        let signs = [
            Signs::new("exact".to_owned(), vec![PathMatch::Exact("/mp/admin".to_owned())], [].into_iter()),
            Signs::new("mini".to_owned(), vec![prefix("/mp")], ["OkHttp/"].into_iter()),
            Signs::new(
                "app".to_owned(),
                vec![prefix("/mp"), prefix("/app")],
                ["okhttp/4", "MyApp"].into_iter(),
            ),
        ];
        for (path, agent, profile) in [
            ("/mp", "", Some("mini")),
            ("/mp/v1/chat", "", Some("mini")),
            ("/%6dp/v1", "", Some("mini")),
            ("/mp/admin", "", Some("exact")),
            ("/mpx", "", None),
            ("/MP/v1", "", None),
            ("/v1/mp", "", None),
            ("/app/x", "", Some("app")),
            ("/v1", "okhttp/4.12.0", Some("mini")),
            ("/v1", "Dalvik OKHTTP/5", Some("mini")),
            ("/v1", "a myapp/1", Some("app")),
            ("/v1", "okhttp", None),
            ("*", "", None),
        ] {
            let headers = HeaderMap::from_iter([(USER_AGENT, agent.parse().unwrap())]);
            assert_eq!(shown(&signs, path, &headers), profile, "{path} {agent}");
        }
        assert_eq!(shown(&signs, "/v1", &HeaderMap::new()), None);
        assert_eq!(shown(&[], "/mp", &HeaderMap::new()), None);
    }
}
