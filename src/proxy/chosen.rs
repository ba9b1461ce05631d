//! What a request is treated by: its route, and the profile of its client.

use std::cell::RefCell;
use std::rc::Rc;

use http::HeaderMap;
use http::request::Parts;

use super::error::ProxyError;
use super::headers::TIDEGATE_PROFILE;
use super::host::Host;
use super::intent::Scanner;
use super::manner::Manner;
use super::plan::Ask;
use super::request;
use super::upgrade::Upgrade;
use crate::config::{FormatSetting, Profiles, Route, StreamSettings};
use crate::log::Access;
use crate::profile::{self, AUTO};
use crate::route;
use crate::server::worker::Worker;

/// A route, and one of its profiles.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) worker: Rc<Worker>,
    /// Index into the routes of the worker's configuration.
    route: usize,
    /// Index into the profiles of the route.
    profile: usize,
}

/// What is known of a request once it has a route.
pub(super) struct Wish {
    pub(super) chosen: Chosen,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) host: Option<Host>,
    /// What it wants to be answered; an error if it names a bridge that does not exist, for who may use the route.
    pub(super) ask: Result<Ask, request::Refusal>,
    /// Reads what the request body says about streaming.
    pub(super) scanner: Option<Rc<RefCell<Scanner>>>,
    pub(super) manner: Manner,
}

/// `Tidegate-Profile` names no profile. The names that there are.
#[derive(Debug, thiserror::Error)]
#[error("Tidegate-Profile names no profile (one of {0})")]
pub(super) struct Unknown(String);

impl Chosen {
    /// For this head, whose path is from here on the one that goes up: what a request is for, and in which words it is
    /// refused, hangs on that. Beside it the host that it asks for. A profile that does not exist is found by
    /// [`Chosen::check`]: who may not use the route need not know the names of its profiles.
    ///
    /// # Errors
    /// The head cannot be served, or no route has it.
    pub(super) fn by(
        head: &mut Parts,
        worker: &Rc<Worker>,
        access: &mut Access,
    ) -> Result<(Self, Option<Host>), ProxyError> {
        let config = &*worker.config;
        let host = request::admit(head, config.limits.max_headers)?;
        let index = route::find(config, host.as_ref().map(Host::as_str), &head.method, head.uri.path())?;
        let route = &config.routes[index];
        let profile = profile(&route.profiles, head).unwrap_or_default();
        access.chosen = Some((index, profile));
        head.uri = request::upstream_uri(config, route, &head.uri)?;
        Ok((Chosen { worker: Rc::clone(worker), route: index, profile }, host))
    }

    /// Whether the profile that the request names exists.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Unknown> {
        let profiles = &self.route().profiles;
        let is_known = |name: &str| name == AUTO.name || position(profiles, name).is_some();
        if named(profiles, headers).is_none_or(is_known) {
            return Ok(());
        }
        let names: Vec<&str> = profiles.choices.iter().map(|profile| profile.name.as_str()).collect();
        Err(Unknown(names.join(", ")))
    }

    pub(super) fn route(&self) -> &Route {
        &self.worker.config.routes[self.route]
    }

    /// How responses are turned into streams for this client.
    pub(super) fn stream(&self) -> &StreamSettings {
        self.route().stream(self.profile)
    }
}

impl Wish {
    /// Of this head of the client's, with the path that goes up. What in its query is for tidegate is taken out.
    pub(super) fn new(
        chosen: Chosen,
        upgrade: Option<Upgrade>,
        host: Option<Host>,
        head: &mut Parts,
    ) -> Self {
        let stream = chosen.stream();
        let bridge = request::bridge(stream, &mut head.uri);
        let ask = Ask::new(stream, &head.method, head.uri.path(), &head.headers)
            .through(bridge.as_ref().ok().copied().flatten());
        let scanner = watches_body(stream, &ask).then(|| Rc::new(RefCell::new(Scanner::new())));
        let manner = match &upgrade {
            Some(_) => Manner::by_status(ask.dialect),
            None => Manner::new(&chosen, head, ask, scanner.clone()),
        };
        let ask = bridge.map(|_| ask);
        Wish { chosen, upgrade, host, ask, scanner, manner }
    }
}

/// Whether the request body may say that a stream is wanted, and whether that matters.
fn watches_body(stream: &StreamSettings, ask: &Ask) -> bool {
    !matches!(stream.format, FormatSetting::Off) && stream.intent.is_none() && ask.sends_json
}

/// The profile that the request names, if it may, else the one that it shows or the route has; `None`: there is none of
/// that name. `head` has the path that the client asked for.
fn profile(profiles: &Profiles, head: &Parts) -> Option<usize> {
    let detects = match named(profiles, &head.headers) {
        Some(name) if name != AUTO.name => return position(profiles, name),
        Some(_) => true,
        None => profiles.detect,
    };
    if !detects {
        return Some(0);
    }
    let own = profile::shown(&profiles.signs, head.uri.path(), &head.headers);
    position(profiles, own.unwrap_or_else(|| profile::detected(&head.method, &head.headers).name))
}

fn named<'h>(profiles: &Profiles, headers: &'h HeaderMap) -> Option<&'h str> {
    let value = headers.get(&TIDEGATE_PROFILE).filter(|_| profiles.by_header)?;
    Some(value.to_str().unwrap_or_default())
}

fn position(profiles: &Profiles, name: &str) -> Option<usize> {
    profiles.choices.iter().position(|profile| profile.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// What a request with these fields is given on a route with these keys of `[route.stream]`.
    fn chosen(keys: &str, fields: &[(&str, &str)]) -> Option<String> {
        let text = format!(
            "upstream.a.url = 'http://127.0.0.1:1'\n[[route]]\nupstream = 'a'\nstream = {{ {keys} }}\n[profile.mine]\nascii = true\n"
        );
        let config = config::parse(&text, "config.toml").unwrap();
        let profiles = &config.routes[0].profiles;
        let request = fields
            .iter()
            .fold(http::Request::post("/v1/x"), |request, (name, value)| request.header(*name, *value));
        let head = request.body(()).unwrap().into_parts().0;
        profile(profiles, &head).map(|index| profiles.choices[index].name.clone())
    }

    #[test]
    fn profile_is_named_by_the_request_then_by_the_route_then_found() {
        let sdk = [("user-agent", "OpenAI/Python 2.8.1")];
        let of = |name| [("tidegate-profile", name), sdk[0]];
        assert_eq!(chosen("", &sdk).as_deref(), Some("sdk"));
        assert_eq!(chosen("", &[]).as_deref(), Some("auto"));
        assert_eq!(chosen("", &of("naive")).as_deref(), Some("sdk"), "not allowed");
        assert_eq!(chosen("profile = 'uniappx'", &sdk).as_deref(), Some("uniappx"));
        let by_header = "profile = 'uniappx', profile_header = true";
        assert_eq!(chosen(by_header, &sdk).as_deref(), Some("uniappx"));
        for name in ["naive", "mine", "uniappx"] {
            assert_eq!(chosen(by_header, &of(name)).as_deref(), Some(name));
        }
        assert_eq!(chosen(by_header, &of("auto")).as_deref(), Some("sdk"), "by its own wish");
        assert_eq!(chosen(by_header, &of("nobody")), None);
    }
}
