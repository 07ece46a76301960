//! Project tokens.

use spectra_types::{EnvironmentId, ProjectId, Secret};

use crate::client::{Client, Page, Touches, all_pages, confirmed, id};
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    Operation, ProjectTokenCreate, ProjectTokenDelete, ProjectTokenList, project_token_create,
    project_token_delete, project_token_list,
};

/// A project token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectToken {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The environment it reaches.
    pub environment: EnvironmentId,
    /// The masked secret, as Railway shows it.
    pub display: String,
}

impl Client {
    /// The tokens of a project.
    pub async fn project_tokens(&self, project: &ProjectId) -> Result<Vec<ProjectToken>> {
        all_pages::<ProjectTokenList, _, _>(|after| async move {
            let variables = project_token_list::Variables { project: project.to_string(), after };
            let list = self.query::<ProjectTokenList>(variables).await?.project_tokens;
            let mut items = Vec::new();
            for edge in list.edges {
                items.push(ProjectToken {
                    id: edge.node.id,
                    name: edge.node.name,
                    environment: id::<ProjectTokenList, _>(edge.node.environment_id)?,
                    display: edge.node.display_token,
                });
            }
            Page::new::<ProjectTokenList>(items, list.page_info.has_next_page, list.page_info.end_cursor)
        })
        .await
        .map_err(|error| error.attempting(|| format!("list the tokens of project `{project}`")))
    }

    /// Makes a token that reaches one environment. Railway shows the secret once and gives no id, which is found by
    /// the name; a name that is taken is refused, for the two could not be told apart. A token whose secret was lost
    /// with the answer is deleted again and made anew.
    pub async fn create_project_token(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        name: &str,
    ) -> Result<(ProjectToken, Secret<String>)> {
        let attempt = || format!("create token `{name}` of project `{project}`");
        self.create_project_token_inner(project, environment, name)
            .await
            .map_err(|error| error.attempting(attempt))
    }

    async fn create_project_token_inner(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        name: &str,
    ) -> Result<(ProjectToken, Secret<String>)> {
        let named =
            || async { Ok(self.project_tokens(project).await?.into_iter().find(|token| token.name == name)) };
        if let Some(existing) = named().await? {
            let message = format!("there is one of that name already: `{}`", existing.id);
            return Err(Error::new(ErrorKind::Conflict, ProjectTokenCreate::NAME, message));
        }
        let create = || async {
            let input = project_token_create::ProjectTokenCreateInput {
                project_id: project.to_string(),
                environment_id: environment.to_string(),
                name: name.to_owned(),
            };
            let touches = Touches::Environment(environment);
            let variables = project_token_create::Variables { input };
            let data = self.mutate::<ProjectTokenCreate>(touches, variables).await?;
            Ok::<_, Error>(Secret::new(data.project_token_create))
        };
        let secret = match create().await {
            Err(error) if error.is_ambiguous() => {
                match self.look(self.polling().settled_within, named).await {
                    Ok(Some(lost)) => self.delete_project_token(project, &lost.id).await?,
                    Ok(None) => {}
                    Err(_) => return Err(error),
                }
                create().await?
            }
            other => other?,
        };
        let token = self.look(self.polling().visible_within, named).await?.ok_or_else(|| {
            let message = "the token was made, but is not listed, so its id is unknown";
            Error::new(ErrorKind::NotYet, ProjectTokenList::NAME, message)
                .hinting(format!("delete the token `{name}` in the project's settings"))
        })?;
        Ok((token, secret))
    }

    /// Deletes a token. One that is listed no longer counts as deleted.
    pub async fn delete_project_token(&self, project: &ProjectId, token: &str) -> Result<()> {
        let variables = project_token_delete::Variables { id: token.to_owned() };
        let result = self
            .mutate::<ProjectTokenDelete>(Touches::Everything, variables)
            .await
            .and_then(|data| confirmed::<ProjectTokenDelete>(data.project_token_delete));
        let Err(error) = result else { return Ok(()) };
        if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Ambiguous)
            && let Ok(tokens) = self.project_tokens(project).await
            && !tokens.iter().any(|known| known.id == token)
        {
            return Ok(());
        }
        Err(error.attempting(|| format!("delete token `{token}` of project `{project}`")))
    }
}
