//! `/var/lib/dpkg/status`, and the files of `status.d` in images without dpkg.

use super::package::{Kind, Package, Place, name, words};

/// The installed packages. One that was removed, or is only half there, is left out.
pub(super) fn parse<'a>(
    text: &'a str,
    place: &'a Place<'_>,
) -> impl Iterator<Item = Result<Package, String>> + 'a {
    stanzas(text).filter_map(|fields| package(&fields, place).transpose())
}

fn package(fields: &[(&str, &str)], place: &Place<'_>) -> Result<Option<Package>, String> {
    let field = |name: &str| {
        let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    // Wanted, flag, state. Files of `status.d` have no such line: what is there is installed.
    if field("Status").is_some_and(|status| status.split_whitespace().last() != Some("installed")) {
        return Ok(None);
    }
    let (Some(title), Some(version)) = (field("Package"), field("Version")) else { return Ok(None) };
    let mut package = Package::new(Kind::Deb, name(title)?, name(version)?, place);
    package.architecture = field("Architecture").map(name).transpose()?.map(str::to_owned);
    package.supplier = field("Maintainer").map(words).transpose()?.map(str::to_owned);
    package.source = field("Source").map(name).transpose()?.map(|source| match source.split_once(" (") {
        Some((name, version)) => (name.to_owned(), Some(version.trim_end_matches(')').to_owned())),
        None => (source.to_owned(), None),
    });
    Ok(Some(package.with_purl(place.system)))
}

/// The fields that are read here.
const FIELDS: [&str; 6] = ["Status", "Package", "Version", "Architecture", "Maintainer", "Source"];

/// Paragraphs of `Name: value`, of which only [`FIELDS`] are kept, each once: a hostile one may have millions. Lines that go on the
/// one before are not needed for any of them.
fn stanzas(text: &str) -> impl Iterator<Item = Vec<(&str, &str)>> {
    let mut lines = text.lines().map(str::trim_end).peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|line| line.is_empty()).is_some() {}
        lines.peek()?;
        let mut fields: Vec<(&str, &str)> = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) else {
                continue;
            };
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if FIELDS.into_iter().any(is) && !fields.iter().any(|(known, _)| is(known)) {
                fields.push((name, value));
            }
        }
        Some(fields)
    })
}
