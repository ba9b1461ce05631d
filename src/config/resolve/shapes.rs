//! What a route wants changed in the events of its streams.

use std::sync::Arc;
use std::time::Duration;

use crate::config::switches::{self, ErrorEvents, Fields, Ids, PickAs, Switches};
use crate::config::units::TimeOrOff;
use crate::config::{file, forms};
use crate::shape::{Encoding, Ending, Marker, Markers, Pick, Settings};

/// The shapes; none where nothing is changed. `None` only where a switch is missing.
pub(super) fn shapes(typed: &file::Stream, switches: &Switches) -> Option<Option<Arc<Settings>>> {
    let pointer = |text: &str| forms::pointer(text).ok().flatten().map(str::to_owned);
    let pick_as = switches.pick_as?;
    let settings = Settings {
        markers: markers(typed, switches)?,
        to_delta: pointer(&typed.to_delta),
        to_full: pointer(switches.to_full.as_deref()?),
        merge: switches.merge?.0,
        split: forms::largest(switches.split.as_deref()?).ok().flatten(),
        pick: pointer(switches.pick.as_deref()?)
            .map(|pointer| Pick { pointer, plain: pick_as == PickAs::Text }),
        ascii: switches.ascii?,
        encode: match switches.encode? {
            switches::Encoding::Off => None,
            switches::Encoding::Percent => Some(Encoding::Percent),
            switches::Encoding::Base64 => Some(Encoding::Base64),
        },
        names_errors: switches.error_events? == ErrorEvents::Named,
        data_only: switches.fields? == Fields::DataOnly,
        drops_ids: switches.ids? == Ids::Drop,
    };
    Some((settings != Settings::default()).then(|| Arc::new(settings)))
}

fn markers(typed: &file::Stream, switches: &Switches) -> Option<Markers> {
    let from = typed.done_from.iter().map(|text| Marker::read(text)).collect();
    let (usual, to) = (Markers::default(), Marker::read(switches.done_to.as_deref()?));
    let is_mapped = from != usual.from || to != usual.to;
    Some(Markers {
        ending: match switches.done? {
            switches::Ending::Keep => Ending::Keep,
            switches::Ending::Auto => Ending::Auto,
            switches::Ending::Ensure => Ending::Ensure,
            switches::Ending::Strip => Ending::Strip,
        },
        close: match forms::closing(switches.done_close.as_deref()?) {
            Ok(Some(TimeOrOff(close))) => close,
            _ => is_mapped.then_some(CLOSE_AFTER),
        },
        from,
        to,
    })
}

/// After an end marker of the route's own: time for what belongs to it, and soon enough that nobody waits.
const CLOSE_AFTER: Duration = Duration::from_millis(50);
