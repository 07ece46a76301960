//! Which service, or which rollout, a command is about.

use clap::Args;
use spectra_delivery::{history, request_of};
use spectra_journal::Journal;
use spectra_rollout::Place;
use spectra_types::{EnvironmentId, ProjectId, ServiceId};

use crate::failure::Failure;

/// A service in an environment.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PlaceFlags {
    /// Project id
    #[arg(long, env = "RAILWAY_PROJECT_ID")]
    pub(super) project: Option<ProjectId>,
    /// Environment id
    #[arg(long, env = "RAILWAY_ENVIRONMENT_ID")]
    pub(super) environment: Option<EnvironmentId>,
    /// Service id
    #[arg(long, env = "RAILWAY_SERVICE_ID")]
    pub(super) service: Option<ServiceId>,
}

impl PlaceFlags {
    /// The place, or what is missing.
    pub(super) fn place(&self) -> Result<Place, Failure> {
        match (&self.project, &self.environment, &self.service) {
            (Some(project), Some(environment), Some(service)) => Ok(Place {
                project: project.clone(),
                environment: environment.clone(),
                service: service.clone(),
            }),
            (project, environment, service) => {
                let missing = [
                    ("--project", project.is_none()),
                    ("--environment", environment.is_none()),
                    ("--service", service.is_none()),
                ];
                let missing: Vec<_> =
                    missing.iter().filter(|(_, missing)| *missing).map(|(flag, _)| *flag).collect();
                Err(Failure::usage(format!(
                    "which service is meant is not said: give {}",
                    missing.join(", ")
                )))
            }
        }
    }
}

/// A rollout, or the service whose last one is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// Id of the rollout; without it, the last one of the service
    rollout: Option<String>,
    #[command(flatten)]
    service: PlaceFlags,
}

impl Which {
    /// The rollout that was named.
    pub(super) fn id(&self) -> Option<&str> {
        self.rollout.as_deref()
    }

    /// The rollout: the one that was named, else the last one of the service.
    pub(super) async fn rollout(&self, journal: &Journal) -> Result<String, Failure> {
        if let Some(rollout) = &self.rollout {
            return Ok(rollout.clone());
        }
        let place = self.service.place()?;
        let last = history(journal, Some(&place.subject()), 1).await?.pop();
        last.and_then(|record| record.rollout).ok_or_else(|| Failure::State {
            message: format!("the journal knows no rollout of {place}"),
            hint: "check the journal's URL and the ids",
        })
    }

    /// The service: of the rollout that was named, as the journal has it, else as the flags say.
    pub(super) async fn place(&self, journal: &Journal) -> Result<Place, Failure> {
        match &self.rollout {
            Some(rollout) => Ok(request_of(journal, rollout).await?.place),
            None => self.service.place(),
        }
    }
}

/// The flags that name a place, for advice.
pub(super) fn flags(place: &Place) -> String {
    format!("--project {} --environment {} --service {}", place.project, place.environment, place.service)
}
