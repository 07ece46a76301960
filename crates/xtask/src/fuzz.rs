//! `cargo xtask fuzz`: the properties of the plugin protocol's codecs under damaged bytes, with the stable compiler.
//!
//! The loop is a test of `tfplugin`, which runs for a second in every test run. Here it runs for as long as asked.

use crate::Context;
use crate::error::Error;
use crate::process::Output;
use crate::workspace::cargo;

/// When nobody says for how long.
pub(crate) const SECONDS: u32 = 60;

/// Runs the loop. A case that fails is printed with the seed, and is an error.
pub(crate) async fn run(context: &Context, seconds: u32, seed: Option<u64>) -> Result<(), Error> {
    let test = "damaged_bytes_are_a_value_or_an_error";
    let mut job = cargo()
        .args([
            "test",
            "--quiet",
            "--package",
            "tfplugin",
            "--test",
            "fuzz",
            "--",
            "--exact",
            test,
            "--nocapture",
        ])
        .dir(&context.workspace.root)
        .env("TFPLUGIN_FUZZ_SECONDS", seconds.to_string())
        .output(Output::Tee);
    if let Some(seed) = seed {
        job = job.env("TFPLUGIN_FUZZ_SEED", seed.to_string());
    }
    let end = context.processes.run(&job).await?;
    if !end.status.success() {
        // The output was shown as it came.
        return Err(Error::Failed {
            command: end.command,
            status: end.status.to_string(),
            output: String::new(),
        });
    }
    // A test that is not found would pass too.
    if !end.stdout.contains(" cases, ") {
        return Err(Error::unexpected(end.command, "it says nothing of the cases that it tried"));
    }
    Ok(())
}
