//! What holds a rollout up, and who hears of it: freeze windows, policies, approvals and channels, by the real Terraform.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use serde_json::Value;
use spectra_acceptance::{
    Image, ImageBuilder, Sandbox, Terraform, get, shop_with_rollout, shop_with_rollout_that,
};
use spectra_delivery::approval::{Decision, Key, Statement, record, sign};
use spectra_journal::{Journal, Location};
use spectra_rollout::Place;

/// Holds for some centuries, in the environment of the rollout.
const FREEZE: &str = r#"
resource "spectra_freeze_window" "audit" {
  name           = "audit"
  reason         = "the books are being closed"
  environment_id = spectra_project.shop.default_environment_id

  once = {
    from = "2020-01-01T00:00:00+01:00"
    to   = "2320-01-01T00:00:00Z"
  }
}
"#;

/// What the journal says.
const EVENTS: &str = r#"
data "spectra_audit_events" "all" {
  kinds      = ["rollout.freeze_overridden", "rollout.approved", "setting.put", "setting.removed"]
  depends_on = [spectra_rollout.web]
}

output "events" {
  value = jsonencode([for event in data.spectra_audit_events.all.events : { kind = event.kind, body = jsondecode(event.body) }])
}

output "verified" {
  value = tostring(data.spectra_audit_events.all.verified)
}
"#;

fn two_images(sandbox: &Sandbox) -> (Image, Image) {
    (ImageBuilder::new("first").push(sandbox), ImageBuilder::new("second").push(sandbox))
}

fn events(terraform: &Terraform, kind: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&terraform.output("events")).unwrap();
    all.into_iter().filter(|event| event["kind"] == kind).map(|event| event["body"].clone()).collect()
}

#[test]
fn a_freeze_window_refuses_a_rollout_until_it_is_destroyed() {
    let sandbox = Sandbox::start();
    let (first, second) = two_images(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    let url = terraform.output("url");
    terraform.configure(&format!("{}{FREEZE}", shop_with_rollout()));
    let _ = terraform.apply().success();
    // What is configured is what the journal has, also after it was read back.
    terraform.assert_empty_plan();

    let before = sandbox.now();
    let plan = terraform.var("image", &second.pinned).plan().code(2);
    let _ = plan.says("freeze window holds this rollout up").says("until 2320-01-01T00:00:00Z");
    let refused = terraform.apply().code(1).says("freeze window `audit`");
    let _ = refused
        .says("the books are being closed")
        .says("until 2320-01-01T00:00:00Z")
        .says("SPX-422")
        .says("Nothing was changed");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    assert_eq!(get(&url).body.trim(), "first");
    assert_eq!(terraform.state().text("spectra_rollout.web", "running_digest"), first.digest);

    let target = ["destroy", "-auto-approve", "-target=spectra_freeze_window.audit"];
    let _ = terraform.run(&target).success().says("1 destroyed");
    terraform.configure(&shop_with_rollout());
    let _ = terraform.apply().success();
    assert_eq!(get(&url).body.trim(), "second");
    terraform.assert_empty_plan();
}

#[test]
fn an_override_passes_a_freeze_window_with_its_reason_and_is_in_the_audit_events() {
    let sandbox = Sandbox::start();
    let (first, second) = two_images(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &format!("{}{FREEZE}", shop_with_rollout()));
    // Nothing orders the two: the window may come before the first rollout.
    terraform.configure(&shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    terraform.configure(&format!("{}{FREEZE}", shop_with_rollout()));
    let _ = terraform.apply().success();

    let because = shop_with_rollout_that("freeze_override = \"the tax rate was wrong\"");
    terraform.configure(&format!("{because}{FREEZE}{EVENTS}"));
    let _ = terraform.var("image", &second.pinned).apply().success();
    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
    let overridden = events(&terraform, "rollout.freeze_overridden");
    assert_eq!(overridden.len(), 1, "{overridden:#?}");
    assert_eq!(overridden[0]["reason"], "the tax rate was wrong");
    assert!(overridden[0]["window"].as_str().unwrap().contains("the books are being closed"));
    let put = events(&terraform, "setting.put");
    assert_eq!(put.len(), 1, "{put:#?}");
    assert_eq!(put[0]["by"]["program"], "terraform-provider-spectra");
    assert_eq!(terraform.output("verified"), "true");
}

#[test]
fn neither_a_freeze_window_nor_a_policy_holds_up_what_goes_back() {
    let sandbox = Sandbox::start();
    let (first, second) = two_images(&sandbox);
    let Some(mut terraform) = Terraform::latest(&sandbox, &shop_with_rollout()) else { return };
    let _ = terraform.var("image", &first.pinned).apply().success();
    let _ = terraform.var("image", &second.pinned).apply().success();
    let rollback = r#"
action "spectra_rollback" "web" {
  config {
    project_id     = spectra_project.shop.id
    environment_id = spectra_project.shop.default_environment_id
    service_id     = spectra_service.web.id
    reason         = "errors rise"
  }
}

resource "spectra_deployment_policy" "p" {
  name                 = "careful"
  project_id           = spectra_project.shop.id
  minimum_bake         = "5m"
  allowed_repositories = ["ghcr.io/acme/*"]
}
"#;
    terraform.configure(&format!("{}{FREEZE}{rollback}", shop_with_rollout()));
    let _ = terraform.apply().success();
    let run = terraform.run(&["apply", "-auto-approve", "-invoke=action.spectra_rollback.web"]).success();
    let run = run.says("freeze window `audit`").says("overridden: it is a rollback: errors rise");
    let _ =
        run.says("A policy was passed over on the way back").says("Policy `careful`, `allowed_repositories`");
    assert_eq!(get(&terraform.output("url")).body.trim(), "first");
}

/// One setting, which needs nothing of Railway.
const SETTING: &str = r#"
provider "spectra" {}

resource "spectra_freeze_window" "f" {
  name   = "f"
  reason = "r"

  weekly = {
    days = ["monday"]
    from = "09:00"
    to   = "17:00"
  }
}
"#;

#[test]
fn a_setting_that_the_journal_lost_is_made_again() {
    let sandbox = Sandbox::start();
    let terraform = Terraform::new(&sandbox, SETTING);
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();
    std::fs::remove_dir_all(terraform.work().join(".spectra")).unwrap();
    let _ = terraform.plan().code(2).says("1 to add");
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();
}

#[test]
fn on_hcp_terraform_a_plan_with_a_file_journal_warns_and_names_the_variable() {
    let sandbox = Sandbox::start();
    let mut terraform = Terraform::new(&sandbox, SETTING);
    let run = terraform.plan().code(2);
    assert!(!run.dense().contains("doesnotoutlivethisrun"), "{}", run.stdout);
    terraform.env("TFC_RUN_ID", "run-4711");
    let _ = terraform.plan().code(2).says("does not outlive this run").says("SPECTRA_JOURNAL=postgres://");
    let _ = terraform.apply().success();
    // Nothing is about to be changed, so nothing has to outlive anything.
    let run = terraform.plan().code(0);
    assert!(!run.dense().contains("doesnotoutlivethisrun"), "{}", run.stdout);
}

#[test]
fn settings_are_found_by_a_query_and_imported_by_their_identity() {
    let sandbox = Sandbox::start();
    let Some(terraform) = Terraform::latest(&sandbox, SETTING) else { return };
    let _ = terraform.apply().success();
    let query = "list \"spectra_freeze_window\" \"all\" {\n  provider = spectra\n}\n";
    terraform.file("all.tfquery.hcl", query);
    let listed = terraform.run(&["query", "-json"]).success();
    let found: Vec<Value> =
        listed.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let found: Vec<_> = found.iter().filter(|event| event["type"] == "list_resource_found").collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["list_resource_found"]["identity"], serde_json::json!({ "name": "f" }));
    let _ = terraform.run(&["state", "rm", "spectra_freeze_window.f"]).success();
    let import = "import {\n  to = spectra_freeze_window.f\n  identity = { name = \"f\" }\n}\n";
    terraform.file("imports.tf", import);
    let _ = terraform.apply().success().says("1 imported, 0 added, 0 changed, 0 destroyed");
    terraform.assert_empty_plan();
}

#[test]
fn a_policy_refuses_a_rollout_that_breaks_it_and_names_the_rule() {
    let sandbox = Sandbox::start();
    let (first, second) = two_images(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    let policy = |rules: &str| {
        format!(
            "resource \"spectra_deployment_policy\" \"p\" {{\n  name = \"careful\"\n  project_id = \
             spectra_project.shop.id\n  {rules}\n}}\n"
        )
    };
    let strict = policy("minimum_bake = \"5m\"\n  allowed_repositories = [\"ghcr.io/acme/*\"]");
    terraform.configure(&format!("{}{strict}", shop_with_rollout()));
    let _ = terraform.apply().success();
    let before = sandbox.now();
    let plan = terraform.var("image", &second.pinned).plan().code(2);
    let _ = plan.says("deployment policy refuses this rollout").says("policy `careful`, `minimum_bake`");
    let refused = terraform.apply().code(1);
    let _ = refused
        .says("policy `careful`, `minimum_bake`")
        .says("policy `careful`, `allowed_repositories`")
        .says("SPX-438");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    // The policy itself is changed by Terraform, after which the rollout passes.
    let lenient = policy("health_required = true");
    terraform.configure(&format!("{}{lenient}", shop_with_rollout()));
    let _ = terraform.run(&["apply", "-auto-approve", "-target=spectra_deployment_policy.p"]).success();
    let _ = terraform.apply().success();
    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
}

/// Answers 200 to whatever comes; gives back the bodies of so many requests.
fn receiver(listener: TcpListener, requests: usize) -> JoinHandle<Vec<Value>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for _ in 0..requests {
            let (mut stream, _) = listener.accept().unwrap();
            seen.push(serde_json::from_str(&body(&mut stream)).unwrap());
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
        seen
    })
}

/// The body of one request.
fn body(stream: &mut TcpStream) -> String {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).unwrap();
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return body.to_owned();
        }
    }
}

#[test]
fn a_channel_hears_that_a_bad_image_was_rolled_back_and_a_broken_one_fails_nothing() {
    let sandbox = Sandbox::start();
    let good = ImageBuilder::new("good").push(&sandbox);
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=query-secret-51ce", listener.local_addr().unwrap());
    let channels = r#"
resource "spectra_notification_channel" "ops" {
  name         = "ops"
  project_id   = spectra_project.shop.id
  events       = ["rollout.rolled_back"]
  min_severity = "warning"
  webhook      = { url_env = "OPS_HOOK_URL" }
  template     = { title = "{{event}} of {{field.image}}" }
}

resource "spectra_notification_channel" "broken" {
  name    = "broken"
  webhook = { url_env = "NOBODY_SETS_THIS" }
}
"#;
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &good.pinned).apply().success();
    terraform.configure(&format!("{}{channels}", shop_with_rollout()));
    let _ = terraform.apply().success();
    let received = receiver(listener, 1);
    terraform.env("OPS_HOOK_URL", &url).env("GITHUB_SERVER_URL", "https://github.example");
    terraform.env("GITHUB_REPOSITORY", "acme/shop").env("GITHUB_RUN_ID", "42");
    let run = terraform.var("image", &bad.pinned).apply().code(1).says("rolled back");
    assert!(!run.dense().contains("query-secret-51ce"), "{}", run.stderr);
    let messages = received.join().unwrap();
    assert_eq!(messages[0]["event"], "rollout.rolled_back");
    assert_eq!(messages[0]["severity"], "warning");
    assert_eq!(messages[0]["title"], format!("rollout.rolled_back of {}", bad.pinned));
    assert_eq!(messages[0]["links"][0]["url"], "https://github.example/acme/shop/actions/runs/42");

    let told = r#"
data "spectra_audit_events" "told" {
  kinds = ["rollout.told"]
}

output "told" {
  value = jsonencode([for event in data.spectra_audit_events.told.events : jsondecode(event.body)])
}
"#;
    terraform.configure(&format!("{}{channels}{told}", shop_with_rollout()));
    let _ = terraform.var("image", &good.pinned).apply().success();
    let told: Vec<Value> = serde_json::from_str(&terraform.output("told")).unwrap();
    let back = told.iter().find(|one| one["event"] == "rollout.rolled_back").expect("it was recorded");
    let lines = back["results"].to_string();
    assert!(lines.contains("ops: delivered in 1 attempt(s)"), "{lines}");
    assert!(lines.contains("broken: failed: ") && lines.contains("NOBODY_SETS_THIS"), "{lines}");
    assert!(!lines.contains("query-secret-51ce"), "{lines}");
}

/// The plan that a refusal asks an approval for.
fn plan_hash(refusal: &str) -> String {
    let (_, rest) = refusal.split_once("byplan`").expect("the refusal names the plan");
    rest.split_once('`').expect("the plan's hash is quoted").0.to_owned()
}

/// As an approver does it beside Terraform.
fn approve(terraform: &Terraform, key: &Key, image: &Image, plan_hash: String) {
    let state = terraform.state();
    let text = |attribute: &str| state.text("spectra_rollout.web", attribute).to_owned();
    let statement = Statement {
        decision: Decision::Given,
        place: Place {
            project: text("project_id").parse().unwrap(),
            environment: text("environment_id").parse().unwrap(),
            service: text("service_id").parse().unwrap(),
        },
        digest: image.digest.parse().unwrap(),
        plan_hash,
        approver: "anna".to_owned(),
        at: jiff::Timestamp::now(),
    };
    let location = Location::file(terraform.work().join(".spectra/journal.db"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let journal = Journal::open_existing(&location).await.unwrap();
        record(&journal, &sign(key, statement)).await.unwrap();
    });
}

#[test]
fn a_policy_that_wants_an_approval_holds_each_digest_up_until_it_is_approved() {
    let sandbox = Sandbox::start();
    let (first, second) = two_images(&sandbox);
    let third = ImageBuilder::new("third").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    let url = terraform.output("url");
    let anna = Key::generate().unwrap();
    let policy = format!(
        r#"
resource "spectra_deployment_policy" "approved" {{
  name           = "approved"
  environment_id = spectra_project.shop.default_environment_id
  approval = {{
    approvers = [{{ name = "anna", public_key = "{}" }}]
  }}
}}
"#,
        anna.public_key()
    );
    terraform.configure(&format!("{}{policy}", shop_with_rollout()));
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();

    let before = sandbox.now();
    let refused = terraform.var("image", &second.pinned).apply().code(1).says("0 of 1 approval(s) are there");
    let refused = refused.says(&second.digest).says("railway-deployer rollout approve").says("SPX-421");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());

    // An approval of the digest by another plan is none.
    approve(&terraform, &anna, &second, "0".repeat(64));
    let refused =
        terraform.apply().code(1).says("anna: it is about another plan").says(&plan_hash(&refused.dense()));
    approve(&terraform, &anna, &second, plan_hash(&refused.dense()));
    let _ = terraform.apply().success();
    assert_eq!(get(&url).body.trim(), "second");
    terraform.configure(&format!("{}{policy}{EVENTS}", shop_with_rollout()));
    let _ = terraform.apply().success();
    let approved = events(&terraform, "rollout.approved");
    assert_eq!(approved.len(), 1, "{approved:#?}");
    assert_eq!(approved[0]["by"], serde_json::json!(["anna"]));

    let before = sandbox.now();
    let refused = terraform.var("image", &third.pinned).apply().code(1).says("0 of 1 approval(s) are there");
    let _ = refused.says(&format!("anna: it is about another digest, `{}`", second.digest));
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    assert_eq!(get(&url).body.trim(), "second");
    assert_eq!(terraform.state().text("spectra_rollout.web", "running_digest"), second.digest);
}
