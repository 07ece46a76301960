//! The direction of dependencies (docs/architecture.md), read from what cargo resolved.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Node, PackageId};

/// Crate → our crates that its own code may import. A crate that is missing here fails the test: its place
/// has to be decided first.
const ALLOWED: &[(&str, &[&str])] = &[
    ("spectra-types", &[]),
    ("tfplugin-macros", &[]),
    ("tfplugin", &["tfplugin-macros"]),
    ("spectra-journal", &["spectra-types"]),
    ("spectra-sign", &["spectra-types"]),
    ("spectra-tar", &[]),
    // Checks certificates for the policies of `spectra-sign`.
    ("spectra-keyless", &["spectra-sign", "spectra-types"]),
    // A deployment policy says whose signatures an image needs.
    ("spectra-rollout", &["spectra-sign", "spectra-types"]),
    ("spectra-notify", &["spectra-types"]),
    ("spectra-github", &["spectra-types"]),
    // Is handed layers as readers: it knows no registry.
    ("spectra-scan", &["spectra-tar", "spectra-types"]),
    ("spectra-oci", &["spectra-rollout", "spectra-sign", "spectra-tar", "spectra-types"]),
    ("spectra-probe", &["spectra-rollout", "spectra-types"]),
    ("spectra-railway", &["spectra-rollout", "spectra-types"]),
    // Puts the engine and the adapters together, for both programs.
    (
        "spectra-delivery",
        &[
            "spectra-github",
            "spectra-journal",
            "spectra-notify",
            "spectra-probe",
            "spectra-railway",
            "spectra-rollout",
            "spectra-sign",
            "spectra-types",
        ],
    ),
    // Not the client: the sandbox must not share the client's mistakes.
    ("spectra-sandbox", &["spectra-types"]),
    (
        "terraform-provider-spectra",
        &[
            "spectra-delivery",
            "spectra-journal",
            "spectra-keyless",
            "spectra-notify",
            "spectra-oci",
            "spectra-probe",
            "spectra-railway",
            "spectra-rollout",
            "spectra-sign",
            "spectra-types",
            "tfplugin",
        ],
    ),
    (
        "railway-deployer",
        &[
            "spectra-delivery",
            "spectra-journal",
            "spectra-keyless",
            "spectra-notify",
            "spectra-oci",
            "spectra-probe",
            "spectra-railway",
            "spectra-rollout",
            "spectra-sandbox",
            "spectra-scan",
            "spectra-sign",
            "spectra-types",
        ],
    ),
    ("quickstart-app", &[]),
    // Starts PostgreSQL for tests.
    ("spectra-test-postgres", &[]),
    // Certificates and a log for tests, by hand: it must not share the mistakes of what it tests.
    ("spectra-test-sigstore", &[]),
    // These run the built programs.
    ("spectra-acceptance", &["spectra-sandbox", "spectra-types"]),
    ("xtask", &["spectra-sandbox", "spectra-types"]),
];

/// What tests may import beyond that: adapters are tried against the sandbox in one process.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("spectra-delivery", &["spectra-sandbox", "spectra-test-postgres"]),
    // Approvals are signed and written down beside Terraform.
    (
        "spectra-acceptance",
        &["spectra-delivery", "spectra-journal", "spectra-rollout", "spectra-test-sigstore"],
    ),
    ("spectra-journal", &["spectra-test-postgres"]),
    ("spectra-keyless", &["spectra-test-sigstore"]),
    ("railway-deployer", &["spectra-test-sigstore"]),
    ("spectra-oci", &["spectra-sandbox"]),
    ("spectra-railway", &["spectra-sandbox"]),
];

/// Too heavy for a process that Terraform starts four times an apply. SQLite is not among them: a file is the
/// provider's default journal.
const NOT_IN_THE_PROVIDER: &[&str] = &["async-graphql", "axum", "bollard"];

/// A second cryptographic library, or one that needs a system's own.
const NOT_ANYWHERE: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    // The lock file is what is built; resolving for this platform keeps other systems' crates out.
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(vec!["--locked".to_owned(), "--filter-platform".to_owned(), host()])
        .exec()
        .expect("cargo metadata")
}

fn host() -> String {
    let output = std::process::Command::new("rustc").arg("-vV").output().expect("rustc -vV");
    String::from_utf8(output.stdout)
        .expect("rustc prints text")
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host")
        .to_owned()
}

struct Graph {
    metadata: Metadata,
}

impl Graph {
    fn read() -> Self {
        Self { metadata: metadata() }
    }

    fn name(&self, id: &PackageId) -> &str {
        self.metadata[id].name.as_str()
    }

    fn nodes(&self) -> &[Node] {
        &self.metadata.resolve.as_ref().expect("cargo metadata resolves").nodes
    }

    fn node(&self, id: &PackageId) -> &Node {
        self.nodes().iter().find(|node| node.id == *id).expect("every package is a node")
    }

    /// Edges of one package as (name, only for tests).
    fn edges(&self, id: &PackageId) -> Vec<(&PackageId, bool)> {
        self.node(id)
            .deps
            .iter()
            .map(|dep| {
                let only_tests = dep.dep_kinds.iter().all(|kind| kind.kind == DependencyKind::Development);
                (&dep.pkg, only_tests)
            })
            .collect()
    }

    /// Everything that a package's own build needs, with one way to reach it.
    fn closure(&self, root: &str, skip: &dyn Fn(&str, &str) -> bool) -> BTreeMap<String, String> {
        let start = self.metadata.workspace_packages();
        let start = start.iter().find(|package| package.name.as_str() == root).expect("a member");
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut open = vec![(&start.id, root.to_owned())];
        let mut visited = BTreeSet::new();
        while let Some((id, path)) = open.pop() {
            if !visited.insert(id.clone()) {
                continue;
            }
            seen.insert(self.name(id).to_owned(), path.clone());
            for (next, only_tests) in self.edges(id) {
                if !only_tests && !skip(self.name(id), self.name(next)) {
                    open.push((next, format!("{path} → {}", self.name(next))));
                }
            }
        }
        seen
    }
}

#[test]
fn our_crates_import_each_other_in_one_direction_only() {
    let graph = Graph::read();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let in_tests: BTreeMap<_, _> = ALLOWED_IN_TESTS.iter().copied().collect();
    let members: BTreeSet<_> = graph.metadata.workspace_members.iter().cloned().collect();
    let mut wrong = Vec::new();
    for id in &members {
        let name = graph.name(id);
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("`{name}` has no place in the table of this test"));
            continue;
        };
        for (target, only_tests) in graph.edges(id) {
            if !members.contains(target) {
                continue;
            }
            let target = graph.name(target);
            let test_extra = in_tests.get(name).is_some_and(|extra| extra.contains(&target));
            let fine = may.contains(&target) || (only_tests && test_extra);
            if !fine {
                wrong.push(format!("`{name}` must not import `{target}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_names_no_crate_that_does_not_exist() {
    let graph = Graph::read();
    let members: BTreeSet<_> =
        graph.metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    for (name, targets) in ALLOWED.iter().chain(ALLOWED_IN_TESTS) {
        for crate_name in std::iter::once(name).chain(*targets) {
            assert!(members.contains(*crate_name), "`{crate_name}` is not a member of the workspace");
        }
    }
}

#[test]
fn heavy_crates_stay_out_of_the_provider() {
    let graph = Graph::read();
    // tonic routes its services with axum's router; that one edge is the framework's, not ours.
    let closure = graph.closure("terraform-provider-spectra", &|from, to| from == "tonic" && to == "axum");
    for heavy in NOT_IN_THE_PROVIDER {
        assert!(!closure.contains_key(*heavy), "the provider needs `{heavy}`: {}", closure[*heavy]);
    }
    assert!(closure.contains_key("tonic"), "the walk has to see what the provider is built on");
}

#[test]
fn there_is_one_tls_library_and_one_cryptographic_library() {
    // `cargo tree` and not the metadata: the latter also lists optional crates that no feature turns on.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--workspace", "--locked", "--edges", "normal,build,dev", "--prefix", "none"])
        .args(["--format", "{p}", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints text");
    // A line is `name v1.2.3`, with a mark behind it when the crate was printed before.
    let packages: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    for refused in NOT_ANYWHERE {
        assert!(!packages.iter().any(|(name, _)| name == refused), "`{refused}` is in the tree");
    }
    for once in ["rustls", "aws-lc-rs", "reqwest", "hyper"] {
        let versions: Vec<_> = packages.iter().filter(|(name, _)| *name == once).collect();
        assert_eq!(versions.len(), 1, "`{once}` has to be there in exactly one version, found {versions:?}");
    }
}
