//! Rules between the fields of one struct: `conflicts_with("b")`, `exactly_one_of("a", "b")` and their like.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Error, LitStr, Result, Token, parenthesized};

use crate::field::Field;

/// What a rule demands.
#[derive(Clone, Copy)]
enum Kind {
    ConflictsWith,
    RequiredWith,
    ExactlyOneOf,
    AtLeastOneOf,
}

/// One rule as it is written. The names keep their places, so that errors point at them.
pub(crate) struct Rule {
    kind: Kind,
    names: Vec<LitStr>,
}

impl Rule {
    /// A rule that stands on a field, if the option is one.
    pub(crate) fn on_field(meta: &ParseNestedMeta<'_>) -> Result<Option<Self>> {
        let kind = if meta.path.is_ident("conflicts_with") {
            Kind::ConflictsWith
        } else if meta.path.is_ident("required_with") {
            Kind::RequiredWith
        } else {
            return Ok(None);
        };
        Self::parse(kind, meta, 1).map(Some)
    }

    /// A rule that stands on a struct, if the option is one.
    pub(crate) fn on_struct(meta: &ParseNestedMeta<'_>) -> Result<Option<Self>> {
        let kind = if meta.path.is_ident("exactly_one_of") {
            Kind::ExactlyOneOf
        } else if meta.path.is_ident("at_least_one_of") {
            Kind::AtLeastOneOf
        } else {
            return Ok(None);
        };
        Self::parse(kind, meta, 2).map(Some)
    }

    fn parse(kind: Kind, meta: &ParseNestedMeta<'_>, least: usize) -> Result<Self> {
        let content;
        parenthesized!(content in meta.input);
        let names = content.parse_terminated(<LitStr as syn::parse::Parse>::parse, Token![,])?;
        if names.len() < least {
            return Err(meta.error(match least {
                1 => "name the other attribute: `conflicts_with(\"b\")`",
                _ => "name two attributes or more: `exactly_one_of(\"a\", \"b\")`",
            }));
        }
        Ok(Self { kind, names: names.into_iter().collect() })
    }

    /// Refuses names that no field has, the field's own, and those said twice. `owner` is the field that the rule
    /// stands on.
    pub(crate) fn check(&self, owner: Option<&Field>, fields: &[Field]) -> Result<()> {
        for (position, name) in self.names.iter().enumerate() {
            let text = name.value();
            if !fields.iter().any(|field| field.name == text) {
                return Err(Error::new(name.span(), unknown(&text, fields)));
            }
            if owner.is_some_and(|owner| owner.name == text) {
                return Err(Error::new(name.span(), format!("`{text}` is the attribute itself")));
            }
            if self.names[..position].iter().any(|twin| twin.value() == text) {
                return Err(Error::new(name.span(), format!("`{text}` is said twice")));
            }
        }
        if let Some(span) = owner.and_then(Field::variadic) {
            return Err(Error::new(span, "a variadic argument is always there: no rule fits it"));
        }
        Ok(())
    }

    /// An expression of type `Rule`; `owner` is the name of the field that the rule stands on.
    pub(crate) fn expression(&self, owner: &str) -> TokenStream {
        let names = self.names.iter().map(|name| quote!(::std::string::String::from(#name)));
        let names = quote!(::std::vec![#(#names),*]);
        let rule = quote!(::tfplugin::schema::Rule);
        match self.kind {
            Kind::ConflictsWith => {
                quote!(#rule::ConflictsWith { name: ::std::string::String::from(#owner), others: #names })
            }
            Kind::RequiredWith => {
                quote!(#rule::RequiredWith { name: ::std::string::String::from(#owner), others: #names })
            }
            Kind::ExactlyOneOf => quote!(#rule::ExactlyOneOf(#names)),
            Kind::AtLeastOneOf => quote!(#rule::AtLeastOneOf(#names)),
        }
    }
}

fn unknown(name: &str, fields: &[Field]) -> String {
    if let Some(renamed) = fields.iter().find(|field| field.ident == name) {
        return format!("field `{name}` has another name in Terraform: write `{}`", renamed.name);
    }
    let names: Vec<_> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
    format!("there is no attribute `{name}` next to this one; there are {}", names.join(", "))
}
