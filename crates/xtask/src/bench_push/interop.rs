//! P8 and P9: what odd registries do to us, and what other programs make of what we push.

use super::Bench;
use super::measure::cost;
use super::table::Table;
use super::tools::{Cache, Source};
use crate::error::Error;
use crate::process::Job;
use crate::suite;
use crate::workspace::cargo;

/// Encrypts the key that the bench makes for itself.
const PASSWORD: &str = "bench";

impl Bench<'_> {
    /// P8: the client's tests against every switch of the sandbox's registry, run here so that the table says what was seen.
    pub(super) async fn quirks(&self, table: &mut Table) -> Result<(), Error> {
        self.context.report.step("P8: registries with quirks");
        let job = cargo()
            .args(["test", "--package", "spectra-oci", "--test", "outcomes", "--test", "it"])
            .dir(&self.context.workspace.root);
        let end = self.context.processes.run(&job).await?;
        let counts = suite::count(&end.stdout);
        if counts.passed == 0 {
            // It did not come as far as running a test.
            return Err(end.failure());
        }
        table.tests("P8", "tests of registries with quirks", counts.passed, counts.failed);
        Ok(())
    }

    /// P9: what other programs make of what was pushed and signed, and whether two runs push the same.
    pub(super) async fn interop(&self, table: &mut Table) -> Result<(), Error> {
        self.context.report.step("P9: what others make of the image");
        for (name, source) in [
            ("gzip", Source::Archive(&self.images.archive)),
            ("zstd", Source::ArchiveZstd(&self.images.archive)),
        ] {
            let target = format!("{}/bench/{name}:1", self.registry.address);
            let mut digests = Vec::new();
            for _ in 0..2 {
                self.registry.empty()?;
                let (_, end) = cost(self.context, &self.tools.ours(source, &target, Cache::None)).await?;
                digests.push(end.stdout.trim().to_owned());
            }
            table.check("P9", &format!("{name}: the same digest on two runs"), digests[0] == digests[1]);
            if let Some(crane) = &self.tools.crane {
                let mut job = Job::new(crane).args(["validate", "--insecure", "--remote"]).arg(&target);
                if name == "zstd" {
                    // crane unpacks gzip alone; of zstd layers it can see that they are there.
                    job = job.arg("--fast");
                }
                let end = self.context.processes.run(&job).await?;
                table.check("P9", &format!("{name}: crane validate"), end.status.success());
            }
            if let Some(skopeo) = &self.tools.skopeo {
                let job = Job::new(skopeo)
                    .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
                    .arg(format!("docker://{target}"));
                let end = self.context.processes.run(&job).await?;
                let same = end.status.success() && end.stdout.trim() == digests[0];
                table.check("P9", &format!("{name}: skopeo inspect names the digest"), same);
            }
            let image = format!("{}/bench/{name}@{}", self.registry.address, digests[0]);
            self.signature(table, name, &image).await?;
        }
        Ok(())
    }

    /// Signs an image with a new key; cosign has to accept it with that key, and must not have accepted it before.
    async fn signature(&self, table: &mut Table, name: &str, image: &str) -> Result<(), Error> {
        let Some(cosign) = &self.tools.cosign else { return Ok(()) };
        let key = self.root.join(name);
        let (private, public) = (key.with_extension("key"), key.with_extension("pub"));
        let ours = || Job::new(&self.tools.ours).env("COSIGN_PASSWORD", PASSWORD).arg("image");
        let verify = || {
            Job::new(cosign)
                .args(["verify", "--insecure-ignore-tlog", "--allow-http-registry", "--key"])
                .arg(&public)
                .arg(image)
        };
        let made = ours().args(["keygen", "--output"]).arg(&key);
        self.context.processes.run(&made).await?.success()?;
        let before = self.context.processes.run(&verify()).await?;
        let signed = ours().args(["sign", image, "--key"]).arg(&private);
        self.context.processes.run(&signed).await?.success()?;
        let after = self.context.processes.run(&verify()).await?;
        let holds = !before.status.success() && after.status.success();
        table.check("P9", &format!("{name}: cosign verify of our signature"), holds);
        Ok(())
    }
}
