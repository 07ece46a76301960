//! Functions: pure, usable without any provider configuration.

mod duration;
mod image_ref;
mod pin;
mod railway_ref;

use tfplugin::Registry;

use crate::provider::Spectra;

pub(crate) fn register(registry: &mut Registry<Spectra>) {
    registry
        .function(duration::DurationFunction)
        .function(image_ref::ImageRefFunction)
        .function(pin::PinFunction)
        .function(railway_ref::RailwayRefFunction);
}
