//! `terraform-provider-spectra`: projects, environments, services and rollouts on Railway, as Terraform resources.

mod actions;
mod data_sources;
mod ephemerals;
mod errors;
#[cfg(test)]
mod fake;
mod functions;
mod lists;
mod provider;
mod resources;
mod signatures;
mod validators;

use std::process::ExitCode;

fn main() -> ExitCode {
    tfplugin::logging::set_redactor(redact);
    tfplugin::run(provider::Spectra)
}

/// The last resort: whatever slips through the types, no known secret leaves in a log line.
fn redact(line: &str) -> std::borrow::Cow<'_, str> {
    spectra_types::Redactor::global().redact(line)
}
