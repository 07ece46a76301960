//! apk's list of what is installed.

use super::package::{Kind, Package, Place};

/// The packages.
pub(super) fn parse(text: &str, place: &Place<'_>) -> Vec<Package> {
    text.split("\n\n").filter_map(|stanza| package(stanza, place)).collect()
}

fn package(stanza: &str, place: &Place<'_>) -> Option<Package> {
    let field = |letter: &str| {
        let value = |line: &'_ str| line.strip_prefix(letter)?.strip_prefix(':').map(|v| v.trim().to_owned());
        stanza.lines().find_map(value).filter(|value| !value.is_empty())
    };
    let mut package = Package::new(Kind::Apk, &field("P")?, &field("V")?, place);
    package.architecture = field("A");
    package.licence = field("L");
    package.supplier = field("m");
    // The name of the recipe; vulnerabilities are listed under it.
    package.source = field("o").filter(|origin| *origin != package.name).map(|origin| (origin, None));
    Some(package.with_purl(place.system))
}
