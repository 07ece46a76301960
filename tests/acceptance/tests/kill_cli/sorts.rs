//! Every sort of record that a rollout can write, as the types themselves say.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{Deserialize, Error};
use spectra_rollout::{Action, Entry};

/// What a type says when it is asked to be a variant that it does not have: those that it has.
#[derive(Debug, Default)]
struct Variants(&'static [&'static str]);

impl fmt::Display for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Variants {}

impl Error for Variants {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::default()
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

fn variants<'de, T: Deserialize<'de>>(tag: &'static str) -> &'static [&'static str] {
    let no_such = MapDeserializer::<_, Variants>::new([(tag, "?")].into_iter());
    let Err(Variants(known)) = T::deserialize(no_such) else { panic!("`?` is a variant") };
    assert!(!known.is_empty(), "the type does not say what it knows");
    known
}

/// The sorts: of an action its beginning and its end, of everything else the kind.
pub(crate) fn all() -> BTreeSet<String> {
    let mut sorts: BTreeSet<String> = variants::<Entry>("entry")
        .iter()
        .filter(|kind| !["intent", "done"].contains(kind))
        .map(|kind| format!("rollout.{kind}"))
        .collect();
    for action in variants::<Action>("action") {
        sorts.extend(["intent", "done"].map(|kind| format!("rollout.{kind} {action}")));
    }
    sorts.extend(["lease.acquired", "lease.taken_over", "lease.released"].map(str::to_owned));
    sorts.insert(spectra_delivery::kinds::JOINED.to_owned());
    sorts
}
