//! Images that nobody may pull without a login: Railway gets it with the rollout, keeps it, and needs it on the way back too.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::process::Command;

use serde_json::Value;
use spectra_acceptance::{
    Image, ImageBuilder, Running, Sandbox, Shop, Terraform, assert_absent, get, run, shop_with_rollout,
    shop_with_rollout_that,
};

const USER: &str = "robot";
const PASSWORD: &str = "canary-pull/7c1e+90ab=4d2f";

const CREDENTIALS: &str = r#"registry_credentials = {
    username            = "robot"
    password_wo         = var.password
    password_wo_version = 1
  }"#;

const PASSWORD_VARIABLE: &str = r#"
variable "password" {
  type      = string
  sensitive = true
  ephemeral = true
}
"#;

fn with_login() -> String {
    format!("{}{PASSWORD_VARIABLE}", shop_with_rollout_that(CREDENTIALS))
}

/// How many changes of an image came with a login, and how many without.
fn image_changes(sandbox: &Sandbox, since: u64) -> (usize, usize) {
    let journal = sandbox.rows(since);
    let changes: Vec<_> = journal
        .iter()
        .filter_map(|row| row.pointer("/variables/input"))
        .filter(|input| input.pointer("/source/image").is_some_and(Value::is_string))
        .collect();
    let with = changes.iter().filter(|input| input.get("registryCredentials").is_some()).count();
    (with, changes.len() - with)
}

#[test]
fn terraform_gives_railway_the_login_and_neither_state_nor_journal_has_it() {
    let sandbox = Sandbox::start_private(USER, PASSWORD);
    let [first, second] = ["first", "second"].map(|name| ImageBuilder::new(name).push(&sandbox));
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let refused = terraform.var("image", &first.pinned).apply().code(1);
    let _ = refused.says("check its name and the registry credentials");

    let log = terraform.root().join("trace.log");
    terraform.var("password", PASSWORD).env("TF_LOG", "TRACE").env("TF_LOG_PATH", &log.to_string_lossy());
    terraform.configure(&with_login());
    let mut said = terraform.apply().success().stdout;
    let url = terraform.output("url");
    assert_eq!(get(&url).body.trim(), "first");
    terraform.assert_empty_plan();

    // The old image is pulled anew on the way back.
    let before = sandbox.now();
    let failed = terraform.var("image", &bad.pinned).apply().code(1).says("rolled back");
    said += &failed.stderr;
    assert_eq!(get(&url).body.trim(), "first");
    let (with, without) = image_changes(&sandbox, before);
    assert!(with >= 2 && without == 0, "{with} changes of the image with a login, {without} without");

    // Whoever gives none leaves Railway the one that it has.
    terraform.configure(&shop_with_rollout());
    let before = sandbox.now();
    let _ = terraform.var("image", &second.pinned).apply().success();
    assert_eq!(get(&url).body.trim(), "second");
    assert_eq!(image_changes(&sandbox, before).0, 0);

    std::fs::write(terraform.root().join("said.txt"), said).unwrap();
    std::fs::write(terraform.root().join("journal.json"), sandbox.raw_journal()).unwrap();
    assert!(log.metadata().unwrap().len() > 10_000, "the trace log has to be there to be searched");
    assert_absent(terraform.root(), PASSWORD, &[]);
    assert_absent(sandbox.directory(), PASSWORD, &["sandbox.db"]);
}

#[test]
fn raising_the_version_of_the_login_deploys_anew_with_it() {
    let sandbox = Sandbox::start_private(USER, PASSWORD);
    let image = ImageBuilder::new("image").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &with_login());
    let _ = terraform.var("password", PASSWORD).var("image", &image.pinned).apply().success();
    let deployment = terraform.state().text("spectra_rollout.web", "deployment_id").to_owned();
    terraform.configure(&with_login().replace("version = 1", "version = 2"));
    // A login that does not work is noticed now, and not when a host of Railway's fails at night.
    terraform.var("password", "not-the-password-any-more");
    let _ = terraform.apply().code(1).says("check its name and the registry credentials");
    assert_eq!(get(&terraform.output("url")).body.trim(), "image");
    let _ = terraform.var("password", PASSWORD).apply().success();
    assert_ne!(terraform.state().text("spectra_rollout.web", "deployment_id"), deployment);
    terraform.assert_empty_plan();
}

struct Cli<'a> {
    sandbox: &'a Sandbox,
    shop: Shop<'a>,
}

impl Cli<'_> {
    fn start(&self, image: &Image, further: &[&str]) -> Command {
        let start = ["rollout", "start", "--image", &image.pinned, "--health-interval", "20ms"];
        self.shop.command(&[&start[..], further].concat())
    }

    /// The login is in the environment, and asked for.
    fn with_login(&self, mut command: Command) -> Command {
        command.args(["--registry-credentials", "env"]).envs(self.sandbox.registry_environment());
        command
    }
}

#[test]
fn the_command_line_gives_railway_the_login_when_asked_and_a_dead_process_leaves_it_there() {
    let sandbox = Sandbox::start_private(USER, PASSWORD);
    let [first, second] = ["first", "second"].map(|name| ImageBuilder::new(name).push(&sandbox));
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let cli = Cli { sandbox: &sandbox, shop: Shop::open(&sandbox, "shop") };
    let web = cli.shop.service("web");
    let row = sandbox.services().into_iter().find(|row| row["service_id"] == web).unwrap();
    let url = row["urls"][0].as_str().unwrap();

    // It is not used because it is there.
    let mut unasked = cli.start(&first, &[]);
    unasked.envs(sandbox.registry_environment());
    let failed = run(&mut unasked).code(3);
    let _ = failed.says("check its name and the registry credentials");
    let mut hub = cli.with_login(cli.start(&first, &[]));
    let _ = run(hub.env_remove("DOCKER_REGISTRY")).code(2).says("set `DOCKER_REGISTRY=");

    let mut said = run(&mut cli.with_login(cli.start(&first, &[]))).success().stdout;
    let before = sandbox.now();
    let failed = run(&mut cli.with_login(cli.start(&bad, &[]))).code(3);
    said += &(failed.stdout + &failed.stderr);
    assert_eq!(get(url).body.trim(), "first");
    let (with, without) = image_changes(&sandbox, before);
    assert!(with >= 2 && without == 0, "{with} changes of the image with a login, {without} without");

    // Who brings the environment back need not have it.
    let journal = cli.shop.journal();
    let since = journal.last();
    let mut dying = cli.with_login(cli.start(&second, &["--bake", "20m"]));
    let mut dying = Running::start(&mut dying, &cli.shop.file("dies.log"));
    dying.until("it bakes", || {
        journal.records(since).iter().any(|record| record.body.get("phase") == Some(&"baking".into()))
    });
    dying.kill();
    let _ = cli.shop.run(&["rollout", "abort"]).code(3);
    assert_eq!(get(url).body.trim(), "first");

    let _ = run(&mut cli.with_login(cli.start(&second, &[]))).success();
    let _ = run(&mut cli.with_login(cli.shop.command(&["rollout", "rollback"]))).success();
    assert_eq!(get(url).body.trim(), "first");

    std::fs::write(cli.shop.file("said.txt"), said).unwrap();
    std::fs::write(cli.shop.file("journal.json"), sandbox.raw_journal()).unwrap();
    assert_absent(sandbox.directory(), PASSWORD, &["sandbox.db"]);
}
