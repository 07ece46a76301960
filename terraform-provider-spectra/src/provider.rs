//! The `provider` block, and the clients that every resource works with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use spectra_journal::{Journal, Location};
use spectra_oci::{ClientOptions, Credential, Environment, Keychain};
use spectra_railway::{ClientConfig, Region, TokenKindHint};
use spectra_types::{EnvironmentId, ProjectId, Secret, ServiceId, error_chain};
use tfplugin::{
    Attr, AttributePath, Configure, Context, Diagnostic, Diagnostics, Model, Provider, Registry, Sensitive,
    TfEnum,
};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use url::Url;

use crate::errors::sentence;
use crate::{actions, data_sources, ephemerals, functions, lists, resources};

/// The provider.
pub(crate) struct Spectra;

/// How this program names itself in the journal.
pub(crate) const PROGRAM: &str = "terraform-provider-spectra";

/// Projects, environments, services and rollouts on Railway.
///
/// The token is taken from the configuration, else from `RAILWAY_API_TOKEN` (account and workspace tokens) or
/// `RAILWAY_TOKEN` (project tokens). Nothing is called until a resource needs it.
#[derive(Clone, Debug, Model)]
pub(crate) struct ProviderModel {
    /// How Railway is reached.
    #[tf(optional)]
    pub(crate) railway: Attr<RailwayModel>,
    /// Logins to registries by host (`ghcr.io`, `127.0.0.1:7430`), for reading images and getting tokens. Hosts that are
    /// not named here are looked up in the Docker configuration and its credential helpers.
    #[tf(optional)]
    pub(crate) registry: Attr<BTreeMap<String, RegistryModel>>,
    /// Where rollouts are written down.
    #[tf(optional)]
    pub(crate) journal: Attr<JournalModel>,
}

/// Where rollouts are written down.
#[derive(Clone, Debug, Model)]
pub(crate) struct JournalModel {
    /// `sqlite://PATH`, relative to the folder Terraform runs in, or `postgres://USER@HOST/DATABASE`. Also
    /// `SPECTRA_JOURNAL`; `sqlite://.spectra/journal.db` when neither is given. A file is for one machine that stays:
    /// workers that are thrown away need PostgreSQL.
    #[tf(required, sensitive)]
    pub(crate) url: Attr<Sensitive<String>>,
}

/// How Railway is reached.
#[derive(Clone, Debug, Model)]
pub(crate) struct RailwayModel {
    /// An account, workspace or project token. Prefer the environment: `RAILWAY_API_TOKEN`, `RAILWAY_TOKEN`.
    #[tf(optional, sensitive)]
    pub(crate) token: Attr<Sensitive<String>>,
    /// Which kind of token it is; found out when left out.
    #[tf(optional)]
    pub(crate) token_type: Attr<TokenType>,
    /// The GraphQL endpoint, for the sandbox. Also `SPECTRA_RAILWAY_ENDPOINT`.
    #[tf(optional, validate(with = crate::validators::http_url))]
    pub(crate) endpoint: Attr<String>,
}

/// The kinds of Railway tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum TokenType {
    /// Everything a person can do.
    Account,
    /// Every project of one workspace.
    Workspace,
    /// One environment of one project.
    Project,
}

/// A login to a registry.
#[derive(Clone, Debug, Model)]
pub(crate) struct RegistryModel {
    /// The user name.
    #[tf(required)]
    pub(crate) username: Attr<String>,
    /// The password or token.
    #[tf(required, sensitive)]
    pub(crate) password: Attr<Sensitive<String>>,
}

/// What every resource and data source works with.
pub(crate) struct Clients {
    railway: Result<spectra_railway::Client, Diagnostics>,
    registry: spectra_oci::Client,
    location: Location,
    journal: OnceCell<Journal>,
    run_id: String,
    /// The services that this process has put into environments.
    placed: Mutex<Placed>,
    /// The regions by project, which do not change while a process lives.
    regions: Mutex<BTreeMap<ProjectId, Arc<Vec<Region>>>>,
}

/// Services in environments.
pub(crate) type Placed = BTreeSet<(EnvironmentId, ServiceId)>;

/// The context that handlers get.
pub(crate) type Cx = Context<Clients>;

impl Clients {
    /// Railway, or why it cannot be reached: configurations that only read images need no token.
    pub(crate) fn railway(&self) -> Result<&spectra_railway::Client, Diagnostics> {
        self.railway.as_ref().map_err(Clone::clone)
    }

    /// The right to put a service into an environment, which one resource has at a time, and what was put so far.
    pub(crate) async fn placing(&self) -> MutexGuard<'_, Placed> {
        self.placed.lock().await
    }

    /// The regions that services of the project may run in; asked once.
    pub(crate) async fn regions(&self, project: &ProjectId) -> Result<Arc<Vec<Region>>, Diagnostics> {
        let mut regions = self.regions.lock().await;
        if let Some(known) = regions.get(project) {
            return Ok(Arc::clone(known));
        }
        let known = self.railway()?.regions(Some(project)).await.map_err(|error| {
            crate::errors::railway("The regions could not be read", &error, crate::errors::UNCHANGED)
                .at("regions")
        })?;
        let known = Arc::new(known);
        regions.insert(project.clone(), Arc::clone(&known));
        Ok(known)
    }

    /// The journal, opened when it is first needed.
    pub(crate) async fn journal(&self) -> Result<&Journal, Diagnostics> {
        self.journal.get_or_try_init(|| Journal::open(&self.location)).await.map_err(|error| {
            let hint = error.hint().map(|hint| format!("\n\n{}.", sentence(hint))).unwrap_or_default();
            let detail = format!(
                "{} [{}]. Rollouts are written down before anything is done, so nothing was begun.{hint}",
                sentence(&error_chain(&error)),
                error.code()
            );
            Diagnostic::error("The journal cannot be opened", detail).into()
        })
    }

    /// The journal, unless it would have to be made first: a plan makes nothing.
    pub(crate) async fn journal_if_there(&self) -> Result<Option<&Journal>, spectra_journal::Error> {
        if self.location.path().is_some_and(|file| !file.exists()) {
            return Ok(None);
        }
        self.journal.get_or_try_init(|| Journal::open(&self.location)).await.map(Some)
    }

    /// What all rollouts of one apply have in common: Terraform starts a process of its own for each.
    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// A warning, when the journal is a file of a machine that is thrown away after the run: HCP Terraform's workers are. For
    /// every plan that changes a rollout or a setting.
    pub(crate) fn journal_of_this_machine_alone(&self) -> Option<Diagnostic> {
        journal_of_this_machine_alone(&self.location, std::env::var("TFC_RUN_ID").ok().as_deref())
    }

    /// Registries.
    pub(crate) const fn registry(&self) -> &spectra_oci::Client {
        &self.registry
    }
}

fn journal_of_this_machine_alone(location: &Location, run: Option<&str>) -> Option<Diagnostic> {
    let run = run.filter(|run| !run.is_empty())?;
    location.is_file().then(|| {
        Diagnostic::warning(
            "The journal does not outlive this run",
            format!(
                "`{run}` is a run of HCP Terraform, and the journal is a file: `{location}`. The worker is thrown away after the \
                 run, and with it leases, freeze windows, policies, approvals, and the record that a broken rollout is \
                 brought back from.\n\nKeep the journal in a database: set `SPECTRA_JOURNAL=postgres://…` in the workspace, or \
                 `journal.url` of the provider."
            ),
        )
    })
}

fn railway_attribute(name: &str) -> AttributePath {
    AttributePath::from("railway").attribute(name)
}

impl Provider for Spectra {
    type Config = ProviderModel;
    type Client = Clients;
    type Meta = ();

    const NAME: &'static str = "spectra";
    const ADDRESS: &'static str = "registry.terraform.io/spectra/spectra";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn configure(&self, request: Configure<ProviderModel>) -> Result<Clients, Diagnostics> {
        let railway = match request.config.railway {
            Attr::Unknown => {
                return Err(Diagnostic::error(
                    "Railway's settings are not known yet",
                    "The `railway` attribute of the provider depends on something that is known only after apply. \
                     Nothing was called. Apply what it depends on first, with `-target`, or give the token in \
                     `RAILWAY_API_TOKEN`.",
                )
                .at("railway")
                .into());
            }
            Attr::Null => None,
            Attr::Known(railway) => Some(railway),
        };
        let config = client_config(railway, &request.terraform_version)?;
        let railway = config.and_then(|config| {
            spectra_railway::Client::new(config).map_err(|error| not_configured(&error.to_string()))
        });
        Ok(Clients {
            railway,
            registry: registry_client(request.config.registry)?,
            location: journal_location(request.config.journal)?,
            journal: OnceCell::new(),
            run_id: spectra_delivery::rollout_id(),
            placed: Mutex::default(),
            regions: Mutex::default(),
        })
    }

    fn register(&self, registry: &mut Registry<Self>) {
        resources::register(registry);
        lists::register(registry);
        ephemerals::register(registry);
        actions::register(registry);
        data_sources::register(registry);
        functions::register(registry);
    }
}

/// `Err` outside: the configuration is wrong. `Err` inside: there is no token, which only matters once one is needed.
fn client_config(
    railway: Option<RailwayModel>,
    terraform_version: &str,
) -> Result<Result<ClientConfig, Diagnostics>, Diagnostics> {
    let RailwayModel { token, token_type, endpoint } =
        railway.unwrap_or(RailwayModel { token: Attr::Null, token_type: Attr::Null, endpoint: Attr::Null });
    for (name, unknown) in [
        ("token", token.is_unknown()),
        ("token_type", token_type.is_unknown()),
        ("endpoint", endpoint.is_unknown()),
    ] {
        if unknown {
            return Err(Diagnostic::error(
                "A setting of the provider is not known yet",
                format!(
                    "`railway.{name}` depends on something that is known only after apply. Nothing was called. Apply \
                     what it depends on first, with `-target`, or set it by its environment variable."
                ),
            )
            .at(railway_attribute(name))
            .into());
        }
    }
    let mut config = match token.known() {
        Some(token) => {
            let mut config = ClientConfig::new(Secret::new(token.into_inner()));
            config.endpoint =
                spectra_railway::endpoint_from_env().map_err(|error| not_configured(&error.to_string()))?;
            config
        }
        None => match ClientConfig::from_env() {
            Ok(config) => config,
            Err(error) => return Ok(Err(not_configured(&error.to_string()))),
        },
    };
    if let Some(endpoint) = endpoint.known() {
        config.endpoint = Url::parse(&endpoint).map_err(|error| {
            Diagnostic::error("Not a URL", format!("`{endpoint}` is not a URL: {error}."))
                .at(railway_attribute("endpoint"))
        })?;
    }
    config.token_kind = match token_type.known() {
        None => TokenKindHint::Auto,
        Some(TokenType::Account) => TokenKindHint::Account,
        Some(TokenType::Workspace) => TokenKindHint::Workspace,
        Some(TokenType::Project) => TokenKindHint::Project,
    };
    config.user_agent =
        format!("terraform-provider-spectra/{} (Terraform {terraform_version})", env!("CARGO_PKG_VERSION"));
    Ok(Ok(config))
}

fn not_configured(problem: &str) -> Diagnostics {
    Diagnostic::error(
        "Railway cannot be reached with this configuration",
        format!(
            "{problem}. Nothing was called. Set `railway.token` in the provider block, or `RAILWAY_API_TOKEN` (account \
             or workspace token) or `RAILWAY_TOKEN` (project token) in the environment."
        ),
    )
    .into()
}

fn journal_location(journal: Attr<JournalModel>) -> Result<Location, Diagnostics> {
    let path = || AttributePath::from("journal").attribute("url");
    let url = match journal {
        Attr::Null => return Location::from_env().map_err(|error| not_a_journal(&error).into()),
        Attr::Unknown => Attr::Unknown,
        Attr::Known(journal) => journal.url,
    };
    let Some(url) = url.known() else {
        return Err(Diagnostic::error(
            "The journal is not known yet",
            "`journal.url` depends on something that is known only after apply. Nothing was called. Apply what it depends \
             on first, with `-target`, or give it in `SPECTRA_JOURNAL`.",
        )
        .at(path())
        .into());
    };
    Location::parse(&url.into_inner()).map_err(|error| not_a_journal(&error).at(path()).into())
}

fn not_a_journal(error: &spectra_journal::Error) -> Diagnostic {
    Diagnostic::error("Not the place of a journal", format!("{}.", sentence(&error_chain(error))))
}

/// Logins that are not known yet are an error: reading an image without them could find another one, or none.
fn registry_client(
    logins: Attr<BTreeMap<String, RegistryModel>>,
) -> Result<spectra_oci::Client, Diagnostics> {
    let mut keychain = Keychain::new(Environment::from_process());
    let unknown = |path: AttributePath| {
        Diagnostic::error(
            "A registry login is not known yet",
            format!(
                "`{path}` depends on something that is known only after apply. Nothing was called. Apply what it \
                 depends on first, with `-target`, or leave the login to the Docker configuration."
            ),
        )
        .at(path)
    };
    if logins.is_unknown() {
        return Err(unknown("registry".into()).into());
    }
    for (host, login) in logins.or_default() {
        let path = AttributePath::from("registry").key(host.clone());
        let (Attr::Known(username), Attr::Known(password)) = (login.username, login.password) else {
            return Err(unknown(path).into());
        };
        let password = Secret::new(password.into_inner());
        keychain = keychain.with(&host, Credential::Basic { username, password });
    }
    Ok(spectra_oci::Client::new(keychain, ClientOptions::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_does_not_outlive_a_run_of_hcp_terraform_is_warned_of() {
        let file: Location = "sqlite://.spectra/journal.db".parse().unwrap();
        let server: Location = "postgres://db.example/journal".parse().unwrap();
        let warning = journal_of_this_machine_alone(&file, Some("run-1")).unwrap();
        assert!(warning.detail.contains("SPECTRA_JOURNAL=postgres://…"), "{}", warning.detail);
        assert!(journal_of_this_machine_alone(&file, None).is_none());
        assert!(journal_of_this_machine_alone(&file, Some("")).is_none());
        assert!(journal_of_this_machine_alone(&server, Some("run-1")).is_none());
    }

    #[test]
    fn schema_is_legal() {
        assert_eq!(tfplugin::testing::lint(Spectra), Vec::<String>::new());
    }
}
