//! What a valid configuration says in vain. `tidegate check` tells it.

use super::{Config, PathMatch, Route};
use crate::profile::Signs;
use crate::route::path_matches;

/// One line for each sign of a profile that no request can show: where `auto` never chooses, it is not asked.
pub fn notes(config: &Config) -> Vec<String> {
    // They are the same for all routes.
    let signs = config.routes.first().map(|route| &*route.profiles.signs).unwrap_or_default();
    signs.iter().flat_map(|signs| notes_of(signs, &config.routes)).collect()
}

fn notes_of(signs: &Signs, routes: &[Route]) -> Vec<String> {
    let name = signs.profile();
    if !routes.iter().any(|route| route.profiles.detect) {
        return vec![format!(
            "the signs of profile.{name} never count: every route names its profile (they hold where it is \"auto\")"
        )];
    }
    let dead = signs.paths().iter().filter(|path| !is_asked(path, routes));
    let note = |path: &PathMatch| {
        format!(
            "the path {} of profile.{name} never counts: no route with profile = \"auto\" takes requests there (they go by \
             the path that the client asks for)",
            written(path)
        )
    };
    dead.map(note).collect()
}

/// Whether a request for this path may come to a route that looks at signs. `routes` are in the order in which they match.
fn is_asked(sign: &PathMatch, routes: &[Route]) -> bool {
    for route in routes {
        if route.profiles.detect && (covers(&route.path, sign) || covers(sign, &route.path)) {
            return true;
        }
        let takes_all = route.host.is_none() && route.methods.is_empty() && covers(&route.path, sign);
        if takes_all {
            return false;
        }
    }
    false
}

/// Whether whatever matches `narrow` matches `wide`.
fn covers(wide: &PathMatch, narrow: &PathMatch) -> bool {
    match (wide, narrow) {
        (PathMatch::Exact(_), PathMatch::Prefix(_)) => false,
        (_, PathMatch::Exact(path) | PathMatch::Prefix(path)) => wide == narrow || path_matches(wide, path),
    }
}

/// As it is written in a file.
fn written(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("\"={path}\""),
        PathMatch::Prefix(path) if path.is_empty() => "\"/\"".to_owned(),
        PathMatch::Prefix(path) => format!("{path:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    /// What is noted about `routes` where `paths` are signs of a profile.
    fn noted(paths: &str, routes: &[&str]) -> usize {
        let mut text =
            format!("upstream.a.url = 'http://127.0.0.1:1'\nprofile.miniprogram.paths = [{paths}]\n");
        for route in routes {
            text += &format!("[[route]]\nupstream = 'a'\n{route}\n");
        }
        notes(&parse(&text, "config.toml").unwrap()).len()
    }

    #[test]
    fn sign_is_noted_where_no_route_asks_for_it() {
        const SDK: &str = "stream = { profile = 'sdk' }";
        let sdk = |keys: &str| format!("{keys}\n{SDK}");
        assert_eq!(noted("'/mp', '/x'", &[SDK]), 1, "no route looks at signs");
        assert_eq!(noted("'/mp'", &[""]), 0);
        assert_eq!(noted("'/mp'", &["", &sdk("path = '/mp'")]), 1, "a longer route takes them all");
        assert_eq!(noted("'/mp', '/m'", &["", &sdk("path = '/mp'")]), 1);
        assert_eq!(noted("'/mp'", &["", &sdk("path = '=/mp'")]), 0, "and this one not");
        assert_eq!(noted("'/mp'", &["", &sdk("path = '/mp'\nhost = 'a.example'")]), 0);
        assert_eq!(noted("'/mp'", &["", &sdk("path = '/mp'\nmethods = ['POST']")]), 0);
        assert_eq!(noted("'/mp'", &["path = '/mp/v1'"]), 0, "some of them");
        assert_eq!(noted("'/mp', '=/v1'", &["path = '/v1'"]), 1, "no route is there at all");
        assert_eq!(noted("'/'", &["path = '/v1'"]), 0);
        assert_eq!(noted("'/'", &[""]), 0);
    }
}
