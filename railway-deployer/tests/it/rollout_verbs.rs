//! What is done with rollouts that were begun: promote, rollback, approve, and what is written about them.

use rustix::process::Signal;

use crate::world::World;

/// The digest of a pinned image.
fn digest(image: &str) -> Option<String> {
    image.split_once('@').map(|(_, digest)| digest.to_owned())
}

#[test]
fn promote_ends_the_wait_of_a_running_rollout() {
    let world = World::new();
    let image = world.image("image", &[]);
    let nothing =
        world.place.run(&["rollout", "start", "--image", &image, "--health-interval", "20ms"]).done();
    assert!(nothing.stdout.starts_with("complete: "), "{}", nothing.stdout);
    assert_eq!(world.place.run(&["rollout", "promote"]).code, 1);
    let next = world.image("next", &[]);
    let mut running = world.begin(&next, &["--bake", "20m"]);
    running.until("phase baking");
    let promoted = world.place.run(&["rollout", "promote"]).done();
    assert!(promoted.stdout.starts_with("the wish is written down for rollout "), "{}", promoted.stdout);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(world.serving(), digest(&next));
}

#[test]
fn rollback_goes_to_the_version_before_and_not_back_again() {
    let world = World::new();
    let none = world.place.run(&["rollout", "rollback"]);
    assert_eq!(none.code, 1, "{}", none.shown());
    assert!(none.stderr.starts_with("error[SPX-445]: "), "{}", none.stderr);
    let [first, second, third] = ["first", "second", "third"].map(|name| world.image(name, &[]));
    for image in [&first, &second, &third] {
        world.start(image, &[]).done();
    }
    let run = world.place.run(&["rollout", "rollback", "--reason", "errors rise", "--json"]).done().json();
    assert_eq!(run["running_digest"].as_str().map(str::to_owned), digest(&second));
    assert_eq!(world.serving(), digest(&second));
    // The third was gone back from, so it is not what came before.
    world.place.run(&["rollout", "rollback"]).done();
    assert_eq!(world.serving(), digest(&first));
    world.place.run(&["rollout", "rollback", "--to", &third]).done();
    assert_eq!(world.serving(), digest(&third));
    let log = world.place.run(&["audit", "log", "--kind", "wish.rollback", "--json"]).done().json();
    let reasons: Vec<_> =
        log["records"].as_array().unwrap().iter().map(|record| record["body"]["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("errors rise"), Some(""), Some("")]);
    assert_eq!(world.place.run(&["rollout", "rollback", "--to", "nginx:1"]).code, 2);
}

#[test]
fn rollback_without_a_journal_asks_railway() {
    let world = World::new();
    let [first, second] = ["first", "second"].map(|name| world.image(name, &[]));
    for image in [&first, &second] {
        world.start(image, &["--journal", "sqlite://elsewhere.db"]).done();
    }
    world.place.run(&["rollout", "rollback"]).done();
    assert_eq!(world.serving(), digest(&first));
}

#[test]
fn a_failed_rollout_leaves_a_post_mortem_and_a_report_can_be_made() {
    let world = World::new();
    let (good, bad) = (world.image("good", &[]), world.image("bad", &[("health-status", "503")]));
    world.start(&good, &[]).done();
    let failed = world.start(&bad, &["--json"]).json();
    let id = failed["rollout"].as_str().unwrap();
    assert_eq!(failed["postmortem"].as_str().unwrap(), format!(".spectra/postmortems/{id}.md"));
    let path = world.place.path(failed["postmortem"].as_str().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&format!("# Rollout {id}\n\nrolled back: ")), "{text}");
    for part in [
        &format!("| before | `{}` |", digest(&good).unwrap()),
        "[SPX-409], in phase probing",
        "## Timeline",
        "## Measurements",
        "HTTP 503",
        "## End of the candidate's log",
        "<https://railway.com/project/",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path.with_extension("json")).unwrap()).unwrap();
    assert_eq!((json["version"].as_u64(), json["phase"].as_str()), (Some(1), Some("rolled_back")));
    assert_eq!(json["measurements"][0]["good"], false);

    // Of a good one, only on request.
    let history = world.place.run(&["rollout", "history", "--json"]).done().json();
    let complete = history["rollouts"][1]["rollout"].as_str().unwrap();
    assert!(!world.place.path(&format!(".spectra/postmortems/{complete}.md")).exists());
    let written = world.place.run(&["rollout", "postmortem", complete, "--output", "here"]).done();
    assert_eq!(written.stdout, format!("here/{complete}.md\nhere/{complete}.json\n"));

    world.place.run(&["rollout", "report", id, "--output", "report.html"]).done();
    let html = std::fs::read_to_string(world.place.path("report.html")).unwrap();
    assert!(
        html.contains("<circle class=\"dot-bad\"") && html.contains("prefers-color-scheme: dark"),
        "{html}"
    );
    assert!(!html.contains("<script") && !html.contains("src="), "nothing is loaded");
    for arguments in [&["rollout", "report", "ro-unknown"], &["rollout", "postmortem", "ro-unknown"]] {
        let run = world.place.run(arguments);
        assert_eq!(run.code, 2, "{}", run.shown());
        assert!(run.stderr.starts_with("error[SPX-434]"), "{}", run.stderr);
    }
}

#[test]
fn an_approval_lets_a_rollout_begin_and_another_digest_does_not() {
    let mut world = World::new();
    // The seed of the first test vector of RFC 8032, and its public key.
    let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    let public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    world.place.write("ada.key", seed);
    let (image, other) = (world.image("image", &[]), world.image("other", &[]));
    let ada = format!("ada={public}");
    let rule = ["--approver", &ada];
    let refused = world.start(&image, &rule);
    assert_eq!(refused.code, 5, "{}", refused.shown());
    let approve = |image: &str, further: &[&str]| {
        let arguments = ["rollout", "approve", "--image", image, "--health-interval", "20ms", "--as", "ada"];
        world.place.run(&[&arguments[..], further].concat())
    };
    let keyless = approve(&image, &[]);
    assert_eq!(keyless.code, 2);
    assert!(keyless.stderr.starts_with("error: there is no key to sign with: "), "{}", keyless.shown());
    let wrong = approve(&image, &["--key", "ada.key", "--digest", &digest(&other).unwrap()]);
    assert_eq!(wrong.code, 2, "{}", wrong.shown());
    let approved = approve(&image, &["--key", "ada.key", "--digest", &digest(&image).unwrap()]).done();
    assert!(approved.stdout.contains(public), "{}", approved.stdout);
    assert!(!approved.shown().contains(seed));
    world.start(&image, &rule).done();
    assert_eq!(world.start(&other, &rule).code, 5, "a new digest is not approved");
    approve(&other, &["--key", "ada.key"]).done();
    let denied = approve(&other, &["--key", "ada.key", "--deny"]).done();
    assert!(denied.stdout.starts_with("denied: "), "{}", denied.stdout);
    let refused = world.start(&other, &rule);
    assert_eq!(refused.code, 5, "{}", refused.shown());
    assert_eq!(world.serving(), digest(&image));
    world.place.set("SPECTRA_APPROVAL_KEY", seed);
    let arguments = ["rollout", "approve", "--image", &other, "--health-interval", "20ms", "--as", "ada"];
    world.place.run(&arguments).done();
    world.start(&other, &rule).done();
    assert_eq!(world.serving(), digest(&other));
}

#[test]
fn watch_prints_a_line_an_entry_and_ends_with_the_rollout() {
    let world = World::new();
    let (old, new) = (world.image("old", &[]), world.image("new", &[]));
    world.start(&old, &[]).done();
    let mut running = world.begin(&new, &["--bake", "20m"]);
    running.until("phase baking");
    let mut command = world.place.command();
    command.args(["rollout", "watch"]);
    let mut watch = crate::world::Running::of(command);
    watch.until("phase baking");
    running.signal(Signal::INT);
    assert_eq!(running.end().0, 3);
    let (code, stdout, stderr) = watch.end();
    assert_eq!(code, 3, "{stdout}{stderr}");
    assert!(stdout.contains("rolled back: it was stopped by the user"), "{stdout}");
    // A rollout of the past is shown as it was.
    let again = world.place.run(&["rollout", "watch", "--json"]);
    assert_eq!((again.code, again.json()["outcome"].as_str()), (3, Some("rolled_back")));
}

#[test]
fn a_killed_rollout_is_not_watched_for_ever() {
    let world = World::new();
    let image = world.image("image", &[]);
    let mut running = world.begin(&image, &["--bake", "20m"]);
    running.until("phase baking");
    running.kill();
    let run = world.place.run(&["rollout", "watch"]);
    assert_eq!(run.code, 1, "{}", run.shown());
    assert!(run.stderr.contains("nobody goes on with it"), "{}", run.stderr);
}

#[test]
fn a_freeze_window_holds_a_start_up_and_no_rollback() {
    let world = World::new();
    let [first, second, third] = ["first", "second", "third"].map(|name| world.image(name, &[]));
    for image in [&first, &second] {
        world.start(image, &[]).done();
    }
    world.freeze("christmas");
    let refused = world.start(&third, &[]);
    assert_eq!(refused.code, 5, "{}", refused.shown());
    assert!(refused.stdout.contains("christmas"), "{}", refused.stdout);
    world.place.run(&["rollout", "rollback", "--reason", "errors rise"]).done();
    assert_eq!(world.serving(), digest(&first));
    // What never served is no way back, whatever the verb is called.
    let forward = world.place.run(&["rollout", "rollback", "--to", &third]);
    assert_eq!(forward.code, 5, "{}", forward.shown());
    assert_eq!(world.serving(), digest(&first));
    world.start(&third, &["--freeze-override", "the fix"]).done();
    let log = world.place.run(&["audit", "log", "--kind", "rollout.freeze_overridden"]).done();
    for reason in ["overridden: it is a rollback: errors rise", "overridden: the fix"] {
        assert!(log.stdout.contains(reason), "{}", log.stdout);
    }
}
