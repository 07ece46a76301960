//! How a field is planned: `force_new_if = path`, `modify = path`, `same_as = path`, `never_null`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{Error, ExprPath, Result};

use crate::field::optional;

/// The options of one field.
#[derive(Default)]
pub(crate) struct Planning {
    force_new_if: Option<(Span, ExprPath)>,
    modify: Option<(Span, ExprPath)>,
    same_as: Option<(Span, ExprPath)>,
    never_null: Option<Span>,
}

/// The flags of the same field that planning has to do with.
#[derive(Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) computed: Option<Span>,
    pub(crate) default: Option<Span>,
    pub(crate) force_new: Option<Span>,
    pub(crate) write_only: Option<Span>,
}

impl Planning {
    /// Takes the option if it is one of these.
    pub(crate) fn parse(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        let span = meta.path.span();
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let function = match name.as_str() {
            "force_new_if" => &mut self.force_new_if,
            "modify" => &mut self.modify,
            "same_as" => &mut self.same_as,
            "never_null" => {
                return match self.never_null.replace(span) {
                    None => Ok(true),
                    Some(_) => Err(meta.error("`never_null` is said twice")),
                };
            }
            _ => return Ok(false),
        };
        match function.replace((span, meta.value()?.parse()?)) {
            None => Ok(true),
            Some(_) => Err(meta.error(format!("`{name}` is said twice"))),
        }
    }

    /// Whether there is any option.
    pub(crate) const fn any(&self) -> bool {
        self.force_new_if.is_some()
            || self.modify.is_some()
            || self.same_as.is_some()
            || self.never_null.is_some()
    }

    pub(crate) fn check(&self, flags: Flags) -> Result<()> {
        let Self { force_new_if, modify, same_as, never_null } = self;
        let span = |function: &Option<(Span, ExprPath)>| function.as_ref().map(|(span, _)| *span);
        let nothing_before = "a `write_only` attribute has no prior value to compare with";
        let contradictions = [
            (flags.write_only, span(force_new_if), nothing_before),
            (flags.write_only, span(modify), nothing_before),
            (flags.write_only, span(same_as), nothing_before),
            (
                flags.force_new,
                span(force_new_if),
                "with `force_new` every change demands another object already",
            ),
            (
                flags.default,
                *never_null,
                "an attribute with a default is decided by configuration: `never_null` has no meaning",
            ),
        ];
        for (one, other, message) in contradictions {
            if let (Some(_), Some(span)) = (one, other) {
                return Err(Error::new(span, message));
            }
        }
        match (never_null, flags.computed) {
            (Some(span), None) => {
                Err(Error::new(*span, "`never_null` promises a computed value: add `computed`"))
            }
            _ => Ok(()),
        }
    }

    /// An expression of type `Planning`. A function of another signature is an error at its name.
    pub(crate) fn expression(&self) -> TokenStream {
        let function = |function: &Option<(Span, ExprPath)>| {
            optional(function.as_ref().map(|(_, path)| quote_spanned!(path.span()=> #path)))
        };
        let force_new_if = function(&self.force_new_if);
        let modify = function(&self.modify);
        let same_as = function(&self.same_as);
        let never_null = self.never_null.is_some();
        quote!(::tfplugin::schema::Planning {
            force_new_if: #force_new_if,
            modify: #modify,
            same_as: #same_as,
            never_null: #never_null,
        })
    }
}
