use std::time::Duration;

use super::*;
use crate::spec::{HealthPolicy, Place, Step};

fn request() -> RolloutRequest {
    let place = Place {
        project: "p".parse().unwrap(),
        environment: "production".parse().unwrap(),
        service: "api".parse().unwrap(),
    };
    let image = format!("ghcr.io/acme/api@sha256:{}", "a".repeat(64));
    RolloutRequest::new(place, image.parse().unwrap())
}

fn policy() -> DeploymentPolicy {
    DeploymentPolicy::new("careful", Reach::Environment { environment: "production".parse().unwrap() })
}

fn rule(required: u32, names: &[&str], github: Option<&str>) -> ApprovalRule {
    let approver = |name: &&str| Approver { name: (*name).to_owned(), public_key: format!("key of {name}") };
    ApprovalRule {
        required,
        before_start: true,
        approvers: names.iter().map(approver).collect(),
        github_environment: github.map(str::to_owned),
    }
}

fn broken(policy: &DeploymentPolicy, request: &RolloutRequest) -> Vec<&'static str> {
    match govern(std::slice::from_ref(policy), request.clone()) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(|violation| violation.rule).collect(),
    }
}

#[test]
fn each_rule_refuses_what_breaks_it_and_lets_the_rest_pass() {
    let minutes = |minutes| HumanDuration::new(Duration::from_mins(minutes));
    let bake = DeploymentPolicy { minimum_bake: Some(minutes(5)), ..policy() };
    assert_eq!(broken(&bake, &request()), ["minimum_bake"]);
    assert_eq!(broken(&bake, &RolloutRequest { bake: Duration::from_mins(5), ..request() }), [""; 0]);
    let timeout = DeploymentPolicy { maximum_timeout: Some(minutes(29)), ..policy() };
    assert_eq!(broken(&timeout, &request()), ["maximum_timeout"]);
    assert_eq!(broken(&timeout, &RolloutRequest { timeout: Duration::from_mins(29), ..request() }), [""; 0]);
    let health = DeploymentPolicy { health_required: true, ..policy() };
    assert_eq!(broken(&health, &request()), ["health_required"]);
    let probed = RolloutRequest { health: Some(HealthPolicy::default()), ..request() };
    assert_eq!(broken(&health, &probed), [""; 0]);
    let canary = DeploymentPolicy { required_steps: vec!["canary".to_owned()], ..policy() };
    assert_eq!(broken(&canary, &request()), ["required_steps"]);
    let stepped = RolloutRequest { steps: vec![Step::Canary(crate::spec::Canary::default())], ..request() };
    assert_eq!(broken(&canary, &stepped), [""; 0]);
    // A swap is taken also where nobody wrote it.
    let swap = DeploymentPolicy { required_steps: vec!["swap".to_owned()], ..policy() };
    assert_eq!(broken(&swap, &request()), [""; 0]);
}

#[test]
fn images_come_from_allowed_repositories_only() {
    for (pattern, allowed) in [
        ("ghcr.io/acme/api", true),
        ("ghcr.io/acme/*", true),
        ("ghcr.io/*", true),
        ("ghcr.io/acme/ap", false),
        ("ghcr.io/acm/*", false),
        ("docker.io/acme/*", false),
    ] {
        let policy = DeploymentPolicy { allowed_repositories: vec![pattern.to_owned()], ..policy() };
        assert_eq!(policy.problems(), [], "{pattern}");
        assert_eq!(broken(&policy, &request()).is_empty(), allowed, "{pattern}");
    }
}

#[test]
fn a_policy_of_another_environment_says_nothing() {
    let other = Reach::Environment { environment: "staging".parse().unwrap() };
    let policy = DeploymentPolicy { health_required: true, reach: other, ..policy() };
    assert_eq!(broken(&policy, &request()), [""; 0]);
    let project = Reach::Project { project: "p".parse().unwrap() };
    assert_eq!(broken(&DeploymentPolicy { reach: project, ..policy }, &request()), ["health_required"]);
}

#[test]
fn an_approval_becomes_part_of_the_request_and_its_plan_stays_the_same() {
    let policy = DeploymentPolicy { approval: Some(rule(1, &["anna"], None)), ..policy() };
    let governed = govern(&[policy], request()).unwrap();
    assert_eq!(governed.approval, Some(rule(1, &["anna"], None)));
    assert_eq!(governed.plan_hash(), request().plan_hash());
}

#[test]
fn whoever_asks_cannot_weaken_an_approval() {
    let strict = DeploymentPolicy { approval: Some(rule(2, &["anna", "ben", "cleo"], None)), ..policy() };
    let asked = RolloutRequest { approval: Some(rule(1, &["ben", "anna", "mallory"], None)), ..request() };
    let governed = govern(std::slice::from_ref(&strict), asked).unwrap().approval.unwrap();
    assert_eq!(governed, rule(2, &["ben", "anna"], None));
    let own = RolloutRequest { approval: Some(rule(1, &["mallory"], Some("production"))), ..request() };
    assert_eq!(broken(&strict, &own), ["approval"]);
    // Asked for by `pause` steps alone is not what a policy wants.
    let late = ApprovalRule { before_start: false, ..rule(2, &["anna", "ben"], None) };
    let governed = govern(&[strict], RolloutRequest { approval: Some(late), ..request() }).unwrap();
    assert!(governed.approval.unwrap().before_start);
}

#[test]
fn reviewers_of_github_count_only_where_every_rule_says_so() {
    let one = DeploymentPolicy { approval: Some(rule(1, &[], Some("production"))), ..policy() };
    let two = DeploymentPolicy { approval: Some(rule(1, &["anna"], Some("production"))), ..policy() };
    let governed = govern(&[one.clone(), two], request()).unwrap().approval.unwrap();
    assert_eq!(governed, rule(1, &[], Some("production")));
    let elsewhere = DeploymentPolicy { approval: Some(rule(1, &[], Some("staging"))), ..policy() };
    assert!(govern(&[one, elsewhere], request()).is_err());
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let paths = |policy: DeploymentPolicy| -> Vec<String> {
        policy.problems().into_iter().map(|problem| problem.path).collect()
    };
    assert_eq!(paths(policy()), [""; 0]);
    assert_eq!(paths(DeploymentPolicy { name: String::new(), ..policy() }), ["name"]);
    let approval = |rule| DeploymentPolicy { approval: Some(rule), ..policy() };
    assert_eq!(paths(approval(rule(0, &["anna"], None))), ["approval.required"]);
    assert_eq!(paths(approval(rule(2, &["anna"], None))), ["approval.approvers"]);
    // One person under two spellings is one.
    assert_eq!(paths(approval(rule(2, &["anna", "Anna"], None))), ["approval.approvers"]);
    assert_eq!(paths(approval(rule(2, &[], Some("production")))), [""; 0]);
    let steps = DeploymentPolicy { required_steps: vec!["canaries".to_owned()], ..policy() };
    assert_eq!(paths(steps), ["required_steps[0]"]);
    for pattern in ["acme", "ghcr.io/*/api", "*"] {
        let policy = DeploymentPolicy { allowed_repositories: vec![pattern.to_owned()], ..policy() };
        assert_eq!(paths(policy), ["allowed_repositories[0]"], "{pattern}");
    }
}

#[test]
fn a_policy_is_read_as_it_is_written() {
    let written = DeploymentPolicy {
        approval: Some(rule(2, &["anna", "ben"], None)),
        minimum_bake: Some("5m".parse().unwrap()),
        required_steps: vec!["canary".to_owned()],
        ..policy()
    };
    let json = serde_json::to_value(&written).unwrap();
    assert_eq!(serde_json::from_value::<DeploymentPolicy>(json).unwrap(), written);
}

#[test]
fn a_way_back_passes_every_rule_over_and_says_which() {
    let strict = DeploymentPolicy {
        approval: Some(rule(2, &["ada", "bob"], None)),
        minimum_bake: Some("5m".parse().unwrap()),
        required_steps: vec!["canary".to_owned()],
        allowed_repositories: vec!["ghcr.io/other/*".to_owned()],
        signatures: Some(SignaturePolicy {
            repositories: Vec::new(),
            keys: Vec::new(),
            identities: Vec::new(),
            required: spectra_sign::Threshold::Any,
            attestations: Vec::new(),
        }),
        ..policy()
    };
    let elsewhere = DeploymentPolicy {
        reach: Reach::Environment { environment: "staging".parse().unwrap() },
        health_required: true,
        ..policy()
    };
    let found = passed_over(&[strict, elsewhere], &request());
    let rules: Vec<_> = found.iter().map(|one| (one.rule, one.is_about_the_image())).collect();
    assert_eq!(
        rules,
        [
            ("minimum_bake", false),
            ("required_steps", false),
            ("allowed_repositories", true),
            ("approval", false),
            ("signatures", false)
        ]
    );
}

#[test]
fn a_signature_policy_that_cannot_hold_is_a_problem_of_the_whole() {
    let signatures = SignaturePolicy {
        repositories: Vec::new(),
        keys: Vec::new(),
        identities: Vec::new(),
        required: spectra_sign::Threshold::Any,
        attestations: Vec::new(),
    };
    let found = DeploymentPolicy { signatures: Some(signatures), ..policy() }.problems();
    assert_eq!(found.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), ["signatures.keys"]);
}

#[test]
fn what_takes_a_rollout_refuses_an_image_that_is_deployed_without_one() {
    let image = |text: &str| text.parse::<ImageRef>().unwrap();
    let broken = |policy: &DeploymentPolicy, text: &str| -> Vec<_> {
        policy.violations_without_rollout(&image(text)).iter().map(|violation| violation.rule).collect()
    };
    let ours = "ghcr.io/acme/api:1";
    assert_eq!(broken(&policy(), ours), [""; 0]);
    let minutes = |minutes| Some(HumanDuration::new(Duration::from_mins(minutes)));
    let strict = DeploymentPolicy {
        approval: Some(rule(1, &["ann"], None)),
        minimum_bake: minutes(5),
        health_required: true,
        required_steps: vec!["swap".to_owned()],
        ..policy()
    };
    let all = ["approval", "minimum_bake", "health_required", "required_steps"];
    assert_eq!(broken(&strict, ours), all);
    let from = DeploymentPolicy { allowed_repositories: vec!["ghcr.io/acme/*".to_owned()], ..policy() };
    assert_eq!(broken(&from, ours), [""; 0]);
    assert_eq!(broken(&from, "ghcr.io/other/api:1"), ["allowed_repositories"]);
    // Neither says anything of an image that nobody watches.
    let idle = DeploymentPolicy { minimum_bake: minutes(0), maximum_timeout: minutes(1), ..policy() };
    assert_eq!(broken(&idle, ours), [""; 0]);
}
