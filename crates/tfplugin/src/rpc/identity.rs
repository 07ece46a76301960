//! Identities: what tells one object from every other, made of marked attributes of its state.

use super::messages::{decode, encode};
use crate::proto::tfplugin6 as proto;
use crate::schema::{Block, IdentityPart};
use crate::{AttributePath, Diagnostic, Diagnostics, Model, Type, Value, check};

/// The identity of a resource type.
pub(crate) struct IdentityInfo {
    version: i64,
    mutable: bool,
    attributes: Vec<Part>,
    ty: Type,
}

struct Part {
    name: String,
    ty: Type,
    import: IdentityPart,
    /// Another value means another object: a drift of it is planned as a replacement.
    force_new: bool,
    description: String,
}

impl IdentityInfo {
    /// `None` where nothing is marked.
    pub(super) fn of<M: Model>(block: &Block) -> Option<Self> {
        let attributes: Vec<_> = block
            .attributes
            .iter()
            .filter_map(|attribute| {
                attribute.identity.map(|import| Part {
                    name: attribute.name.clone(),
                    ty: attribute.shape.implied_type(),
                    import,
                    force_new: attribute.force_new,
                    description: attribute.description.clone(),
                })
            })
            .collect();
        if attributes.is_empty() {
            return None;
        }
        let ty = Type::Object(attributes.iter().map(|part| (part.name.clone(), part.ty.clone())).collect());
        Some(Self { version: M::IDENTITY_VERSION, mutable: M::MUTABLE_IDENTITY, attributes, ty })
    }

    pub(super) const fn version(&self) -> i64 {
        self.version
    }

    pub(super) const fn ty(&self) -> &Type {
        &self.ty
    }

    pub(super) fn schema(&self) -> proto::ResourceIdentitySchema {
        let attribute = |part: &Part| proto::resource_identity_schema::IdentityAttribute {
            name: part.name.clone(),
            r#type: part.ty.to_json_bytes().into(),
            required_for_import: part.import == IdentityPart::Required,
            optional_for_import: part.import == IdentityPart::Optional,
            description: part.description.clone(),
        };
        proto::ResourceIdentitySchema {
            version: self.version,
            identity_attributes: self.attributes.iter().map(attribute).collect(),
        }
    }

    /// The identity that a state (or a plan) has.
    pub(super) fn of_state(&self, state: &Value) -> Value {
        Value::Object(
            self.attributes
                .iter()
                .map(|part| (part.name.clone(), state.get(&part.name).cloned().unwrap_or_default()))
                .collect(),
        )
    }

    /// Whether what an import needs is there and nothing is unknown.
    fn complete(&self, identity: &Value) -> bool {
        identity.is_wholly_known()
            && self.attributes.iter().all(|part| {
                part.import == IdentityPart::Optional
                    || identity.get(&part.name).is_some_and(|value| !value.is_null())
            })
    }

    pub(super) fn decode(&self, data: &proto::ResourceIdentityData) -> Result<Value, Diagnostic> {
        decode(data.identity_data.as_ref(), &self.ty, "identity")
    }

    pub(super) fn encode(&self, identity: &Value) -> Result<proto::ResourceIdentityData, Diagnostic> {
        Ok(proto::ResourceIdentityData { identity_data: Some(encode(identity, &self.ty, "identity")?) })
    }

    /// The identity to store with a state; nothing where the state has none yet.
    pub(super) fn stored(&self, state: &Value) -> Option<proto::ResourceIdentityData> {
        if state.is_null() {
            return None;
        }
        let identity = self.of_state(state);
        self.complete(&identity).then(|| self.encode(&identity).ok()).flatten()
    }

    /// The identity to plan: what was stays, unless there was nothing or it may change. One that is not known yet is not
    /// planned at all: the protocol has room for it, but Terraform up to 1.15 then cannot show the plan.
    pub(super) fn planned(
        &self,
        prior: Option<proto::ResourceIdentityData>,
        planned: &Value,
    ) -> Result<Option<proto::ResourceIdentityData>, Diagnostic> {
        let identity = self.of_state(planned);
        match prior {
            Some(prior) if !self.mutable || planned.is_null() || !self.complete(&identity) => Ok(Some(prior)),
            _ if planned.is_null() || !self.complete(&identity) => Ok(None),
            _ => self.encode(&identity).map(Some),
        }
    }

    /// Whether what was read is still the object that `before` identifies. Core lets a read change the identity. So a part
    /// that says where or what the object is, and not which (optional ones, and those whose plan can answer with a
    /// replacement), may have drifted: an error here would stand in the way of the plan that puts it right.
    pub(super) fn same_object(
        &self,
        name: &str,
        before: Option<&proto::ResourceIdentityData>,
        state: &Value,
    ) -> Result<(), Diagnostics> {
        self.held_against(name, before, state, |part| {
            part.import == IdentityPart::Required && !part.force_new
        })
    }

    /// Whether the object that `asked` identifies for an import is the one that was read: the mistake of whoever wrote the
    /// identity, if not. Parts that were left out may be anything.
    pub(super) fn as_asked(
        &self,
        name: &str,
        asked: Option<&proto::ResourceIdentityData>,
        state: &Value,
    ) -> Result<(), Diagnostics> {
        let Some(asked) = asked.filter(|_| !state.is_null()) else { return Ok(()) };
        let (asked, found) = (self.decode(asked)?, self.of_state(state));
        let problems: Diagnostics = self
            .differing(&asked, &found)
            .map(|part| {
                let shown = |identity: &Value| check::show(identity.get(&part.name).unwrap_or(&Value::Null));
                Diagnostic::error(
                    format!("No `{name}` with that identity"),
                    format!(
                        "The import asks for `{0}` {1}, but what the rest of the identity names has `{0}` {2}. Nothing was \
                         imported. Correct `{0}`, or leave it out if it is optional.",
                        part.name,
                        shown(&asked),
                        shown(&found)
                    ),
                )
                .at(AttributePath::from(part.name.as_str()))
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The parts that were known before and are something else now. Parts that were null (an import by id that was not
    /// read yet) may have come to light.
    fn differing<'a>(&'a self, before: &'a Value, after: &'a Value) -> impl Iterator<Item = &'a Part> {
        self.attributes.iter().filter(move |part| {
            let was = before.get(&part.name).unwrap_or(&Value::Null);
            !was.is_null() && !was.is_unknown() && Some(was) != after.get(&part.name)
        })
    }

    /// Whether `state`, the result of an apply, is still the object that `before` identifies, by every part.
    pub(super) fn unchanged(
        &self,
        name: &str,
        before: Option<&proto::ResourceIdentityData>,
        state: &Value,
    ) -> Result<(), Diagnostics> {
        self.held_against(name, before, state, |_| true)
    }

    fn held_against(
        &self,
        name: &str,
        before: Option<&proto::ResourceIdentityData>,
        state: &Value,
        fixed: impl Fn(&Part) -> bool,
    ) -> Result<(), Diagnostics> {
        let Some(before) = before.filter(|_| !self.mutable && !state.is_null()) else { return Ok(()) };
        let (before, after) = (self.decode(before)?, self.of_state(state));
        let problems: Diagnostics = self
            .differing(&before, &after)
            .filter(|part| fixed(part))
            .map(|part| {
                Diagnostic::provider_bug(format!(
                    "`{}` of `{name}` has changed, but it is part of the object's identity, which stays as long as the object \
                     does.",
                    part.name
                ))
                .at(AttributePath::from(part.name.as_str()))
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The start of a state from an identity: an error names what is missing.
    pub(super) fn to_state(&self, name: &str, block: &Block, identity: &Value) -> Result<Value, Diagnostics> {
        let mut state = block.empty_value();
        let mut problems = Diagnostics::new();
        for part in &self.attributes {
            let value = identity.get(&part.name).cloned().unwrap_or_default();
            if value.is_null() && part.import == IdentityPart::Required {
                problems.push(Diagnostic::error(
                    format!("Cannot import `{name}` without `{}`", part.name),
                    format!("The identity needs `{}`. Nothing was imported.", part.name),
                ));
                continue;
            }
            state.set_path(&part.name.as_str().into(), value).map_err(Diagnostic::provider_bug)?;
        }
        if problems.is_empty() { Ok(state) } else { Err(problems) }
    }
}
