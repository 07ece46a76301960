//! The provider is killed in the middle of `terraform apply`, alone or with Terraform. Whatever command comes next: one of
//! the old and the new version serves, nothing of the other is left, and state and plan tell the truth.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeSet;
use std::fmt;

use rustix::process::Signal;
use serde_json::Value;
use spectra_acceptance::{
    Point, Run, Sandbox, Terraform, Version, Watch, hold_all, points, run, serving, signal,
};

const CONFIGURATION: &str = r#"
variable "image" {
  type = string
}

provider "spectra" {}

resource "spectra_project" "shop" {
  name = "shop"
}

resource "spectra_service" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  name           = "web"
}

resource "spectra_domain" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
}

resource "spectra_rollout" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
  image          = var.image
  bake           = "50ms"
  steps          = [{ canary = { duration = "50ms" } }, { swap = true }]

  health = {
    interval          = "20ms"
    success_threshold = 2
  }

  # Probed on the service's own domain.
  depends_on = [spectra_domain.web]
}
"#;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Provider,
    Both,
}

/// The command that comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Apply,
    /// Terraform looks at what there is, and changes nothing.
    Refresh,
    /// `rollout status`.
    Status,
    Abort,
}

#[derive(Clone, Debug)]
struct Case {
    point: Point,
    who: Who,
    next: Next,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} killed before {}, then {:?}", self.who, self.point, self.next)
    }
}

struct Lane<'a> {
    sandbox: &'a Sandbox,
    terraform: Terraform,
    versions: Vec<Version>,
    current: usize,
    /// Project, environment and service.
    ids: [String; 3],
}

impl<'a> Lane<'a> {
    fn open(sandbox: &'a Sandbox) -> Self {
        let versions: Vec<_> = ["one", "two"].map(|name| Version::push(name, sandbox)).to_vec();
        let mut terraform = Terraform::new(sandbox, CONFIGURATION);
        let _ = terraform.var("image", &versions[0].image.pinned).apply().success();
        let state = terraform.state();
        let ids = ["project_id", "environment_id", "service_id"]
            .map(|name| state.text("spectra_rollout.web", name).to_owned());
        Self { sandbox, terraform, versions, current: 0, ids }
    }

    fn other(&self) -> usize {
        (self.current + 1) % self.versions.len()
    }

    fn names(&self) -> Vec<(String, String)> {
        vec![(self.ids[2].clone(), "web".to_owned())]
    }

    fn serving(&self, context: &str) -> &Version {
        let all: Vec<_> = self.versions.iter().collect();
        let name = serving(self.sandbox, &self.ids[1], &["web"], &all, context).name.clone();
        self.versions.iter().find(|version| version.name == name).unwrap()
    }

    fn deployer(&self, arguments: &[&str]) -> Run {
        let mut command = self.terraform.deployer(arguments);
        let names = ["RAILWAY_PROJECT_ID", "RAILWAY_ENVIRONMENT_ID", "RAILWAY_SERVICE_ID"];
        command.envs(names.iter().zip(&self.ids));
        run(&mut command)
    }

    fn status(&self) -> Value {
        let shown = self.deployer(&["rollout", "status", "--json"]).success();
        serde_json::from_str(&shown.stdout).expect("`status --json` prints JSON")
    }

    /// Asserts that a command that only reads went on with nothing: what is open is still open, under the lease of who is
    /// gone. A lease with nothing open is free.
    fn assert_left_alone(&self, abandoned: bool, context: &str) {
        let journal = self.terraform.journal();
        assert_eq!(journal.leases().len(), usize::from(abandoned), "{context}");
        assert_eq!(journal.open_rollouts(0).len(), usize::from(abandoned), "{context}");
    }

    /// The points of an apply, as one to its end shows them.
    fn points(&mut self) -> Vec<Point> {
        let last = self.terraform.journal().last();
        self.current = self.other();
        self.terraform.var("image", &self.versions[self.current].image.pinned);
        let _ = self.terraform.apply().success();
        let records = self.terraform.journal().records(last);
        // The provider is found by its lease, so it cannot be killed before it has one.
        points(&records, &self.names()).into_iter().filter(|point| point.kind() != "lease.acquired").collect()
    }

    fn kill(&mut self, case: &Case) {
        let context = case.to_string();
        let journal = self.terraform.journal();
        let since = journal.last();
        journal.stop_before(&case.point, &self.names());
        let old = self.versions[self.current].clone();
        let new = self.versions[self.other()].clone();
        self.terraform.var("image", &new.image.pinned);
        let mut running = self.terraform.begin(&["apply", "-auto-approve"]);
        let (mut watch, mut pid) = (Watch::default(), 0);
        running.until(&context, || {
            let leases = journal.leases();
            let Some((_, holder)) = leases.first() else { return false };
            assert_eq!(holder.program, "terraform-provider-spectra");
            pid = holder.pid;
            journal.has_stopped(pid, &mut watch)
        });
        if case.who == Who::Both {
            running.signal(Signal::KILL);
        }
        signal(pid, Signal::KILL);
        let (code, said) = running.end();
        assert_ne!(code, 0, "{context}: nobody may say that it went well:\n{said}");
        journal.go_on();
        journal.assert_chain();

        let records = journal.records(since);
        let end = records.iter().find(|record| record.kind == "rollout.finished");
        let completed = end.is_some_and(|end| end.body["outcome"]["outcome"] == "complete");
        let abandoned = end.is_none() && records.iter().any(|record| record.kind == "rollout.begun");
        let expected = if completed { &new } else { &old };
        match case.next {
            Next::Apply => {}
            Next::Refresh => {
                let _ = self.terraform.run(&["apply", "-refresh-only", "-auto-approve"]).success();
                self.assert_left_alone(abandoned, &context);
            }
            Next::Status => {
                let status = self.status();
                let state = if abandoned { "abandoned" } else { "ended" };
                assert_eq!(status["state"], state, "{context}: {status:#}");
                self.assert_left_alone(abandoned, &context);
            }
            Next::Abort => {
                let run = self.deployer(&["rollout", "abort"]);
                let codes: &[i32] = if abandoned { &[1, 3] } else { &[0] };
                assert!(codes.contains(&run.code), "{context}: {}: {}", run.code, run.text());
                assert_eq!(journal.leases(), [], "{context}");
                assert_eq!(self.serving(&context).name, expected.name, "{context}");
                // What Terraform has to say now is what holds, whatever it was told before.
                let _ = self.terraform.run(&["apply", "-refresh-only", "-auto-approve"]).success();
                let state = self.terraform.state();
                assert!(!state.tainted("spectra_rollout.web"), "{context}");
                assert_eq!(
                    state.text("spectra_rollout.web", "running_digest"),
                    expected.image.digest,
                    "{context}"
                );
                if !completed {
                    let _ = self.terraform.plan().code(2).says("spectra_rollout.web");
                }
            }
        }
        let _ = self.terraform.apply().success();
        // By the file: a command that looks would free what a dead process has.
        assert_eq!(journal.leases(), [], "{context}: a lease is not free");
        assert_eq!(journal.open_rollouts(0), Vec::<String>::new(), "{context}: a rollout is open");
        self.terraform.assert_empty_plan();
        assert_eq!(self.serving(&context).name, new.name, "{context}");
        let state = self.terraform.state();
        assert_eq!(state.text("spectra_rollout.web", "running_digest"), new.image.digest, "{context}");
        let _ = self.deployer(&["audit", "verify"]).success();
        self.current = self.other();
    }
}

/// Kills in all cases that `choose` makes of the points.
fn matrix(choose: impl FnOnce(Vec<Point>) -> Vec<Case>) {
    let start = || Sandbox::start_with(&["--time-scale", "2000"]);
    let sandbox = start();
    let mut lane = Lane::open(&sandbox);
    let cases = choose(lane.points());
    hold_all(
        cases,
        |cases| cases.share(|case| lane.kill(case)),
        |cases| {
            let sandbox = start();
            let mut lane = Lane::open(&sandbox);
            cases.share(|case| lane.kill(case));
        },
    );
}

/// What has to be killed at: nothing was done yet, the candidate is on its way, it serves, it is over.
const SORTS: [&str; 6] = [
    "rollout.begun",
    "rollout.intent deploy",
    "rollout.done deploy",
    "rollout.done remove_sibling",
    "rollout.finished",
    "lease.released",
];

#[test]
fn after_a_killed_provider_the_next_command_leaves_one_version_and_a_true_state() {
    matrix(|points| {
        let mut sorts = BTreeSet::new();
        let chosen: Vec<_> = points
            .into_iter()
            .filter(|point| SORTS.contains(&point.sort().as_str()) && sorts.insert(point.sort()))
            .collect();
        assert_eq!(chosen.len(), SORTS.len(), "{chosen:?}");
        // The last ends in a lease that its holder cannot give back: whoever looks at it frees it.
        let last = chosen.last().cloned().map(|point| (point, (Who::Both, Next::Refresh)));
        let how = [
            (Who::Provider, Next::Apply),
            (Who::Both, Next::Abort),
            (Who::Both, Next::Refresh),
            (Who::Provider, Next::Abort),
            (Who::Both, Next::Apply),
            (Who::Provider, Next::Status),
        ];
        let cases = chosen.into_iter().zip(how).chain(last);
        cases.map(|(point, (who, next))| Case { point, who, next }).collect()
    });
}

#[test]
#[ignore = "slow: every point with every next command, by `cargo xtask test --slow`"]
fn after_a_provider_killed_anywhere_every_next_command_leaves_one_version_and_a_true_state() {
    matrix(|points| {
        let all = points.into_iter().flat_map(|point| {
            [Who::Provider, Who::Both].into_iter().flat_map(move |who| {
                let point = point.clone();
                [Next::Apply, Next::Refresh, Next::Status, Next::Abort].map(|next| Case {
                    point: point.clone(),
                    who,
                    next,
                })
            })
        });
        all.collect()
    });
}
