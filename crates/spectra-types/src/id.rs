//! Identifiers of Railway objects, one type each so that they cannot be swapped.

use std::{fmt, str::FromStr};

use crate::text::serde_as_text;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing, or only white space.
    #[error(
        "the {kind} id is empty; copy it from the output of the resource or the address bar of the dashboard"
    )]
    Empty {
        /// What the id names, such as `project`.
        kind: &'static str,
    },
    /// White space or a control character inside.
    #[error("the {kind} id `{text}` contains white space or a control character; ids have none")]
    Whitespace {
        /// What the id names.
        kind: &'static str,
        /// The text.
        text: String,
    },
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)+) => {$(
        $(#[$doc])*
        ///
        /// Not empty and free of white space; otherwise opaque, for Railway does not promise a form.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check($kind, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                check($kind, &text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        serde_as_text!($name);
    )+};
}

fn check(kind: &'static str, text: &str) -> Result<(), IdError> {
    if text.trim().is_empty() {
        return Err(IdError::Empty { kind });
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(IdError::Whitespace { kind, text: text.to_owned() });
    }
    Ok(())
}

ids! {
    /// A Railway project.
    ProjectId = "project";
    /// An environment of a project.
    EnvironmentId = "environment";
    /// A service of a project.
    ServiceId = "service";
    /// One deployment of a service in an environment.
    DeploymentId = "deployment";
    /// A workspace: who owns and pays for projects.
    WorkspaceId = "workspace";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parse_after_display_is_identity(text in "[!-~]{1,60}") {
            let id: ServiceId = text.parse().unwrap();
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert_eq!(id.to_string().parse::<ServiceId>().unwrap(), id);
        }
    }

    #[test]
    fn refuses_empty_and_white_space() {
        insta::assert_snapshot!(ProjectId::try_from(" ".to_owned()).unwrap_err(), @"the project id is empty; copy it from the output of the resource or the address bar of the dashboard");
        insta::assert_snapshot!("a b".parse::<EnvironmentId>().unwrap_err(), @"the environment id `a b` contains white space or a control character; ids have none");
        assert!(serde_json::from_str::<DeploymentId>("\"\"").is_err());
    }
}
