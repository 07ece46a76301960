//! The framework under the real Terraform: a provider with one of everything, through every command.
//!
//! Without the usual harness, because the program is its own provider: Terraform starts a link to it and finds
//! the plugin there. `TERRAFORM` names another program than the `terraform` on `PATH`; without either the tests are
//! skipped, unless `SPECTRA_REQUIRE_TERRAFORM` is set.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unnecessary_debug_formatting,
    reason = "a test program, which writes paths as HCL strings"
)]

mod declared;
mod everything;
mod lifecycle;
mod mistakes;
mod provider;
mod terraform;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use self::terraform::Terraform;

type Test = (&'static str, fn(&Terraform));

const TESTS: &[Test] = &[
    ("everything_lives_and_dies", lifecycle::everything_lives_and_dies),
    ("the_least_is_enough", lifecycle::the_least_is_enough),
    ("unknown_values_pass_through_every_kind_of_attribute", lifecycle::unknown_values_pass_through),
    ("numbers_are_exact", lifecycle::numbers_are_exact),
    ("secrets_are_in_no_state", lifecycle::secrets_are_in_no_state),
    ("old_state_is_upgraded", lifecycle::old_state_is_upgraded),
    ("data_sources_and_functions_answer", lifecycle::data_sources_and_functions_answer),
    ("the_command_line_describes_the_provider", lifecycle::the_command_line_describes_the_provider),
    ("one_process_serves_many_configurations", lifecycle::one_process_serves_many_configurations),
    ("an_unknown_provider_configuration_plans", lifecycle::an_unknown_provider_configuration_plans),
    ("declarations_hold", declared::declarations_hold),
    ("bad_values_are_refused_by_name", mistakes::bad_values_are_refused_by_name),
    ("provider_bugs_are_named_and_state_stays_true", mistakes::provider_bugs_are_named),
];

fn main() -> ExitCode {
    if std::env::var_os("TF_PLUGIN_MAGIC_COOKIE").is_some() || std::env::var_os("CORNER_PROVIDER").is_some() {
        return tfplugin::run(provider::Corner);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let Some(terraform) = Terraform::find() else {
        if std::env::var_os("SPECTRA_REQUIRE_TERRAFORM").is_some() {
            eprintln!("there is no `terraform` on PATH, and SPECTRA_REQUIRE_TERRAFORM demands one");
            return ExitCode::FAILURE;
        }
        println!("SKIPPED: there is no `terraform` on PATH, and TERRAFORM does not name one");
        return ExitCode::SUCCESS;
    };
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen =
        TESTS.iter().filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(*f)));
    let mut failed = 0;
    for (name, test) in chosen {
        let passed = catch_unwind(AssertUnwindSafe(|| test(&terraform))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("\ntest result: {}. {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
