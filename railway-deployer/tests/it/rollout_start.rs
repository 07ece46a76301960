//! `rollout start`: what it prints, what holds afterwards, and how it ends when it is told to.

use std::{net::TcpListener, sync::mpsc, time::Duration};

use rustix::process::Signal;

use crate::world::{Running, World};

/// The digest of a pinned image.
fn digest(image: &str) -> Option<String> {
    image.split_once('@').map(|(_, digest)| digest.to_owned())
}

#[test]
fn a_good_image_serves_and_a_bad_one_is_rolled_back() {
    let world = World::new();
    let (good, bad) = (world.image("good", &[]), world.image("bad", &[("health-status", "503")]));
    let first = world.start(&good, &["--json"]).done();
    let result = first.json();
    assert_eq!((result["version"].as_u64(), result["kind"].as_str()), (Some(1), Some("rollout.result")));
    assert_eq!(result["outcome"], "complete");
    assert_eq!(result["running_digest"].as_str().map(str::to_owned), digest(&good));
    assert!(!result["measurements"].as_array().unwrap().is_empty());
    let lines: Vec<_> = first.stderr.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.iter().all(|line| line.as_bytes()[19] == b'Z'), "every line has its time: {lines:?}");
    assert_eq!(world.serving(), digest(&good));

    let second = world.start(&bad, &["--json"]);
    assert_eq!(second.code, 3, "{}", second.shown());
    let result = second.json();
    assert_eq!((result["outcome"].as_str(), result["exit_code"].as_u64()), (Some("rolled_back"), Some(3)));
    assert_eq!(
        (result["code"].as_str(), result["failed_phase"].as_str()),
        (Some("SPX-409"), Some("probing"))
    );
    assert_eq!(result["running_digest"].as_str().map(str::to_owned), digest(&good));
    assert_eq!(world.serving(), digest(&good));

    let third = world.start(&bad, &["--quiet"]);
    assert_eq!(third.code, 3);
    assert!(third.stderr.is_empty(), "{}", third.stderr);
    let history = world.place.run(&["rollout", "history", "--json"]).done().json();
    let outcomes: Vec<_> =
        history["rollouts"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["rolled_back", "rolled_back", "complete"]);
}

#[test]
fn what_the_deployments_print_is_shown_unless_it_is_not_wanted() {
    let mut world = World::new();
    let (good, bad) = (world.image("good", &[]), world.image("bad", &[("exit", "3")]));
    world.start(&good, &[]).done();
    let shown = world.start(&bad, &[]);
    assert_eq!(shown.code, 3, "{}", shown.shown());
    let id = world.place.run(&["rollout", "status", "--json"]).done().json()["rollout"].clone();
    let line = |run: &crate::support::Run| {
        run.stderr.lines().find(|line| line.ends_with(" | exited with code 3")).map(str::to_owned)
    };
    let printed = line(&shown).unwrap_or_else(|| panic!("{}", shown.shown()));
    let (time, rest) = printed.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && rest.starts_with("deploy "), "{printed}");
    assert!(!shown.stdout.contains(" | "), "{}", shown.stdout);
    // The end of it is in the post-mortem too.
    let path = world.place.path(&format!(".spectra/postmortems/{}.json", id.as_str().unwrap()));
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(json["log_tail"].to_string().contains("exited with code 3"), "{json}");

    for unwanted in [&["--no-logs"][..], &["--quiet"], &["--quiet", "--logs"], &["--no-progress"]] {
        let run = world.start(&bad, unwanted);
        assert_eq!((run.code, line(&run)), (3, None), "{unwanted:?}: {}", run.shown());
    }
    assert!(line(&world.start(&bad, &["--no-progress", "--logs"])).is_some());
    world.place.set("SPECTRA_NO_LOGS", "true");
    assert_eq!(line(&world.start(&bad, &[])), None);
    assert!(line(&world.start(&bad, &["--logs"])).is_some());
}

#[test]
fn watch_shows_what_the_deployments_print() {
    let world = World::new();
    let image = world.image("new", &[("traffic", "0.02")]);
    let mut running = world.begin(&image, &["--bake", "20m", "--no-logs"]);
    running.until("phase baking");
    let mut command = world.place.command();
    command.args(["rollout", "watch"]);
    let mut watching = Running::of(command);
    watching.until(" | GET / 200 ");
    running.signal(Signal::INT);
    assert_eq!(running.end().0, 3);
    let (code, stdout, stderr) = watching.end();
    assert_eq!(code, 3, "{stdout}{stderr}");
}

#[test]
fn the_first_signal_goes_back() {
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new();
        let (old, new) = (world.image("old", &[]), world.image("new", &[]));
        world.start(&old, &[]).done();
        let mut running = world.begin(&new, &["--bake", "20m"]);
        running.until("phase baking");
        running.signal(signal);
        let (code, stdout, stderr) = running.end();
        assert_eq!(code, 3, "{stdout}{stderr}");
        assert!(stdout.starts_with("rolled back: it was stopped by the user\n"), "{stdout}");
        assert!(stderr.contains("stopping: what ran before is brought back"), "{stderr}");
        assert_eq!(world.serving(), digest(&old));
        let status = world.place.run(&["rollout", "status", "--json"]).done().json();
        assert_eq!((status["state"].as_str(), status["lease"].is_null()), (Some("ended"), true));
    }
}

#[test]
fn a_signal_while_an_approval_is_waited_for_said_that_what_ran_before_is_brought_back() {
    let world = World::new();
    let (old, new) = (world.image("old", &[]), world.image("new", &[]));
    world.start(&old, &[]).done();
    let spec = format!(
        "candidate = \"{new}\"\nhealth = {{ interval = \"20ms\" }}\nsteps = [{{ step = \"pause\", approval = \"20m\" }}, {{ step = \"swap\" }}]\n\
         [approval]\nbefore_start = false\n\
         approvers = [{{ name = \"ada\", public_key = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\" }}]\n"
    );
    world.place.write("spec.toml", &spec);
    let mut command = world.place.command();
    command.args(["rollout", "start", "--spec", "spec.toml"]);
    let mut running = Running::of(command);
    running.until("phase pausing");
    running.signal(Signal::INT);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, 130, "{stdout}{stderr}");
    let words = "stopping: nothing was changed yet; a second signal ends the process at once, and the journal keeps what is open";
    assert!(stderr.contains(words), "{stderr}");
    assert_eq!(world.serving(), digest(&old));
}

/// Lets no request of the API be answered any more.
fn silence(world: &World) {
    let rule = r#"{"operation":"*","action":{"type":"hang","duration":"100000h"}}"#;
    world.place.run(&["sandbox", "faults", "set", rule]).done();
}

/// A rollout whose process ended in the middle of its bake, or was killed there; one of `codes` says why it goes back
/// afterwards.
fn abandoned(world: &World, codes: &[&str], end: impl FnOnce(Running)) {
    let (old, new) = (world.image("old", &[]), world.image("new", &[]));
    world.start(&old, &[]).done();
    let mut running = world.begin(&new, &["--bake", "20m"]);
    running.until("phase baking");
    silence(world);
    end(running);
    world.place.run(&["sandbox", "faults", "clear"]).done();
    assert_eq!(world.serving(), digest(&new));
    let status = world.place.run(&["rollout", "status", "--json"]).done().json();
    assert_eq!(
        (status["state"].as_str(), status["phase"].is_string()),
        (Some("abandoned"), true),
        "{status}"
    );
    assert_eq!(status["lease"]["holder_gone"], true);
    assert!(status["open"][0].as_str().unwrap().starts_with("deploy the candidate to service "), "{status}");
    let shown = world.place.run(&["rollout", "status"]).done().stdout;
    assert!(shown.contains("nobody goes on with it: `railway-deployer rollout abort --project "), "{shown}");
    let aborted = world.place.run(&["rollout", "abort", "--json"]);
    assert_eq!(aborted.code, 3, "{}", aborted.shown());
    let code = aborted.json()["code"].clone();
    assert!(codes.contains(&code.as_str().unwrap()), "{}", aborted.shown());
    assert_eq!(world.serving(), digest(&old));
    let again = world.place.run(&["rollout", "abort"]).done();
    assert_eq!(again.stdout, "no rollout is open; nothing was done\n");
}

fn handed_over((code, _, stderr): (i32, String, String)) {
    assert_eq!(code, 130, "{stderr}");
    assert!(
        stderr.contains("error: interrupted before the environment was brought back; the journal `sqlite://"),
        "{stderr}"
    );
    assert!(
        stderr.contains("hint: with the same journal, `railway-deployer rollout abort --project "),
        "{stderr}"
    );
}

#[test]
fn the_second_signal_ends_at_once_and_abort_finishes() {
    let world = World::new();
    abandoned(&world, &["SPX-413"], |mut running| {
        running.signal(Signal::INT);
        running.until("stopping: ");
        // Said after the reason was written down.
        running.until("phase rolling_back");
        running.signal(Signal::TERM);
        handed_over(running.end());
    });
}

#[test]
fn it_hands_over_when_the_time_after_a_signal_is_up() {
    let mut world = World::new();
    world.place.set("SPECTRA_HANDOVER_AFTER", "50ms");
    // Whether the reason is written down by then depends on the machine.
    abandoned(&world, &["SPX-413", "SPX-415"], |running| {
        running.signal(Signal::TERM);
        handed_over(running.end());
    });
}

#[test]
fn a_killed_process_is_seen_and_abort_finishes() {
    let world = World::new();
    abandoned(&world, &["SPX-415"], Running::kill);
}

#[test]
fn the_next_rollout_first_ends_the_one_that_was_killed() {
    let world = World::new();
    let [old, new, next] = ["old", "new", "next"].map(|name| world.image(name, &[]));
    world.start(&old, &[]).done();
    let mut running = world.begin(&new, &["--bake", "20m"]);
    running.until("phase baking");
    running.kill();
    let run = world.start(&next, &["--json"]).done();
    assert_eq!(run.json()["recovered"][0]["outcome"], "rolled_back");
    assert_eq!(run.json()["previous_digest"].as_str().map(str::to_owned), digest(&old));
    assert_eq!(world.serving(), digest(&next));
}

#[test]
fn abort_from_elsewhere_waits_for_the_end() {
    let world = World::new();
    let (old, new) = (world.image("old", &[]), world.image("new", &[]));
    world.start(&old, &[]).done();
    let mut running = world.begin(&new, &["--bake", "20m", "--json"]);
    running.until("phase baking");
    let id = world.place.run(&["rollout", "status", "--json"]).done().json()["rollout"].clone();
    let aborted = world.place.run(&["rollout", "abort", id.as_str().unwrap(), "--reason", "errors rise"]);
    assert_eq!(aborted.code, 3, "{}", aborted.shown());
    assert!(aborted.stdout.contains(": errors rise"), "{}", aborted.stdout);
    assert_eq!(world.serving(), digest(&old));
    let (code, stdout, _) = running.end();
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, result["code"].as_str()), (3, Some("SPX-414")));
}

#[test]
fn two_at_once_one_waits_or_is_told_who_acts() {
    let world = World::new();
    let [old, new, other] = ["old", "new", "other"].map(|name| world.image(name, &[]));
    world.start(&old, &[]).done();
    let mut running = world.begin(&new, &["--bake", "20m"]);
    running.until("phase baking");
    let refused = world.start(&other, &[]);
    assert_eq!(refused.code, 7, "{}", refused.shown());
    assert!(refused.stderr.contains("error[SPX-431]: railway-deployer (process "), "{}", refused.stderr);
    let mut waiting = world.begin(&other, &["--wait-for-lease", "10m"]);
    waiting.until("waiting for railway-deployer (process ");
    let mut leaving = world.begin(&other, &["--wait-for-lease", "10m"]);
    leaving.until("waiting for railway-deployer (process ");
    leaving.signal(Signal::INT);
    let (code, _, stderr) = leaving.end();
    assert!(
        stderr.contains("stopping: nothing is open here that would have to be brought back; "),
        "{stderr}"
    );
    assert_eq!(code, 7, "{stderr}");
    running.signal(Signal::INT);
    assert_eq!(running.end().0, 3);
    let (code, _, stderr) = waiting.end();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(world.serving(), digest(&other));
}

#[test]
fn unlock_frees_the_lease_of_a_killed_process_and_says_so() {
    let world = World::new();
    let (old, new) = (world.image("old", &[]), world.image("new", &[]));
    world.start(&old, &[]).done();
    let nothing = world.place.run(&["rollout", "unlock", "--reason", "to see"]).done();
    assert_eq!(nothing.stdout, "nobody has the lease and nothing waits to be looked at; nothing was done\n");
    let mut running = world.begin(&new, &["--bake", "20m"]);
    running.until("phase baking");
    running.kill();
    for reason in [&["rollout", "unlock"][..], &["rollout", "unlock", "--reason", " "]] {
        assert_eq!(world.place.run(reason).code, 2);
    }
    let run = world.place.run(&["rollout", "unlock", "--reason", "the runner is gone"]).done();
    assert!(run.stdout.starts_with("freed the lease 2 of `railway/"), "{}", run.stdout);
    assert!(run.stdout.contains("is still open: the next one brings back"), "{}", run.stdout);
    let status = world.place.run(&["rollout", "status", "--json"]).done().json();
    assert_eq!((status["lease"].is_null(), status["state"].as_str()), (true, Some("abandoned")));
    assert_eq!(world.place.run(&["rollout", "abort"]).code, 3);
}

#[test]
fn a_failed_way_back_is_cleared_by_unlock_alone() {
    let world = World::new();
    let [old, new, next] = ["old", "new", "next"].map(|name| world.image(name, &[]));
    world.start(&old, &[]).done();
    let mut running = world.begin(&new, &["--bake", "20m", "--abort-timeout", "1s"]);
    running.until("phase baking");
    let rule = r#"{"operation":"*","action":{"type":"fail_before_commit","message":"not today"}}"#;
    world.place.run(&["sandbox", "faults", "set", rule]).done();
    running.signal(Signal::INT);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, 4, "{stdout}{stderr}");
    assert!(stdout.contains("run `railway-deployer rollout unlock --project "), "{stdout}");
    world.place.run(&["sandbox", "faults", "clear"]).done();
    assert_eq!(world.start(&next, &[]).code, 7);
    assert_eq!(world.place.run(&["rollout", "abort"]).code, 7);
    let status = world.place.run(&["rollout", "status", "--json"]).done().json();
    assert_eq!(
        (status["state"].as_str(), status["phase"].as_str()),
        (Some("unresolved"), Some("rollback_failed"))
    );
    let unlocked =
        world.place.run(&["rollout", "unlock", "--reason", "looked at it", "--json"]).done().json();
    assert_eq!(unlocked["cleared"], status["rollout"]);
    world.start(&next, &[]).done();
    assert_eq!(world.serving(), digest(&next));
}

#[test]
fn what_was_not_begun_for_an_earlier_failure_is_not_mixed_up_with_it() {
    let world = World::new();
    let [old, new, next] = ["old", "new", "next"].map(|name| world.image(name, &[]));
    world.start(&old, &[]).done();
    let mut running = world.begin(&new, &["--bake", "20m", "--abort-timeout", "1s"]);
    running.until("phase baking");
    running.kill();
    let status = world.place.run(&["rollout", "status", "--json"]).done().json();
    let rule = r#"{"operation":"serviceInstanceUpdate","action":{"type":"fail_before_commit","message":"not today"}}"#;
    world.place.run(&["sandbox", "faults", "set", rule]).done();
    let run = world.start(&next, &[]);
    assert_eq!(run.code, 4, "{}", run.shown());
    let id = status["rollout"].as_str().unwrap();
    let first =
        format!("not begun: {next}, since rollout {id} of {new}, which another process had left open, ");
    assert!(run.stdout.starts_with(&first), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("\nimage       {new}\n")), "{}", run.stdout);
    assert_eq!(run.stdout.matches(&next).count(), 1, "the failure is not that image's: {}", run.stdout);
}

#[test]
fn several_rollouts_of_one_file_run_at_once_and_the_worst_counts() {
    let world = World::new();
    let other = world.another_service("worker");
    let (good, bad) = (world.image("good", &[]), world.image("bad", &[("health-status", "500")]));
    let place = format!("{{ service = \"{}\" }}", other.service);
    world.place.write(
        "both.toml",
        &format!(
            r#"
            [[rollout]]
            candidate = "{good}"
            health = {{ interval = "20ms" }}

            [[rollout]]
            candidate = "{bad}"
            place = {place}
            health = {{ interval = "20ms" }}
            "#
        ),
    );
    let run = world.place.run(&["rollout", "start", "--spec", "both.toml", "--json"]);
    assert_eq!(run.code, 3, "{}", run.shown());
    let document = run.json();
    assert_eq!(
        (document["kind"].as_str(), document["exit_code"].as_u64()),
        (Some("rollout.results"), Some(3))
    );
    let outcomes: Vec<_> = document["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["service_id"].as_str().unwrap(), result["outcome"].as_str().unwrap()))
        .collect();
    let expected = [(world.instance.service.as_str(), "complete"), (other.service.as_str(), "rolled_back")];
    assert_eq!(outcomes, expected);
    assert!(run.stderr.contains(&format!("{}: phase probing", other.service)), "{}", run.stderr);
}

#[test]
fn an_image_that_is_not_signed_as_the_policy_file_wants_is_not_begun() {
    let world = World::new();
    let (old, new) = (world.image("old", &[]), world.image("new", &[]));
    world.start(&old, &[]).done();
    world.place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    let policy = "version = 1\n[[policy]]\nname = \"ci\"\nkeys = [{ name = \"ci\", file = \"ci.pub\" }]\n";
    world.place.write("signatures.toml", policy);
    let wanted = ["--signature-policy", "signatures.toml", "--json"];
    let refused = world.start(&new, &wanted);
    let error: serde_json::Value = serde_json::from_str(refused.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((refused.code, error["error"]["code"].as_str()), (5, Some("SPX-335")), "{}", refused.shown());
    assert_eq!(world.serving(), digest(&old));
    world.place.run(&["image", "sign", &new, "--key", "ci.key"]).done();
    assert_eq!(world.start(&new, &wanted).done().json()["outcome"], "complete");
    assert_eq!(world.serving(), digest(&new));
    let records = world.place.run(&["audit", "log", "--kind", "signature.accepted", "--json"]).done().json();
    assert!(records.to_string().contains("\"key\":\"ci\""), "{records}");
}

#[test]
fn rollback_knew_no_signature_file_and_let_an_unsigned_image_through() {
    let world = World::new();
    let (old, never) = (world.image("old", &[]), world.image("never", &[]));
    world.start(&old, &[]).done();
    world.place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    let policy = "version = 1\n[[policy]]\nname = \"ci\"\nkeys = [{ name = \"ci\", file = \"ci.pub\" }]\n";
    world.place.write("signatures.toml", policy);
    let back =
        || world.place.run(&["rollout", "rollback", "--to", &never, "--signature-policy", "signatures.toml"]);
    let refused = back();
    assert!(refused.code == 5 && refused.stderr.contains("SPX-335"), "{}", refused.shown());
    assert_eq!(world.serving(), digest(&old));
    world.place.run(&["image", "sign", &never, "--key", "ci.key"]).done();
    back().done();
    assert_eq!(world.serving(), digest(&never));
}

#[test]
fn a_signal_had_no_effect_while_a_silent_registry_was_asked_for_signatures() {
    let world = World::new();
    let old = world.image("old", &[]);
    world.start(&old, &[]).done();
    world.place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    let policy = "version = 1\n[[policy]]\nname = \"ci\"\nkeys = [{ name = \"ci\", file = \"ci.pub\" }]\n";
    world.place.write("signatures.toml", policy);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let image = format!("127.0.0.1:{port}/team/app@sha256:{}", "a".repeat(64));
    let running = world.begin(&image, &["--signature-policy", "signatures.toml"]);
    let (asked, held) = mpsc::channel();
    std::thread::spawn(move || asked.send(silent.accept().unwrap()));
    // Open as long as it may live.
    let _held = held.recv_timeout(Duration::from_mins(1)).unwrap();
    running.signal(Signal::TERM);
    let (code, stdout, stderr) = running.end();
    assert_eq!(code, 130, "{stdout}{stderr}");
    assert!(stderr.contains("interrupted while the signatures of `127.0.0.1:"), "{stderr}");
    assert!(
        stderr.contains("stopping: nothing is open here that would have to be brought back; "),
        "{stderr}"
    );
    assert_eq!(world.serving(), digest(&old));
    let status = world.place.run(&["rollout", "status", "--json"]).done().json();
    assert_eq!((status["state"].as_str(), status["lease"].is_null()), (Some("ended"), true), "{status}");
}
