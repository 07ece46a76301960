//! Actions, invoked by themselves: what they did is seen from outside.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use spectra_acceptance::{ImageBuilder, Sandbox, Terraform, assert_absent, get, shop_with_rollout};

/// [`shop_with_rollout`] with an action of that type about its service.
fn shop_with_action(kind: &str, more: &str) -> String {
    format!(
        r#"{}
action "{kind}" "web" {{
  config {{
    project_id     = spectra_project.shop.id
    environment_id = spectra_project.shop.default_environment_id
    service_id     = spectra_service.web.id
    {more}
  }}
}}
"#,
        shop_with_rollout()
    )
}

const HEALTH: &str = r#"health = {
      path              = "/healthz"
      interval          = "100ms"
      timeout           = "2s"
      success_threshold = 2
      failure_threshold = 3
    }"#;

#[test]
fn a_restart_waits_until_the_service_is_healthy_and_says_what_it_does() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let Some(mut terraform) = Terraform::latest(&sandbox, &shop_with_action("spectra_restart", HEALTH))
    else {
        return;
    };
    let _ = terraform.var("image", &image.pinned).apply().success();
    let before = sandbox.now();
    let run = terraform.run(&["apply", "-auto-approve", "-invoke=action.spectra_restart.web"]).success();
    let _ = run.says("restarting deployment").says("is restarted and healthy").says("answered HTTP 200");
    assert_eq!(sandbox.mutations(before), ["DeploymentRestart"]);
    assert_eq!(get(&terraform.output("url")).body.trim(), "good");
    terraform.assert_empty_plan();
}

#[test]
fn a_rollback_goes_back_to_the_digest_that_served_before_and_leaves_the_choice_to_configuration() {
    let sandbox = Sandbox::start();
    let first = ImageBuilder::new("first").push(&sandbox);
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let second = ImageBuilder::new("second").push(&sandbox);
    let Some(mut terraform) = Terraform::latest(&sandbox, &shop_with_action("spectra_rollback", HEALTH))
    else {
        return;
    };
    let _ = terraform.var("image", &first.pinned).apply().success();
    // What never served is not gone back to, however new it is.
    let _ = terraform.var("image", &bad.pinned).apply().code(1);
    let _ = terraform.var("image", &second.pinned).apply().success();
    let url = terraform.output("url");
    assert_eq!(get(&url).body.trim(), "second");

    let run = terraform.run(&["apply", "-auto-approve", "-invoke=action.spectra_rollback.web"]).success();
    let _ = run.says(&format!("to {}", first.pinned)).says("healthy").says("rolls forward again");
    assert_eq!(get(&url).body.trim(), "first");
    // Configuration still asks for the second one, and a plan says so.
    let _ = terraform.plan().code(2).says("spectra_rollout.web");
    terraform.var("image", &first.pinned);
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();
}

#[test]
fn a_rollback_to_an_image_that_is_not_healthy_fails_and_tells_what_runs() {
    let sandbox = Sandbox::start();
    let good = ImageBuilder::new("good").push(&sandbox);
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let named = format!("image = \"{}\"\n    {HEALTH}", bad.pinned);
    let Some(mut terraform) = Terraform::latest(&sandbox, &shop_with_action("spectra_rollback", &named))
    else {
        return;
    };
    let _ = terraform.var("image", &good.pinned).apply().success();
    let run = terraform.run(&["apply", "-auto-approve", "-invoke=action.spectra_rollback.web"]).code(1);
    let _ = run
        .says("could not be rolled back")
        .says("bring back what service")
        .says(&format!("running digest: {}", good.digest));
    assert_eq!(get(&terraform.output("url")).body.trim(), "good");
    terraform.assert_empty_plan();
}

/// Answers 503 once and then 200; gives back what it was sent.
fn receiver(listener: TcpListener) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for status in ["503 Service Unavailable", "200 OK"] {
            let (mut stream, _) = listener.accept().unwrap();
            seen.push(request(&mut stream));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        seen
    })
}

/// Head and body of one request.
fn request(stream: &mut TcpStream) -> String {
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
            return text;
        }
    }
}

#[test]
fn a_notification_is_signed_sent_again_and_shows_neither_its_secret_nor_its_query() {
    let sandbox = Sandbox::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=query-secret-7f3a", listener.local_addr().unwrap());
    let configuration = r#"
variable "hook_url" {
  type = string
}

variable "hook_secret" {
  type      = string
  ephemeral = true
}

provider "spectra" {}

action "spectra_notify" "done" {
  config {
    url       = var.hook_url
    secret_wo = var.hook_secret
    body      = jsonencode({ text = "done" })
  }
}
"#;
    let Some(mut terraform) = Terraform::latest(&sandbox, configuration) else { return };
    let received = receiver(listener);
    let log = terraform.root().join("trace.log");
    terraform.var("hook_url", &url).var("hook_secret", "whsec-canary-91c2");
    // The most talkative logs there are, Terraform's own and the provider's.
    terraform.env("TF_LOG", "TRACE").env("TF_LOG_PATH", &log.to_string_lossy());
    let run = terraform.run(&["apply", "-auto-approve", "-invoke=action.spectra_notify.done"]).success();
    let run = run.says("attempt 1 failed: HTTP 503").says("accepted with HTTP 200 after 2 attempt(s)");
    for secret in ["query-secret-7f3a", "whsec-canary-91c2"] {
        assert!(!run.dense().contains(secret), "{secret} in:\n{}\n{}", run.stdout, run.stderr);
    }
    assert!(log.metadata().unwrap().len() > 10_000, "the trace log has to be there to be searched");
    for secret in ["query-secret-7f3a", "whsec-canary-91c2"] {
        assert_absent(terraform.root(), secret, &[]);
    }
    let seen = received.join().unwrap();
    for one in &seen {
        assert!(one.ends_with(r#"{"text":"done"}"#), "{one}");
        assert!(one.contains("x-spectra-signature: t="), "{one}");
    }
    let delivery = |text: &str| {
        text.lines().find(|line| line.starts_with("x-spectra-delivery:")).expect("a delivery id").to_owned()
    };
    assert_eq!(delivery(&seen[0]), delivery(&seen[1]), "the receiver can tell that it is the same message");
}
