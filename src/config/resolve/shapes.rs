//! What a route wants changed in the events of its streams.

use std::sync::Arc;
use std::time::Duration;

use crate::config::file::{self, Fields, PickAs};
use crate::config::forms;
use crate::config::units::TimeOrOff;
use crate::shape::{Encoding, Ending, Marker, Markers, Pick, Settings};

/// The shapes; `None` where nothing is changed.
pub(super) fn shapes(typed: &file::Stream) -> Option<Arc<Settings>> {
    let pointer = |text: &str| forms::pointer(text).ok().flatten().map(str::to_owned);
    let settings = Settings {
        markers: markers(typed),
        to_delta: pointer(&typed.to_delta),
        to_full: pointer(&typed.to_full),
        merge: typed.merge.0,
        split: forms::largest(&typed.split).ok().flatten(),
        pick: pointer(&typed.pick).map(|pointer| Pick { pointer, plain: typed.pick_as == PickAs::Text }),
        ascii: typed.ascii,
        encode: match typed.encode {
            file::Encoding::Off => None,
            file::Encoding::Percent => Some(Encoding::Percent),
            file::Encoding::Base64 => Some(Encoding::Base64),
        },
        data_only: typed.fields == Fields::DataOnly,
    };
    (settings != Settings::default()).then(|| Arc::new(settings))
}

fn markers(typed: &file::Stream) -> Markers {
    let from = typed.done_from.iter().map(|text| Marker::read(text)).collect();
    let (usual, to) = (Markers::default(), Marker::read(&typed.done_to));
    let is_mapped = from != usual.from || to != usual.to;
    Markers {
        ending: match typed.done {
            file::Ending::Keep => Ending::Keep,
            file::Ending::Ensure => Ending::Ensure,
            file::Ending::Strip => Ending::Strip,
        },
        close: match forms::closing(&typed.done_close) {
            Ok(Some(TimeOrOff(close))) => close,
            _ => is_mapped.then_some(CLOSE_AFTER),
        },
        from,
        to,
    }
}

/// After an end marker of the route's own: time for what belongs to it, and soon enough that nobody waits.
const CLOSE_AFTER: Duration = Duration::from_millis(50);
