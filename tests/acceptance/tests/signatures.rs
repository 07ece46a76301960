//! Signatures of images: what a data source says of them, and how a deployment policy keeps unsigned images out, by the real
//! Terraform.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::process::Command;

use spectra_acceptance::{
    Image, ImageBuilder, SHOP, Sandbox, Terraform, deployer, eventually, get, run, shop_with_rollout,
};
use spectra_test_sigstore::{Claims, Fake};
use tempfile::TempDir;

/// A pair of keys in a folder of its own.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { folder: tempfile::tempdir().unwrap() };
        let _ = run(keys.deployer().args(["image", "keygen", "--no-password", "--output", "ci"])).success();
        keys
    }

    fn deployer(&self) -> Command {
        let mut command = Command::new(deployer());
        command.current_dir(self.folder.path());
        command
    }

    fn sign(&self, image: &Image) {
        let _ = run(self.deployer().args(["image", "sign", "--key", "ci.key", &image.pinned])).success();
    }

    /// `{ keys = […] }`, as HCL.
    fn policy(&self) -> String {
        let key = self.folder.path().join("ci.pub");
        format!(
            "{{\n    keys = [{{ name = \"ci\", public_key = file({:?}) }}]\n  }}",
            key.display().to_string()
        )
    }
}

const WORKFLOW: &str = "acme/shop/.github/workflows/release.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Services that certify, with their root of trust in a file.
struct Keyless {
    folder: TempDir,
    fake: Fake,
}

impl Keyless {
    fn new() -> Self {
        let keyless = Self { folder: tempfile::tempdir().unwrap(), fake: Fake::start(ISSUER) };
        let root = keyless.fake.authority().trusted_root().to_string();
        std::fs::write(keyless.folder.path().join("root.json"), root).unwrap();
        keyless
    }

    fn root(&self) -> String {
        self.folder.path().join("root.json").display().to_string()
    }

    fn sign(&self, image: &Image) {
        let mut command = Command::new(deployer());
        command.args(["image", "sign", "--keyless", "--trusted-root", &self.root(), &image.pinned]);
        command.args(["--fulcio-url", &self.fake.url(), "--rekor-url", &self.fake.url()]);
        command.env("SIGSTORE_ID_TOKEN", self.fake.token(&Claims::of_workflow(WORKFLOW)));
        let _ = run(&mut command).success();
    }
}

/// `{ identities = […] }`, as HCL.
fn identities() -> String {
    format!(
        "{{\n    identities = [{{ name = \"release\", issuer = \"{ISSUER}\", subject = \"https://github.com/{WORKFLOW}\" }}]\n  }}"
    )
}

#[test]
fn an_identity_is_asked_for_instead_of_a_key() {
    let sandbox = Sandbox::start();
    let keyless = Keyless::new();
    let [first, second] = images(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ =
        terraform.env("SPECTRA_TRUSTED_ROOT", &keyless.root()).var("image", &first.pinned).apply().success();
    let data = format!(
        "data \"spectra_image\" \"web\" {{\n  image = var.image\n  verify = {}\n}}\n\noutput \"signers\" {{\n  value = join(\",\", \
         data.spectra_image.web.signatures[*].identity)\n}}\n",
        identities()
    );
    let policy = format!(
        "{}resource \"spectra_deployment_policy\" \"signed\" {{\n  name = \"signed\"\n  environment_id = \
         spectra_project.shop.default_environment_id\n  signatures = {}\n}}\n",
        shop_with_rollout(),
        identities()
    );
    terraform.configure(&policy);
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();
    let _ = terraform
        .var("image", &second.pinned)
        .plan()
        .code(1)
        .says("SPX-335")
        .says("of the identities `release`");
    terraform.configure(&format!("{policy}{data}"));
    let _ = terraform.plan().code(1).says("not signed as `verify` wants it");
    keyless.sign(&second);
    let _ = terraform.apply().success();
    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
    assert_eq!(terraform.output("signers"), format!("https://github.com/{WORKFLOW}"));
    terraform.assert_empty_plan();
    // By another root, the same signature is nobody's.
    let _ = terraform.env("SPECTRA_TRUSTED_ROOT", "").plan().code(1).says("and that does not hold");
}

fn images(sandbox: &Sandbox) -> [Image; 2] {
    ["first", "second"].map(|name| ImageBuilder::new(name).push(sandbox))
}

#[test]
fn an_image_that_is_not_signed_is_refused_by_the_plan_and_a_signed_one_rolls_out() {
    let sandbox = Sandbox::start();
    let keys = Keys::new();
    let [first, second] = images(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    let policy = format!(
        "resource \"spectra_deployment_policy\" \"signed\" {{\n  name = \"signed\"\n  environment_id = \
         spectra_project.shop.default_environment_id\n  signatures = {}\n}}\n",
        keys.policy()
    );
    terraform.configure(&format!("{}{policy}", shop_with_rollout()));
    let _ = terraform.apply().success();
    // What is configured is what the journal has, also after it was read back.
    terraform.assert_empty_plan();

    let before = sandbox.now();
    let plan = terraform.var("image", &second.pinned).plan().code(1);
    let _ = plan
        .says("not signed as the deployment policy wants it")
        .says("policy `signed` wants the signatures of 1 of the keys `ci`")
        .says("SPX-335");
    let _ = terraform.apply().code(1).says("SPX-335");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    assert_eq!(get(&terraform.output("url")).body.trim(), "first");

    // The command line keeps to the policy of the journal as well.
    keys.sign(&second);
    let _ = terraform.apply().success();
    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
    terraform.assert_empty_plan();
}

#[test]
fn a_plan_that_was_made_before_a_policy_is_refused_by_the_apply() {
    let sandbox = Sandbox::start();
    let keys = Keys::new();
    let [first, second] = images(&sandbox);
    let policy = |signatures: &str| {
        format!(
            "{}resource \"spectra_deployment_policy\" \"signed\" {{\n  name = \"signed\"\n  environment_id = \
             spectra_project.shop.default_environment_id\n  {signatures}\n}}\n",
            shop_with_rollout()
        )
    };
    let mut terraform = Terraform::new(&sandbox, &policy(""));
    let _ = terraform.var("image", &first.pinned).apply().success();
    // The policy comes with the image: the plan knows nothing of it, and the image is judged again once it is in place.
    let with_signatures = policy(&format!("signatures = {}", keys.policy()));
    terraform.configure(
        &with_signatures
            .replace("[spectra_domain.web]", "[spectra_domain.web, spectra_deployment_policy.signed]"),
    );
    let _ = terraform.var("image", &second.pinned).plan().code(2);
    let before = sandbox.now();
    let _ = terraform.apply().code(1).says("policy `signed` wants the signatures").says("SPX-335");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    assert_eq!(get(&terraform.output("url")).body.trim(), "first");
    assert_eq!(terraform.state().text("spectra_rollout.web", "running_digest"), first.digest);
}

#[test]
fn a_data_source_names_the_signatures_and_fails_where_they_are_missing() {
    let sandbox = Sandbox::start();
    let keys = Keys::new();
    let image = ImageBuilder::new("first").push(&sandbox);
    let configuration = format!(
        "data \"spectra_image\" \"web\" {{\n  image = {:?}\n  verify = {}\n}}\n\noutput \"signers\" {{\n  value = join(\",\", \
         data.spectra_image.web.signatures[*].key)\n}}\n",
        image.tagged,
        keys.policy()
    );
    let terraform = Terraform::new(&sandbox, &configuration);
    let refused = terraform.plan().code(1);
    let _ = refused.says("not signed as `verify` wants it").says("SPX-335");
    keys.sign(&image);
    let _ = terraform.apply().success();
    assert_eq!(terraform.output("signers"), "ci");
}

/// A shop whose service deploys `var.image` by itself, and `further` attributes of it; `rule` is of a policy, if there is one.
fn shop_with_image(further: &str, rule: &str) -> String {
    let service = format!("  name           = \"web\"\n  image          = var.image\n  {further}\n");
    let shop = SHOP.replace("  name           = \"web\"\n", &service);
    if rule.is_empty() {
        return shop;
    }
    format!(
        "{shop}resource \"spectra_deployment_policy\" \"careful\" {{\n  name = \"careful\"\n  environment_id = \
         spectra_project.shop.default_environment_id\n  {rule}\n}}\n"
    )
}

/// That the service answers with this, soon.
fn serves(terraform: &Terraform, body: &str) {
    let url = terraform.output("url");
    eventually("the image of the service serves", || (get(&url).body.trim() == body).then_some(()));
}

#[test]
fn an_image_of_a_service_is_deployed_past_no_policy() {
    let sandbox = Sandbox::start();
    let keys = Keys::new();
    let [first, second] = images(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_image("", ""));
    // Where no policy is, nothing is asked, and nothing is made to be asked.
    let _ = terraform.var("image", &first.tagged).apply().success();
    serves(&terraform, "first");
    assert!(!terraform.work().join(".spectra").exists());
    let signed = format!("signatures = {}", keys.policy());
    terraform.configure(&shop_with_image("", &signed));
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();

    let before = sandbox.now();
    let by_tag = terraform.var("image", &second.tagged).plan().code(1);
    let _ = by_tag.says("SPX-438").says("is named without a digest").says(&second.digest);
    let _ = terraform.var("image", &second.pinned).plan().code(1).says("SPX-335");
    let _ = terraform.apply().code(1).says("policy `careful` wants the signatures of 1 of the keys `ci`");
    // Another setting would deploy what nobody has signed once more.
    let _ = terraform.var("image", &first.tagged);
    terraform.configure(&shop_with_image("draining = \"5s\"", &signed));
    let _ = terraform.plan().code(1).says("SPX-438").says(&first.digest);
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    serves(&terraform, "first");

    keys.sign(&second);
    let _ = terraform.var("image", &second.pinned).apply().success();
    serves(&terraform, "second");
    terraform.assert_empty_plan();
    let mut log = terraform.deployer(&["audit", "log", "--kind", "signature.accepted", "--json"]);
    let log = run(&mut log).success();
    assert!(log.stdout.contains(&second.digest) && log.stdout.contains("\"key\": \"ci\""), "{}", log.stdout);
}

#[test]
fn a_policy_that_comes_with_the_image_of_a_service_is_kept_to() {
    let sandbox = Sandbox::start();
    let [first, second] = images(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_image("", ""));
    let _ = terraform.var("image", &first.tagged).apply().success();
    serves(&terraform, "first");
    // The plan knows nothing of it.
    let after = "depends_on = [spectra_deployment_policy.careful]";
    terraform.configure(&shop_with_image(after, "health_required = true"));
    let _ = terraform.var("image", &second.tagged).plan().code(2);
    let before = sandbox.now();
    let refused = terraform.apply().code(1);
    let _ = refused.says("SPX-438").says("bring it out with `spectra_rollout`");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    serves(&terraform, "first");
    // Another name deploys nothing.
    let renamed = shop_with_image(after, "health_required = true").replace("= \"web\"", "= \"shop-web\"");
    terraform.configure(&renamed);
    let _ = terraform.var("image", &first.tagged).apply().success();
    // Without the image, a rollout decides.
    terraform.configure(&renamed.replace("  image          = var.image\n", "  draining       = \"5s\"\n"));
    let _ = terraform.apply().success();
    serves(&terraform, "first");
}
