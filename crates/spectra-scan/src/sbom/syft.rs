//! Bills by Syft.

use std::{ffi::OsStr, path::Path, time::Duration};

use super::{Format, Subject, identified, parse, seconds};
use crate::{
    Error, Tool,
    environment::{Own, of_process},
    tool::{Setting, no_settings},
};

/// Where its data is. Everything else might change the output, or make it go elsewhere.
const OWN: Own = &["SYFT_CACHE_DIR"];

/// Has Syft look into an OCI layout that holds the one image, and writes its bill with the time and identifiers of this crate.
///
/// `directory` is where Syft runs: an empty one, since it reads settings from where it is.
pub async fn with_syft(
    syft: &Tool,
    layout: &Path,
    directory: &Path,
    subject: &Subject,
    format: Format,
    timeout: Duration,
) -> Result<String, Error> {
    let output = match format {
        Format::CycloneDx => "cyclonedx-json@1.6",
        Format::Spdx => "spdx-json@2.3",
    };
    let source = format!("oci-dir:{}", layout.display());
    let version = subject.digest.to_string();
    // Not `--quiet`: it would not say why it failed.
    let arguments = [
        "scan",
        &source,
        "--config",
        no_settings(directory)?,
        "--output",
        output,
        "--source-name",
        &subject.name,
        "--source-version",
        &version,
    ];
    let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
    let with = &[("SYFT_CHECK_FOR_APP_UPDATE", OsStr::new("false"))];
    let setting = Setting { directory, environment: &of_process(), own: OWN, with, timeout };
    let bytes = syft.run(&arguments, &setting).await?;
    let mut document = parse(syft.name(), &bytes)?;
    let strange = |what: &str| Error::report(format!("what `{}` printed", syft.name()), what);
    match format {
        Format::CycloneDx => {
            if document["bomFormat"] != "CycloneDX" {
                return Err(strange("it is no CycloneDX document"));
            }
            let metadata =
                document["metadata"].as_object_mut().ok_or_else(|| strange("it has no metadata"))?;
            metadata.remove("timestamp");
            if let Some(created) = subject.created {
                metadata.insert("timestamp".to_owned(), seconds(created).into());
            }
            if let Some(fields) = document.as_object_mut() {
                fields.remove("serialNumber");
            }
        }
        Format::Spdx => {
            if !document["spdxVersion"].is_string() {
                return Err(strange("it is no SPDX document"));
            }
            document["creationInfo"]["created"] = seconds(subject.created.unwrap_or_default()).into();
            if let Some(fields) = document.as_object_mut() {
                fields.remove("documentNamespace");
            }
        }
    }
    Ok(identified(format, subject, document))
}
