//! Standard output that does not take what it is given.

use std::{fs::File, process::Stdio};

use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::registry,
    support::{Place, content},
    world::{World, start_arguments},
};

/// Runs with that as standard output: exit code and standard error.
fn run(place: &Place, stdout: impl Into<Stdio>, arguments: &[&str]) -> (i32, String) {
    let output = place.command().args(arguments).stdin(Stdio::null()).stdout(stdout).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// Each command as it is, and with `--json`, into a standard output that is full, one that cannot be written to, and one that nobody
/// reads.
fn check(place: &Place, commands: &[&[&str]]) {
    for command in commands {
        for json in [false, true] {
            let flags: &[&str] = if json { &["--no-progress", "--json"] } else { &["--no-progress"] };
            let arguments = [command, flags].concat();
            for (stdout, reason) in [
                (full(), "No space left on device"),
                (File::open("/dev/null").unwrap(), "Bad file descriptor"),
            ] {
                let (code, stderr) = run(place, stdout, &arguments);
                let said = if json {
                    "cannot write to standard output\""
                } else {
                    "error[SPX-300]: cannot write to standard output\n"
                };
                assert!(
                    code == 1 && stderr.contains(said) && stderr.contains(reason),
                    "{arguments:?}: {code} {stderr}"
                );
            }
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let (code, stderr) = run(place, writer, &arguments);
            assert!(code == 0 && !stderr.contains("error"), "{arguments:?}: {code} {stderr}");
        }
    }
}

#[test]
fn results_that_could_not_be_written_were_lost_with_exit_code_0() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    content(&place, "in");
    place.run(&["image", "build", "in", "--output", "layout", "--entrypoint", "/bin/app"]).done();
    let target = format!("{}/team/app:v1", running.address);
    place.run(&["image", "push", "layout", &target]).done();
    place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    place.run(&["image", "sign", &target, "--key", "ci.key"]).done();
    check(
        &place,
        &[
            &["image", "inspect", "layout"],
            &["image", "sbom", "layout", "--generator", "builtin"],
            &["image", "push", "layout", &target],
            &["image", "copy", "layout", "oci:copied"],
            &["image", "verify", &target, "--key", "ci.pub"],
            &["secrets", "scan", "in", "--scanner", "builtin"],
            &["secrets", "scan", "in", "--scanner", "builtin", "--format", "sarif"],
            &["secrets", "rules"],
        ],
    );
    insta::assert_snapshot!(run(&place, full(), &["image", "inspect", "layout"]).1, @"
    error[SPX-300]: cannot write to standard output
      caused by: No space left on device (os error 28)
    hint: the result alone is lost, and what the command changed is changed; see whether the disk or quota behind standard output is full
    ");
    // What is printed of the command line itself.
    for arguments in [&["--help"][..], &["--version"], &["image", "push", "--help"], &["completions", "bash"]]
    {
        let (code, stderr) = run(&place, full(), arguments);
        assert!(
            code == 1 && stderr.contains("cannot write to standard output"),
            "{arguments:?}: {code} {stderr}"
        );
    }
}

#[test]
fn a_rollout_that_is_told_to_a_full_disk_keeps_what_its_exit_code_says() {
    let world = World::new();
    let image = world.image("image", &[]);
    world.start(&image, &[]).done();
    check(&world.place, &[&["audit", "export"], &["audit", "log"], &["rollout", "history"]]);
    let bad = world.image("bad", &[("health-status", "503")]);
    let (code, stderr) = run(&world.place, full(), &start_arguments(&bad, &[]));
    assert!(code == 3 && stderr.contains("cannot write to standard output"), "{code} {stderr}");
    let (code, stderr) = run(&world.place, full(), &["rollout", "abort"]);
    assert!(code == 1 && stderr.contains("the result alone is lost"), "{code} {stderr}");
}
