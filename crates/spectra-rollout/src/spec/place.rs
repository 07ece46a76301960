//! Where something runs.

use std::fmt;

use serde::{Deserialize, Serialize};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};

/// One service in one environment of a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The project.
    pub project: ProjectId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The service.
    pub service: ServiceId,
}

impl Place {
    /// What the lease and the records of this place are kept under: `railway/ENVIRONMENT/SERVICE`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("railway/{}/{}", self.environment, self.service)
    }

    /// Another service of the same environment.
    #[must_use]
    pub fn sibling(&self, service: ServiceId) -> Self {
        Self { project: self.project.clone(), environment: self.environment.clone(), service }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service `{}` in environment `{}`", self.service, self.environment)
    }
}
