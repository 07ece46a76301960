//! `completions`: a script that makes a shell complete our arguments.

use clap::Args;
use clap_complete::Shell;
use spectra_types::ExitCode;

use crate::{failure::Failure, printer::script_to_stdout};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::command(), "railway-deployer", &mut script);
    script_to_stdout(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Done)
}
