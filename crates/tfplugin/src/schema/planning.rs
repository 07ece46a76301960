//! How a single attribute is planned, beyond what its flags say.

use super::{Attribute, Block, Shape};
use crate::Value;

/// The prior, the configured and the planned value; answers what to plan instead, if anything.
pub type Modify = fn(&Value, &Value, &Value) -> Option<Value>;

/// How an attribute of a managed resource is planned. The functions are pure: they are asked again before apply.
///
/// ```
/// use tfplugin::{Attr, Model, Value};
///
/// #[derive(Clone, Model)]
/// struct Domain {
///     /// `Example.com` is `example.com`.
///     #[tf(required, same_as = same_host)]
///     host: Attr<String>,
///     /// Disks grow in place; a smaller one is another one.
///     #[tf(required, force_new_if = shrinks)]
///     disk: Attr<i64>,
///     #[tf(computed, stable, never_null)]
///     id: Attr<String>,
/// }
///
/// fn same_host(one: &Value, other: &Value) -> bool {
///     one.as_str().map(str::to_lowercase) == other.as_str().map(str::to_lowercase)
/// }
///
/// fn shrinks(prior: &Value, planned: &Value) -> bool {
///     planned.as_number() < prior.as_number()
/// }
///
/// let host = Domain::block().attributes.swap_remove(0);
/// assert!(host.planning.same_as.is_some_and(|same| same(&"Example.com".into(), &"example.com".into())));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Planning {
    /// Given the prior and the planned value, which differ: whether the change demands another object. The planned
    /// value may be unknown. Where the object around the attribute appears or goes, the other value is null.
    pub force_new_if: Option<fn(&Value, &Value) -> bool>,
    /// Given the prior, the configured and the planned value: what to plan instead, if anything. A configured value
    /// can be replaced by the prior one only, and one that is neither configured nor computed by none.
    pub modify: Option<Modify>,
    /// Given two values that are known and differ: whether they mean the same. The older form is kept then.
    pub same_as: Option<fn(&Value, &Value) -> bool>,
    /// Computed, and certainly not null once it is known: other expressions can rely on it while planning.
    pub never_null: bool,
}

impl Planning {
    /// Whether any function needs the prior value, which elements of sets do not have.
    pub(crate) const fn compares(&self) -> bool {
        self.force_new_if.is_some() || self.modify.is_some() || self.same_as.is_some()
    }
}

/// Functions have no identity: what counts is which of them there are.
impl PartialEq for Planning {
    fn eq(&self, other: &Self) -> bool {
        self.force_new_if.is_some() == other.force_new_if.is_some()
            && self.modify.is_some() == other.modify.is_some()
            && self.same_as.is_some() == other.same_as.is_some()
            && self.never_null == other.never_null
    }
}

impl Block {
    /// Whether any attribute, at any depth, is of the kind that is looked for.
    pub(crate) fn any_attribute(&self, wanted: fn(&Attribute) -> bool) -> bool {
        any_attribute(&self.attributes, wanted)
            || self.blocks.iter().any(|nested| nested.block.any_attribute(wanted))
    }
}

/// Whether any of these attributes, or one inside them, is of the kind that is looked for.
pub(crate) fn any_attribute(attributes: &[Attribute], wanted: fn(&Attribute) -> bool) -> bool {
    attributes.iter().any(|attribute| {
        wanted(attribute)
            || matches!(&attribute.shape, Shape::Nested(nested) if any_attribute(&nested.attributes, wanted))
    })
}
