//! What a resource was: older layouts of its state and identity, and other types that its objects came from.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use crate::schema::Block;
use crate::{AttributePath, Diagnostic, Diagnostics, Model};

type FromState<M> = Box<dyn Fn(&Json) -> Result<M, Diagnostics> + Send + Sync>;
type FromIdentity = Box<dyn Fn(Json) -> Result<Json, Diagnostics> + Send + Sync>;
type FromOther<M> = Box<dyn Fn(&MoveSource) -> Result<M, Diagnostics> + Send + Sync>;

/// The ways from everything that was to the model of today. A resource fills it in
/// [`Resource::history`](crate::Resource::history); the linter demands a way from every version before
/// [`Model::VERSION`].
///
/// ```
/// use tfplugin::{Attr, History, Model};
///
/// #[derive(Clone, Model)]
/// struct ServiceV0 {
///     label: Attr<i64>,
/// }
///
/// /// A service.
/// #[derive(Clone, Model)]
/// #[tf(version = 1)]
/// struct Service {
///     /// Its name.
///     #[tf(required)]
///     name: Attr<String>,
/// }
///
/// fn history(history: &mut History<Service>) {
///     history.version(0, |old: ServiceV0| {
///         Ok(Service { name: old.label.map(|number| format!("service {number}")) })
///     });
/// }
/// # let mut all = History::default();
/// # history(&mut all);
/// ```
pub struct History<M> {
    states: BTreeMap<i64, FromState<M>>,
    identities: BTreeMap<i64, FromIdentity>,
    moves: Vec<(MoveFrom, FromOther<M>)>,
    problems: Vec<String>,
}

impl<M> Default for History<M> {
    fn default() -> Self {
        Self { states: BTreeMap::new(), identities: BTreeMap::new(), moves: Vec::new(), problems: Vec::new() }
    }
}

impl<M: Model> History<M> {
    /// State of version `version` had the layout `Old`: this brings it to the layout of today, in one step. Missing attributes are null,
    /// surplus ones are left out. No network, no client; what cannot be known may stay null, since a read follows.
    pub fn version<Old: Model>(
        &mut self,
        version: i64,
        upgrade: impl Fn(Old) -> Result<M, Diagnostics> + Send + Sync + 'static,
    ) -> &mut Self {
        self.version_json(version, move |json| upgrade(typed::<Old>(json)?))
    }

    /// The same for a layout that no model describes.
    pub fn version_json(
        &mut self,
        version: i64,
        upgrade: impl Fn(&Json) -> Result<M, Diagnostics> + Send + Sync + 'static,
    ) -> &mut Self {
        if self.states.insert(version, Box::new(upgrade)).is_some() {
            self.problems.push(format!("there are two upgrades from version {version} of the state"));
        }
        self
    }

    /// An identity of version `version`, an object of its attributes, becomes an identity of today.
    pub fn identity(
        &mut self,
        version: i64,
        upgrade: impl Fn(Json) -> Result<Json, Diagnostics> + Send + Sync + 'static,
    ) -> &mut Self {
        if self.identities.insert(version, Box::new(upgrade)).is_some() {
            self.problems.push(format!("there are two upgrades from version {version} of the identity"));
        }
        self
    }

    /// An object of another type, whose state has the layout `Old`, becomes one of this type: a `moved` block between
    /// the two. Without [`at_version`](MoveFrom::at_version) objects of every version come here, so each is held against `Old`
    /// first: one that lacks an attribute of it was written by another version, and is refused.
    pub fn moved<Old: Model>(
        &mut self,
        from: MoveFrom,
        convert: impl Fn(Old, &MoveSource) -> Result<M, Diagnostics> + Send + Sync + 'static,
    ) -> &mut Self {
        let exact = from.version.is_some();
        let convert = move |source: &MoveSource| {
            if !exact {
                has_layout(&Old::block(), source)?;
            }
            convert(typed::<Old>(&source.state)?, source)
        };
        self.moves.push((from, Box::new(convert)));
        self
    }

    /// What is missing or too much, in words for the provider's developer.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        versions("state", M::VERSION, self.states.keys(), &mut problems);
        versions("identity", M::IDENTITY_VERSION, self.identities.keys(), &mut problems);
        problems
    }

    pub(crate) fn upgrade(&self, name: &str, version: i64, json: &Json) -> Result<M, Diagnostics> {
        match self.states.get(&version) {
            Some(upgrade) => upgrade(json),
            None => Err(no_way(name, "state", version, M::VERSION).into()),
        }
    }

    pub(crate) fn upgrade_identity(&self, name: &str, version: i64, json: Json) -> Result<Json, Diagnostics> {
        match self.identities.get(&version) {
            Some(upgrade) => upgrade(json),
            None => Err(no_way(name, "identity", version, M::IDENTITY_VERSION).into()),
        }
    }

    /// `None` when objects of that type cannot become objects of this one.
    pub(crate) fn take_over(&self, source: &MoveSource, own: &str) -> Option<Result<M, Diagnostics>> {
        let (_, convert) = self.moves.iter().find(|(from, _)| from.admits(source, own))?;
        Some(convert(source))
    }

    /// The types whose objects can become objects of this one.
    pub(crate) fn origins(&self) -> Vec<&str> {
        self.moves.iter().map(|(from, _)| from.type_name.as_str()).collect()
    }
}

fn typed<Old: Model>(json: &Json) -> Result<Old, Diagnostics> {
    let block: Block = Old::block();
    let value = crate::rpc::decode_state_json(json, &block)?;
    Ok(Old::from_value(&value, &AttributePath::root())?)
}

/// Whether a state was written with this layout, as far as its top level shows: every attribute is there, as Terraform
/// stores nulls too, and those that are required are not null. Decoding alone would make nulls of another version's state.
fn has_layout(block: &Block, source: &MoveSource) -> Result<(), Diagnostics> {
    let lacks = block.attributes.iter().find(|attribute| match source.state.get(&attribute.name) {
        None => true,
        Some(value) => attribute.required && value.is_null(),
    });
    let Some(attribute) = lacks else { return Ok(()) };
    Err(Diagnostic::error(
        format!("Cannot move the object of type `{}`", source.type_name),
        format!(
            "Its state has no `{}`, so it is not of the layout that this provider can take over; it was written by version {} \
             of the schema. Nothing was moved. Upgrade it with its own provider first.",
            attribute.name, source.version
        ),
    )
    .into())
}

fn versions<'a>(what: &str, current: i64, known: impl Iterator<Item = &'a i64>, problems: &mut Vec<String>) {
    let known: Vec<i64> = known.copied().collect();
    for version in (0..current).filter(|version| !known.contains(version)) {
        problems.push(format!(
            "nothing brings {what} of version {version} to version {current}: add it to `history`"
        ));
    }
    for version in known.into_iter().filter(|version| !(0..current).contains(version)) {
        problems.push(format!(
            "there is an upgrade from version {version} of the {what}, but the version is {current}"
        ));
    }
}

fn no_way(name: &str, what: &str, version: i64, current: i64) -> Diagnostic {
    Diagnostic::error(
        format!("Cannot upgrade the {what} of `{name}`"),
        format!(
            "It was written by version {version} of the schema; this provider has version {current} and no way to bring the \
             old one to it. What is stored is unchanged. Use a provider version that wrote it, or remove the object \
             from state and import it again."
        ),
    )
}

impl<M> fmt::Debug for History<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("states", &self.states.keys())
            .field("identities", &self.identities.keys())
            .field("moves", &self.moves.iter().map(|(from, _)| from).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Where objects may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveFrom {
    type_name: String,
    provider: Option<String>,
    version: Option<i64>,
}

impl MoveFrom {
    /// Another resource type of the same provider.
    #[must_use]
    pub fn resource(type_name: impl Into<String>) -> Self {
        Self { type_name: type_name.into(), provider: None, version: None }
    }

    /// Of another provider instead: `namespace/type`, whatever the registry's host.
    #[must_use]
    pub fn of_provider(mut self, provider: impl Into<String>) -> Self {
        self.provider = Some(provider.into());
        self
    }

    /// Only state of this version of the other type's schema.
    #[must_use]
    pub const fn at_version(mut self, version: i64) -> Self {
        self.version = Some(version);
        self
    }

    fn admits(&self, source: &MoveSource, own: &str) -> bool {
        self.type_name == source.type_name
            && without_host(self.provider.as_deref().unwrap_or(own)) == without_host(&source.provider)
            && self.version.is_none_or(|version| version == source.version)
    }
}

/// `registry.terraform.io/a/b` and `registry.opentofu.org/a/b` are the same provider to its author.
fn without_host(address: &str) -> &str {
    match address.split_once('/') {
        Some((_, rest)) if rest.contains('/') => rest,
        _ => address,
    }
}

/// An object of another type, as its provider has stored it.
#[derive(Clone)]
pub struct MoveSource {
    /// The full address of its provider.
    pub provider: String,
    /// Its resource type.
    pub type_name: String,
    /// The version of that type's schema.
    pub version: i64,
    /// Its state.
    pub state: Json,
    /// Its identity, if it has one.
    pub identity: Option<Json>,
}

/// State may hold secrets.
impl fmt::Debug for MoveSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoveSource")
            .field("provider", &self.provider)
            .field("type_name", &self.type_name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, crate::Model)]
    struct Old {
        #[tf(required)]
        name: crate::Attr<String>,
        #[tf(optional)]
        note: crate::Attr<String>,
    }

    /// State of another version became an object of nulls.
    #[test]
    fn a_move_from_any_version_takes_no_other_layout() {
        let source = |state: Json| MoveSource {
            provider: "registry.terraform.io/acme/acme".to_owned(),
            type_name: "acme_old".to_owned(),
            version: 3,
            state,
            identity: None,
        };
        let take = |from: MoveFrom, state: Json| {
            let mut history = History::<Old>::default();
            history.moved(from, |old: Old, _| Ok(old));
            history.take_over(&source(state), "registry.terraform.io/acme/acme").unwrap()
        };
        let any = || MoveFrom::resource("acme_old");
        let taken = take(any(), serde_json::json!({ "name": "a", "note": null, "surplus": 1 })).unwrap();
        assert_eq!((taken.name.as_str(), taken.note.as_str()), (Some("a"), None));
        for (state, lacks) in [
            (serde_json::json!({ "label": "a", "note": null }), "`name`"),
            (serde_json::json!({ "name": null, "note": "n" }), "`name`"),
            (serde_json::json!({ "name": "a" }), "`note`"),
        ] {
            let refused = take(any(), state.clone()).unwrap_err();
            let detail = refused.into_iter().next().unwrap().detail;
            assert!(detail.contains(lacks) && detail.contains("version 3"), "{detail}");
            // Whoever names the version knows what it looks like.
            take(any().at_version(3), state).unwrap();
        }
    }

    #[test]
    fn the_host_of_a_provider_makes_no_difference() {
        let source = |provider: &str| MoveSource {
            provider: provider.to_owned(),
            type_name: "acme_thing".to_owned(),
            version: 3,
            state: Json::Null,
            identity: None,
        };
        let own = "registry.terraform.io/acme/acme";
        let here = MoveFrom::resource("acme_thing");
        assert!(here.admits(&source("registry.opentofu.org/acme/acme"), own));
        assert!(!here.admits(&source("registry.terraform.io/other/acme"), own));
        let there = MoveFrom::resource("acme_thing").of_provider("other/acme").at_version(3);
        assert!(there.admits(&source("registry.terraform.io/other/acme"), own));
        assert!(!there.clone().at_version(2).admits(&source("registry.terraform.io/other/acme"), own));
        assert!(!there.admits(&source(own), own));
        assert_eq!(without_host("acme/acme"), "acme/acme");
        assert_eq!(without_host("acme"), "acme");
    }
}
