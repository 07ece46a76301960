//! apk's list of what is installed.

use super::package::{Kind, Package, Place, name, words};

/// The packages.
pub(super) fn parse<'a>(
    text: &'a str,
    place: &'a Place<'_>,
) -> impl Iterator<Item = Result<Package, String>> + 'a {
    text.split("\n\n").filter_map(|stanza| package(stanza, place).transpose())
}

fn package<'a>(stanza: &'a str, place: &Place<'_>) -> Result<Option<Package>, String> {
    let field = |letter: &str| {
        let value = |line: &'a str| line.strip_prefix(letter)?.strip_prefix(':').map(str::trim);
        stanza.lines().find_map(value).filter(|value| !value.is_empty())
    };
    let (Some(title), Some(version)) = (field("P"), field("V")) else { return Ok(None) };
    let mut package = Package::new(Kind::Apk, name(title)?, name(version)?, place);
    package.architecture = field("A").map(name).transpose()?.map(str::to_owned);
    package.licence = field("L").map(words).transpose()?.map(str::to_owned);
    package.supplier = field("m").map(words).transpose()?.map(str::to_owned);
    // The name of the recipe; vulnerabilities are listed under it.
    let origin = field("o").map(name).transpose()?;
    package.source = origin.filter(|origin| *origin != package.name).map(|origin| (origin.to_owned(), None));
    Ok(Some(package.with_purl(place.system)))
}
