//! What an engine makes of layers that were built on others. A tool that is missing is said.

use std::process::Command;

use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::registry,
    image_copy::container_storage,
    support::{Place, tool},
};

#[test]
fn what_lies_below_is_still_there_when_an_engine_has_unpacked_it() {
    let Some(buildah) = tool("buildah") else { return };
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    place.write("base/usr/bin/sh", "sh");
    place.write("base/tmp/.keep", "");
    place.write("base/data/.keep", "");
    std::os::unix::fs::symlink("usr/bin", place.path("base/bin")).unwrap();
    place.write(
        "base/image.toml",
        "cmd = [\"/bin/sh\"]\n[[files]]\nfrom = \".\"\nto = \"/\"\nexclude = [\"image.toml\"]\nrules = [{ files = [\"tmp\"], mode = \"1777\" }, { files = [\"data\"], mode = \"0700\", owner = \"7:8\" }]\n",
    );
    let digest = place.run(&["image", "build", "base", "--output", "b"]).done().stdout;
    let repository = format!("{}/team/base", running.address);
    place.run(&["image", "push", "b", &format!("{repository}:1")]).done();
    place.write("app/serve", "serve");
    place.write(
        "app/image.toml",
        &format!(
            "base = \"{repository}@{}\"\ncmd = [\"/bin/serve\"]\n[[files]]\nfrom = \"serve\"\nto = \"/bin/serve\"\n[[files]]\nfrom = \"serve\"\nto = \"/tmp/x\"\n[[files]]\nfrom = \"serve\"\nto = \"/data/x\"\n",
            digest.trim()
        ),
    );
    place.run(&["image", "build", "app", "--output", "out"]).done();
    place.run(&["image", "copy", "out", "oci-archive:out.tar:localhost/app:v1"]).done();

    container_storage(&mut place);
    // An overlay needs to be root; without, a copy of all layers in one directory has to do.
    let root = rustix::process::geteuid().is_root();
    for driver in if root { &["overlay", "vfs"][..] } else { &["vfs"] } {
        let store = place.path(&format!("store-{driver}"));
        let script = format!(
            "set -e; B=\"{3} --root {0} --runroot {0}-run --storage-driver {driver}\"; P={1}\n\
             C=$($B from --signature-policy $P oci-archive:{2})\n\
             M=$($B mount $C); stat -c '%A %u:%g' $M/bin $M/tmp $M/data; cat $M/bin/sh $M/bin/serve\n\
             $B umount $C >/dev/null; $B rm $C >/dev/null",
            store.display(),
            place.path("policy.json").display(),
            place.path("out.tar").display(),
            buildah.display(),
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .env_clear()
            .envs(place.command().get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env_remove("CONTAINERS_STORAGE_CONF");
        let output = command.output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "lrwxrwxrwx 0:0\ndrwxrwxrwt 0:0\ndrwx------ 7:8\nshserve",
            "{driver}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
