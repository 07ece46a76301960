//! `ephemeral.spectra_railway_project_token`: a project token for one run.

use serde::{Deserialize, Serialize};
use spectra_railway::{Swept, TokenKind};
use spectra_types::{EnvironmentId, HumanDuration, ProjectId};
use tfplugin::{Attr, Diagnostic, Diagnostics, EphemeralResource, Model, Opened, Sensitive, Text};

use crate::errors::{known, railway};
use crate::provider::{Clients, Cx};

/// A Railway project token that exists while Terraform needs it: minted when it is opened, deleted when it is closed.
///
/// Terraform opens it in every command that needs it, once to plan and once to apply. A run that is cut off (killed,
/// or its machine lost) leaves its token behind; the next time any token of the project is opened, those that are
/// older than their `max_age` are deleted. Which tokens these are, their names say: `spectra-ephemeral-`, when they
/// count as left behind, and sixteen random digits. Needs an account or workspace token.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct ProjectTokenModel {
    /// The project.
    #[tf(required)]
    project_id: Attr<Text<ProjectId>>,
    /// The only environment that the token reaches.
    #[tf(required)]
    environment_id: Attr<Text<EnvironmentId>>,
    /// The age at which the token counts as left behind. Longer than any run that uses it takes: another run's
    /// opening deletes it from then on.
    #[tf(
        optional,
        default = "6h",
        validate(with = crate::validators::positive_duration, with = crate::validators::whole_seconds)
    )]
    max_age: Attr<Text<HumanDuration>>,
    /// The token's id.
    #[tf(computed)]
    id: Attr<String>,
    /// The token's name.
    #[tf(computed)]
    name: Attr<String>,
    /// The token itself: for `RAILWAY_TOKEN`.
    #[tf(computed, sensitive)]
    token: Attr<Sensitive<String>>,
    /// When it counts as left behind, RFC 3339. Railway itself lets it live for ever.
    #[tf(computed)]
    expires_at: Attr<String>,
}

/// What closing needs. The token's secret is not among it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Minted {
    project: String,
    token: String,
    expires_at: String,
}

/// The ephemeral resource.
pub(crate) struct ProjectToken;

impl EphemeralResource for ProjectToken {
    type Model = ProjectTokenModel;
    type Client = Clients;
    type Private = Minted;

    const TYPE: &'static str = "spectra_railway_project_token";

    async fn open(
        &self,
        cx: &Cx,
        config: ProjectTokenModel,
    ) -> Result<Opened<ProjectTokenModel, Minted>, Diagnostics> {
        let client = cx.client.railway()?;
        let project = known(&config.project_id, "project_id")?.into_inner();
        let environment = known(&config.environment_id, "environment_id")?.into_inner();
        let max_age = known(&config.max_age, "max_age")?.get().get();
        let failed = |error: spectra_railway::Error| -> Diagnostics {
            let left = "No token was handed out. If Railway made one all the same, it is named `spectra-ephemeral-…` \
                        and is deleted by an opening after its `max_age`.";
            railway(format!("No token of project `{project}` could be minted"), &error, left).into()
        };
        let identity = client.identity().await.map_err(failed)?;
        if identity.kind == TokenKind::Project {
            return Err(Diagnostic::error(
                "A project token cannot mint others",
                format!(
                    "There is only the {}. No token was minted.\n\nGive an account or workspace token in \
                     `railway.token` of the provider or in `RAILWAY_API_TOKEN`.",
                    identity.describe()
                ),
            )
            .into());
        }
        let warnings = match client.sweep_run_tokens(&project).await {
            Ok(swept) => left_over(&swept),
            // The same listing will fail again below, as an error that says why.
            Err(error) => return Err(failed(error)),
        };
        let minted = client.mint_run_token(&project, &environment, max_age).await.map_err(failed)?;
        let expires_at = minted.expires_at.to_string();
        let private = Minted {
            project: project.to_string(),
            token: minted.token.id.clone(),
            expires_at: expires_at.clone(),
        };
        let result = ProjectTokenModel {
            id: minted.token.id.into(),
            name: minted.token.name.into(),
            token: Attr::Known(Sensitive(minted.secret.expose().clone())),
            expires_at: expires_at.into(),
            ..config
        };
        Ok(Opened { warnings, ..Opened::new(result, private) })
    }

    async fn close(&self, cx: &Cx, private: Minted) -> Result<Diagnostics, Diagnostics> {
        let project: ProjectId = private.project.parse().map_err(|error: spectra_types::IdError| {
            Diagnostic::error("The token cannot be deleted", format!("Its project is unknown: {error}."))
        })?;
        cx.client.railway()?.delete_project_token(&project, &private.token).await.map_err(|error| {
            let left = format!(
                "It still exists. The next run that opens a token of this project after {} deletes it; or delete it \
                 in the project's settings.",
                private.expires_at
            );
            railway(format!("The token `{}` could not be deleted", private.token), &error, &left)
        })?;
        Ok(Diagnostics::new())
    }
}

/// What earlier runs left and could not be deleted. It does not keep this run from going on.
fn left_over(swept: &Swept) -> Diagnostics {
    for token in &swept.deleted {
        tracing::info!(token = %token.name, "a token that an earlier run had left behind is deleted");
    }
    swept
        .kept
        .iter()
        .map(|(token, error)| {
            Diagnostic::warning(
                "A token that an earlier run had left behind could not be deleted",
                format!(
                    "`{}` is still there: {}. The next opening tries again.",
                    token.name,
                    spectra_types::Redactor::global().redact(&spectra_types::error_chain(error))
                ),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake::{Fake, list};

    fn config() -> ProjectTokenModel {
        ProjectTokenModel {
            project_id: Attr::Known("p-1".parse().unwrap()),
            environment_id: Attr::Known("e-1".parse().unwrap()),
            ..ProjectTokenModel::default()
        }
    }

    #[tokio::test]
    async fn a_project_token_mints_none() {
        let fake = Fake::start().await;
        fake.refuse("TokenProbeApi", "Not Authorized");
        fake.answer(
            "TokenProbeProject",
            json!({ "projectToken": { "projectId": "p-1", "environmentId": "e-1", "project": { "name": "shop" },
                "environment": { "name": "main" } } }),
        );
        let error = fake.core().await.open::<ProjectToken>(&config()).await.unwrap_err().to_string();
        assert!(error.contains("RAILWAY_API_TOKEN"), "{error}");
        assert!(!fake.seen().iter().any(|operation| operation == "ProjectTokenCreate"));
    }

    #[tokio::test]
    async fn what_earlier_runs_left_is_swept_before_a_token_is_minted() {
        let fake = Fake::start().await;
        let left = json!({ "id": "t-1", "name": "spectra-ephemeral-20200101T000000Z-00000000000000aa",
            "environmentId": "e-1", "displayToken": "****" });
        fake.answer("ProjectTokenList", json!({ "projectTokens": list(&[left]) }));
        fake.answer("ProjectTokenDelete", json!({ "projectTokenDelete": true }));
        // The fake refuses to mint: what is looked at is what came before.
        let error = fake.core().await.open::<ProjectToken>(&config()).await.unwrap_err().to_string();
        assert!(error.contains("`max_age`"), "{error}");
        let mut seen = fake.seen();
        seen.retain(|operation| !operation.starts_with("TokenProbe"));
        let expected = ["ProjectTokenList", "ProjectTokenDelete", "ProjectTokenList", "ProjectTokenCreate"];
        assert_eq!(seen, expected);
    }
}
