//! What a setting is meant for.

use std::fmt;

use serde::{Deserialize, Serialize};
use spectra_types::{EnvironmentId, ProjectId};

use crate::spec::Place;

/// The places that a freeze window, a policy or a channel is meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reach", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reach {
    /// Every place that is written down in the journal.
    Everything,
    /// One project.
    Project {
        /// Which.
        project: ProjectId,
    },
    /// One environment.
    Environment {
        /// Which.
        environment: EnvironmentId,
    },
}

impl Reach {
    /// Whether the place is among them.
    #[must_use]
    pub fn covers(&self, place: &Place) -> bool {
        self.covers_environment(&place.project, &place.environment)
    }

    /// Whether every place in an environment is among them.
    #[must_use]
    pub fn covers_environment(&self, project: &ProjectId, environment: &EnvironmentId) -> bool {
        match self {
            Self::Everything => true,
            Self::Project { project: meant } => meant == project,
            Self::Environment { environment: meant } => meant == environment,
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Project { project } => write!(f, "project `{project}`"),
            Self::Environment { environment } => write!(f, "environment `{environment}`"),
        }
    }
}
