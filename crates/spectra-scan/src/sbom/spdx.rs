//! SPDX 2.3.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Generator, Subject, cyclonedx::references, hex, seconds};
use crate::inventory::{Inventory, Kind, Package};

/// The identifier of the image itself.
const ROOT: &str = "SPDXRef-Image";

pub(super) fn document(subject: &Subject, inventory: &Inventory, generator: Generator<'_>) -> Value {
    let ids: Vec<String> = references(&inventory.packages)
        .iter()
        .zip(&inventory.packages)
        .map(|(reference, package)| id(package, reference))
        .collect();
    let mut packages = vec![root(subject)];
    packages.extend(inventory.packages.iter().zip(&ids).map(|(package, id)| entry(package, id)));
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)];
    relations.extend(ids.iter().map(|id| relation(ROOT, "CONTAINS", id)));
    let mut by_place: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (package, id) in inventory.packages.iter().zip(&ids) {
        by_place.entry((&*package.path, &*package.purl)).or_insert(id);
    }
    for (package, id) in
        inventory.packages.iter().zip(&ids).filter(|(package, _)| package.kind == Kind::Cargo)
    {
        for purl in &package.needs {
            let needed = by_place.get(&(&*package.path, &**purl));
            relations.extend(needed.map(|other| relation(id, "DEPENDS_ON", other)));
        }
    }
    // The field must be there; an image that does not say when it was made has the first moment of the epoch.
    let created = seconds(subject.created.unwrap_or_default());
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "comment": inventory.notes.join("\n"),
        "creationInfo": {
            "created": created,
            "creators": [format!("Tool: {}-{}", generator.name, generator.version)],
        },
        "packages": packages,
        "relationships": relations,
    })
}

fn root(subject: &Subject) -> Value {
    json!({
        "SPDXID": ROOT,
        "name": subject.name,
        "versionInfo": subject.digest.to_string(),
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "supplier": "NOASSERTION",
        "checksums": [{
            "algorithm": subject.digest.algorithm().as_str().to_ascii_uppercase(),
            "checksumValue": subject.digest.hex(),
        }],
        "comment": format!("platform {}", subject.platform),
    })
}

fn entry(package: &Package, id: &str) -> Value {
    let mut entry = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        // The packager's text need not be an expression of SPDX; it stands in the comment.
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "supplier": package.supplier.as_ref().map_or_else(|| "NOASSERTION".to_owned(), |name| format!("Organization: {name}")),
        "sourceInfo": format!("listed in /{} of layer {}", package.path, package.layer),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": &*package.purl,
        }],
    });
    if let Some(licence) = &package.licence {
        entry["licenseComments"] = format!("the package says `{licence}`").into();
    }
    entry
}

/// Letters, digits, dots and dashes, unique by a hash of what tells the packages apart.
fn id(package: &Package, reference: &str) -> String {
    use sha2::Digest as _;
    let kind = match package.kind {
        Kind::Deb => "deb",
        Kind::Apk => "apk",
        Kind::Cargo => "cargo",
    };
    let name: String = package
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(64)
        .collect();
    format!("SPDXRef-Package-{kind}-{name}-{}", hex(&sha2::Sha256::digest(reference)[..8]))
}
