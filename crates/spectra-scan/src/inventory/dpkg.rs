//! `/var/lib/dpkg/status`, and the files of `status.d` in images without dpkg.

use super::package::{Kind, Package, Place};

/// The installed packages. One that was removed, or is only half there, is left out.
pub(super) fn parse(text: &str, place: &Place<'_>) -> Vec<Package> {
    stanzas(text).filter_map(|fields| package(&fields, place)).collect()
}

fn package(fields: &[(&str, &str)], place: &Place<'_>) -> Option<Package> {
    let field = |name: &str| {
        let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    // Wanted, flag, state. Files of `status.d` have no such line: what is there is installed.
    if field("Status").is_some_and(|status| status.split_whitespace().last() != Some("installed")) {
        return None;
    }
    let (name, version) = (field("Package")?, field("Version")?);
    let mut package = Package::new(Kind::Deb, name, version, place);
    package.architecture = field("Architecture").map(str::to_owned);
    package.supplier = field("Maintainer").map(str::to_owned);
    package.source = field("Source").map(|source| match source.split_once(" (") {
        Some((name, version)) => (name.to_owned(), Some(version.trim_end_matches(')').to_owned())),
        None => (source.to_owned(), None),
    });
    Some(package.with_purl(place.system))
}

/// Paragraphs of `Name: value`. Lines that go on the one before are not needed for any field that is read here.
fn stanzas(text: &str) -> impl Iterator<Item = Vec<(&str, &str)>> {
    let mut lines = text.lines().map(str::trim_end).peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|line| line.is_empty()).is_some() {}
        lines.peek()?;
        let mut fields = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.is_empty()) {
            if !line.starts_with([' ', '\t']) {
                fields.extend(line.split_once(':'));
            }
        }
        Some(fields)
    })
}
