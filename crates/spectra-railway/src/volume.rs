//! Volumes, as far as they are in the way of a second instance.

use spectra_types::{EnvironmentId, ProjectId, ServiceId};

use crate::client::{Client, Page, all_pages, id};
use crate::error::Result;
use crate::gql::{VolumeInstanceList, volume_instance_list};

/// A volume in an environment that a service mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// The id of the volume's instance in the environment.
    pub id: String,
    /// The service.
    pub service: ServiceId,
    /// Where it is mounted.
    pub mount_path: String,
}

impl Client {
    /// The volumes of an environment that services mount, read now. Deleted ones are listed by Railway for two more
    /// days, and are left out. One request for each 100 volumes.
    pub async fn volume_mounts(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
    ) -> Result<Vec<VolumeMount>> {
        use volume_instance_list::VolumeState;
        let listed = all_pages::<VolumeInstanceList, _, _>(|after| async move {
            let variables = volume_instance_list::Variables {
                project: project.to_string(),
                environment: environment.to_string(),
                after,
            };
            let list = self.query::<VolumeInstanceList>(variables).await?.environment.volume_instances;
            let mut items = Vec::new();
            for edge in list.edges {
                let node = edge.node;
                let gone = node.deleted_at.is_some()
                    || matches!(node.state, Some(VolumeState::DELETING | VolumeState::DELETED));
                let Some(service) = node.service_id.filter(|service| !gone && !service.is_empty()) else {
                    continue;
                };
                items.push(VolumeMount {
                    id: node.id,
                    service: id::<VolumeInstanceList, _>(service)?,
                    mount_path: node.mount_path,
                });
            }
            Page::new::<VolumeInstanceList>(items, list.page_info.has_next_page, list.page_info.end_cursor)
        })
        .await;
        match listed {
            Ok(mut mounts) => {
                crate::project::dedup(&mut mounts, |mount| mount.id.clone());
                Ok(mounts)
            }
            Err(error) => {
                let error = self.settle_missing_environment(project, environment, error).await;
                Err(error.attempting(|| format!("list the volumes of environment `{environment}`")))
            }
        }
    }
}
