//! How streams are treated: one set of settings for each profile that a request on a route may choose.
//!
//! What was written for the route wins over the profile, so that nothing has to be asked again when a request comes.

use std::sync::Arc;

use super::shapes::shapes;
use crate::bridge::Bridge;
use crate::codec::repair::Repairs;
use crate::config::file::{self, Charset, DataSpace, File, Intent};
use crate::config::forms;
use crate::config::mistake::{Collector, suggestion};
use crate::config::own::OwnProfiles;
use crate::config::switches::{self, Commit, Layers, Switches};
use crate::config::{Errors, FormatSetting, Profile, Profiles, RepairSetting, Route, StreamSettings};
use crate::dialect::DIALECTS;
use crate::format::FORMATS;
use crate::profile::{AUTO, Signs, detectable};
use crate::stream::{HeartbeatForm, Hold, Until};

/// Notes every name of a profile that does not exist, each once.
pub(super) fn check_names(file: &File, layers: &Layers<'_>, found: &mut Collector<'_>) {
    let names = layers.names();
    let mut seen = Vec::new();
    let routes = file.route.iter().map(|route| &route.get_ref().stream);
    for typed in [&file.stream].into_iter().chain(routes).map(|stream| &stream.profile) {
        let name = typed.get_ref().as_str();
        if !names.contains(&name) && !seen.contains(&typed.span()) {
            seen.push(typed.span());
            let what = format!("no profile is called {name:?}{}", suggestion(name, &names));
            found.add(typed.span(), "stream.profile", what);
        }
    }
}

/// The profiles of a route, the one that it names first; `None` if that does not exist. `signs` are those of the operator.
pub(super) fn profiles(typed: &file::Stream, layers: &Layers<'_>, signs: &Arc<[Signs]>) -> Option<Profiles> {
    let (usual, names) = (typed.profile.get_ref().as_str(), layers.names());
    if !names.contains(&usual) {
        return None;
    }
    let detect = usual == AUTO.name;
    let others: Vec<&str> = match (typed.profile_header, detect) {
        (true, _) => names,
        (false, true) => {
            let is_detected = |name: &&str| {
                detectable().any(|profile| profile.name == *name)
                    || signs.iter().any(|signs| signs.profile() == *name)
            };
            names.into_iter().filter(is_detected).collect()
        }
        (false, false) => Vec::new(),
    };
    let chosen = [usual].into_iter().chain(others.into_iter().filter(|name| *name != usual));
    let choices = chosen.map(|name| {
        let switches = layers.resolve(&typed.switches, name)?;
        Some(Profile { name: name.to_owned(), stream: stream(typed, &switches)? })
    });
    let (by_header, choices) = (typed.profile_header, choices.collect::<Option<_>>()?);
    Some(Profiles { by_header, detect, signs: Arc::clone(signs), choices })
}

/// What `tidegate check` shows of the profiles that requests may choose.
pub(super) fn shown(file: &File, routes: &[Route]) -> Option<OwnProfiles> {
    let choices = routes.iter().flat_map(|route| &route.profiles.choices);
    Layers::new(&file.profile)?.shown(choices.map(|profile| profile.name.as_str()))
}

fn stream(typed: &file::Stream, switches: &Switches) -> Option<StreamSettings> {
    let form = heartbeat_form(switches.heartbeat_form?);
    Some(StreamSettings {
        format: match typed.format.as_str() {
            "auto" => FormatSetting::Auto,
            "off" => FormatSetting::Off,
            name => FormatSetting::Fixed(FORMATS.iter().find(|format| format.name == name)?),
        },
        literal_space: typed.data_space == DataSpace::Literal,
        shapes: shapes(typed, switches)?,
        transcode: typed.charset == Charset::Declared,
        repair: repair(&typed.repair),
        dialect: match typed.dialect.as_str() {
            "auto" => None,
            name => Some(DIALECTS.iter().find(|dialect| dialect.name == name)?),
        },
        intent: match typed.intent {
            Intent::Auto => None,
            Intent::Stream => Some(true),
            Intent::Plain => Some(false),
        },
        hold: hold(switches)?,
        early_head: switches.early_head?.0,
        heartbeat: switches.heartbeat?.0.filter(|_| form != HeartbeatForm::Off),
        heartbeat_form: form,
        errors: match switches.errors? {
            switches::Errors::Status => Errors::Status,
            switches::Errors::InBand => Errors::InBand,
            switches::Errors::EventSource => Errors::EventSource,
        },
        bridge: Bridge::named(&typed.bridge),
        bridge_query: forms::parameter(&typed.bridge_query).ok()?.map(str::to_owned),
        fake_stream: typed.fake_stream,
        max_event_bytes: typed.max_event_bytes.bytes(),
    })
}

fn heartbeat_form(typed: switches::HeartbeatForm) -> HeartbeatForm {
    match typed {
        switches::HeartbeatForm::Comment => HeartbeatForm::Comment,
        switches::HeartbeatForm::Block => HeartbeatForm::Block,
        switches::HeartbeatForm::Delta => HeartbeatForm::Delta,
        switches::HeartbeatForm::Off => HeartbeatForm::Off,
    }
}

/// `None` only where a switch is missing.
fn hold(switches: &Switches) -> Option<Option<Hold>> {
    let within = switches.commit_within?.0;
    Some(match switches.commit? {
        Commit::Head => None,
        Commit::FirstEvent => Some(Hold { until: Until::Event, within }),
        Commit::FirstContent => Some(Hold { until: Until::Content, within }),
    })
}

fn repair(words: &[String]) -> RepairSetting {
    let named = words.iter().filter_map(|word| match word.as_str() {
        "all" => Some(Repairs::all()),
        name => Repairs::named(name),
    });
    RepairSetting {
        auto: words.iter().any(|word| word == "auto"),
        named: named.fold(Repairs::NONE, Repairs::union),
    }
}
