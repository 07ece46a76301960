//! What authors say of the planning of single attributes: `same_as`, `modify`, `never_null`.

use super::defaults::each_unconfigured;
use super::places::visit;
use crate::schema::{Attribute, Block, Shape, conform};
use crate::{AttributePath, Diagnostic, Diagnostics, Unknown, Value};

/// Keeps the form of an older value where a newer one means the same: the first of `older` that does. Only known
/// values are compared.
pub(super) fn keep_same<const N: usize>(block: &Block, target: &mut Value, older: [&Value; N]) {
    if !block.any_attribute(|attribute| attribute.planning.same_as.is_some()) {
        return;
    }
    visit(block, target, older, &mut |attribute, _, value, older| {
        let Some(same) = attribute.planning.same_as else { return true };
        let known = |value: &Value| !value.is_null() && value.is_wholly_known();
        if known(value)
            && let Some(older) =
                older.into_iter().find(|older| known(older) && (*older == &*value || same(older, value)))
        {
            older.clone_into(value);
            return false;
        }
        true
    });
}

/// Asks each `modify`. What Terraform would refuse is refused here, with the attribute named, and not planned.
pub(super) fn modify(block: &Block, planned: &mut Value, prior: &Value, whole: &Value) -> Diagnostics {
    let mut diagnostics = Diagnostics::new();
    if block.any_attribute(|attribute| attribute.planning.modify.is_some()) {
        visit(block, planned, [prior, whole], &mut |attribute, path, planned, [prior, config]| {
            let instead = attribute.planning.modify.and_then(|modify| modify(prior, config, planned));
            let free = provided(whole, path);
            match instead.map(|instead| legal(attribute, path, &instead, prior, (!free).then_some(config))) {
                None => {}
                Some(Ok(instead)) => *planned = instead,
                Some(Err(refused)) => diagnostics.push(refused),
            }
            true
        });
    }
    diagnostics
}

/// Whether a place lies inside an object that the user has not configured, so that the provider decides all of it.
fn provided(config: &Value, path: &AttributePath) -> bool {
    let above: AttributePath =
        path.steps().split_last().into_iter().flat_map(|(_, above)| above).cloned().collect();
    config.get_path(&above).is_none_or(Value::is_null)
}

/// What `modify` wants to plan, if Terraform accepts it there. `config` is `None` where it accepts anything.
fn legal(
    attribute: &Attribute,
    path: &AttributePath,
    instead: &Value,
    prior: &Value,
    config: Option<&Value>,
) -> Result<Value, Diagnostic> {
    let instead = conform(instead, &attribute.shape.implied_type(), path).map_err(|unfit| {
        let detail = format!("`modify` of `{path}` made a value of another type: {}", unfit.detail);
        Diagnostic::provider_bug(detail).at(path.clone())
    })?;
    let Some(config) = config else { return Ok(instead) };
    let reason = if config.is_null() {
        (!attribute.computed && !instead.is_null())
            .then_some("it is not configured, and it is not computed, so it must stay null")
    } else if matches!(attribute.shape, Shape::Nested(_)) {
        // Parts of it may be computed: the check of the whole plan looks at each.
        None
    } else {
        let kept = instead == *config || (!prior.is_null() && instead == *prior);
        (!kept).then_some("what the user has set is planned as it is set, or as it was before")
    };
    match reason {
        None => Ok(instead),
        Some(reason) => {
            Err(Diagnostic::provider_bug(format!("`modify` cannot replace `{path}`: {reason}."))
                .at(path.clone()))
        }
    }
}

/// Promises of unknown values that they will not be null, where the provider decides them.
pub(super) fn promise(block: &Block, planned: &mut Value, config: &Value) {
    if !block.any_attribute(|attribute| attribute.planning.never_null) {
        return;
    }
    each_unconfigured(block, planned, config, &|attribute, value| {
        if attribute.planning.never_null && *value == Value::unknown() {
            *value = Unknown::not_null().into();
        }
    });
}
