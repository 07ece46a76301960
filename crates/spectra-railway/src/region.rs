//! Regions, and the names they go by.

use spectra_types::ProjectId;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{Operation, RegionList, region_list};

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The key in a service's placement, such as `europe-west4-drams3a`.
    pub name: String,
    /// The older name, such as `europe-west4`.
    pub region: Option<String>,
    /// Where it is.
    pub location: String,
    /// In which country.
    pub country: String,
}

impl Client {
    /// The regions that services of the project may run in.
    pub async fn regions(&self, project: Option<&ProjectId>) -> Result<Vec<Region>> {
        let variables = region_list::Variables { project: project.map(ToString::to_string) };
        let data = self
            .query::<RegionList>(variables)
            .await
            .map_err(|error| error.attempting(|| "list the regions".to_owned()))?;
        let regions = data.regions.into_iter().map(|region| Region {
            name: region.name,
            region: region.region,
            location: region.location,
            country: region.country,
        });
        Ok(regions.collect())
    }
}

/// Railway's own name of a region, which may be given by its older name. Ambiguous and unknown names are refused
/// with the list of known ones.
pub fn normalise(known: &[Region], name: &str) -> Result<String> {
    if known.iter().any(|region| region.name == name) {
        return Ok(name.to_owned());
    }
    let prefix = format!("{name}-");
    let matches: Vec<_> = known
        .iter()
        .filter(|region| region.region.as_deref() == Some(name) || region.name.starts_with(&prefix))
        .collect();
    if let [one] = matches.as_slice() {
        return Ok(one.name.clone());
    }
    let names: Vec<_> = known.iter().map(|region| format!("`{}`", region.name)).collect();
    Err(Error::new(
        ErrorKind::BadInput,
        RegionList::NAME,
        format!("there is no region `{name}`; there are {}", names.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_names_are_understood() {
        let known: Vec<_> = ["us-west2", "us-east4-eqdc4a", "europe-west4-drams3a", "asia-southeast1-eqsg3a"]
            .map(|name| Region {
                name: name.to_owned(),
                region: None,
                location: String::new(),
                country: String::new(),
            })
            .into();
        assert_eq!(normalise(&known, "europe-west4").unwrap(), "europe-west4-drams3a");
        assert_eq!(normalise(&known, "us-west2").unwrap(), "us-west2");
        let error = normalise(&known, "us").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert!(error.to_string().contains("`asia-southeast1-eqsg3a`"), "{error}");
    }
}
