//! One field of a model: its `#[tf(…)]` attributes, and the code they become.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, Meta, Result, Type};

use crate::planning::{self, Planning};
use crate::rules::Rule;
use crate::validators;

/// What stands in the `#[tf(…)]` of a field. Flags keep their place, so that errors point at them.
#[derive(Default)]
struct Options {
    required: Option<Span>,
    optional: Option<Span>,
    computed: Option<Span>,
    sensitive: Option<Span>,
    write_only: Option<Span>,
    force_new: Option<Span>,
    stable: Option<Span>,
    variadic: Option<Span>,
    identity: Option<(Span, bool)>,
    block: Option<(Span, BlockBounds)>,
    default: Option<(Span, Expr)>,
    deprecated: Option<LitStr>,
    name: Option<LitStr>,
    validators: Vec<TokenStream>,
    rules: Vec<Rule>,
    planning: Planning,
}

#[derive(Default)]
struct BlockBounds {
    min: Option<Expr>,
    max: Option<Expr>,
}

/// One field, parsed and free of contradictions.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) ty: Type,
    description: String,
    options: Options,
}

impl Field {
    pub(crate) fn parse(field: &syn::Field) -> Result<Self> {
        let Some(ident) = field.ident.clone() else {
            return Err(Error::new_spanned(field, "a model has named fields: each is an attribute"));
        };
        let mut options = Options::default();
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("tf")) {
            attribute.parse_nested_meta(|meta| options.parse(&meta))?;
        }
        options.check(&ident)?;
        let name = match &options.name {
            Some(name) => name.value(),
            None => ident.unraw().to_string(),
        };
        if let Some(reason) = bad_name(&name) {
            let span = options.name.as_ref().map_or(ident.span(), LitStr::span);
            return Err(Error::new(span, format!("`{name}` cannot be an attribute name: {reason}")));
        }
        Ok(Self { name, ty: field.ty.clone(), description: docs(&field.attrs), options, ident })
    }

    pub(crate) fn is_block(&self) -> bool {
        self.options.block.is_some()
    }

    /// The rules that stand on the field.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.options.rules
    }

    pub(crate) fn variadic(&self) -> Option<Span> {
        self.options.variadic
    }

    /// An expression of type `Attribute`, or of type `NestedBlock` for a block.
    pub(crate) fn schema(&self) -> TokenStream {
        let Self { name, ty, description, options, .. } = self;
        let deprecated = optional_text(options.deprecated.as_ref());
        if let Some((_, bounds)) = &options.block {
            let bound = |bound: &Option<Expr>| optional(bound.as_ref().map(|value| quote!(#value)));
            let (min, max) = (bound(&bounds.min), bound(&bounds.max));
            return quote_spanned! {ty.span()=>
                ::tfplugin::__private::block::<#ty>(#name, #description, #deprecated, #min, #max)
            };
        }
        let flag = |name: &str, flag: Option<Span>| {
            let name = format_ident!("{name}");
            let set = flag.is_some();
            quote!(#name: #set)
        };
        let flags = [
            flag("required", options.required),
            flag("optional", options.optional),
            flag("computed", options.computed),
            flag("sensitive", options.sensitive),
            flag("write_only", options.write_only),
            flag("force_new", options.force_new),
            flag("stable", options.stable),
        ];
        let identity = optional(options.identity.map(|(_, required)| {
            let part = format_ident!("{}", if required { "Required" } else { "Optional" });
            quote!(::tfplugin::__private::IdentityPart::#part)
        }));
        let planning = options.planning.expression();
        let default = optional(options.default.as_ref().map(|(_, value)| to_value(value)));
        let validators = &options.validators;
        quote_spanned! {ty.span()=>
            ::tfplugin::__private::attribute::<#ty>(
                #name,
                #description,
                ::tfplugin::__private::Flags { #(#flags),*, identity: #identity },
                #planning,
                #default,
                #deprecated,
                ::std::vec![#(#validators),*],
            )
        }
    }

    /// Where the name in Terraform is said.
    pub(crate) fn name_span(&self) -> Span {
        self.options.name.as_ref().map_or(self.ident.span(), LitStr::span)
    }

    /// The field out of an `object`, in a function that answers with a `Diagnostic`.
    pub(crate) fn read_code(&self) -> TokenStream {
        let Self { name, ty, .. } = self;
        quote_spanned!(self.at_type()=> object.get::<#ty>(#name)?)
    }

    /// The name and the value, in a method of the model.
    pub(crate) fn write_code(&self) -> TokenStream {
        let Self { name, ident, .. } = self;
        let value = quote_spanned!(self.at_type()=> ::tfplugin::ToValue::to_value(&self.#ident));
        quote!((#name, #value))
    }

    /// Errors point at the type, but names mean what they mean in the derived code.
    fn at_type(&self) -> Span {
        Span::call_site().located_at(self.ty.span())
    }

    /// An expression of type `Field`: what the schema does not say of the Rust type.
    pub(crate) fn info(&self) -> TokenStream {
        let Self { name, ty, .. } = self;
        let variadic = self.options.variadic.is_some();
        let make = if self.is_block() { quote!(block_field) } else { quote!(field) };
        quote_spanned!(ty.span()=> ::tfplugin::__private::#make::<#ty>(#name, #variadic))
    }

    /// A compile-time check that a field which may be null can hold null.
    pub(crate) fn assertion(&self) -> TokenStream {
        let Self { ty, name, .. } = self;
        let nullable = self.options.optional.is_some() || self.options.default.is_some();
        if self.is_block() || !nullable {
            return TokenStream::new();
        }
        let message =
            format!("`{name}` may be left out of configuration: its type must be `Attr<…>` or `Option<…>`");
        quote_spanned! {ty.span()=>
            const _: () = ::core::assert!(<#ty as ::tfplugin::AttributeShape>::ACCEPTS_NULL, #message);
        }
    }
}

impl Options {
    fn parse(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if let Some(rule) = Rule::on_field(meta)? {
            self.rules.push(rule);
            return Ok(());
        }
        if self.planning.parse(meta)? {
            return Ok(());
        }
        let span = meta.path.span();
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let flag = match name.as_str() {
            "required" => &mut self.required,
            "optional" => &mut self.optional,
            "computed" => &mut self.computed,
            "sensitive" => &mut self.sensitive,
            "write_only" => &mut self.write_only,
            "force_new" => &mut self.force_new,
            "stable" => &mut self.stable,
            "variadic" => &mut self.variadic,
            "block" => return self.parse_block(meta, span),
            "identity" => return self.parse_identity(meta, span),
            "default" => {
                self.default = Some((span, meta.value()?.parse()?));
                return Ok(());
            }
            "deprecated" => {
                self.deprecated = Some(meta.value()?.parse()?);
                return Ok(());
            }
            "name" => {
                self.name = Some(meta.value()?.parse()?);
                return Ok(());
            }
            "validate" => {
                self.validators.extend(validators::parse(meta)?);
                return Ok(());
            }
            _ => {
                return Err(meta.error(
                    "unknown option: a field takes required, optional, computed, sensitive, write_only, force_new, \
                     stable, identity, never_null, force_new_if = …, modify = …, same_as = …, default = …, deprecated = \"…\", name = \"…\", block, variadic, validate(…), conflicts_with(\"…\") and \
                     required_with(\"…\")",
                ));
            }
        };
        if flag.replace(span).is_some() {
            return Err(meta.error(format!("`{name}` is said twice")));
        }
        Ok(())
    }

    fn parse_identity(&mut self, meta: &ParseNestedMeta<'_>, span: Span) -> Result<()> {
        let mut required = true;
        if meta.input.peek(syn::token::Paren) {
            meta.parse_nested_meta(|part| {
                if part.path.is_ident("optional") {
                    required = false;
                    Ok(())
                } else {
                    Err(part.error(
                        "`identity(optional)` is what may be left out of an import; there is nothing else",
                    ))
                }
            })?;
        }
        if self.identity.replace((span, required)).is_some() {
            return Err(meta.error("`identity` is said twice"));
        }
        Ok(())
    }

    fn parse_block(&mut self, meta: &ParseNestedMeta<'_>, span: Span) -> Result<()> {
        let mut bounds = BlockBounds::default();
        if meta.input.peek(syn::token::Paren) {
            meta.parse_nested_meta(|bound| {
                if bound.path.is_ident("min") {
                    bounds.min = Some(bound.value()?.parse()?);
                } else if bound.path.is_ident("max") {
                    bounds.max = Some(bound.value()?.parse()?);
                } else {
                    return Err(bound.error("a block takes `min = N` and `max = N`"));
                }
                Ok(())
            })?;
        }
        self.block = Some((span, bounds));
        Ok(())
    }

    fn check(&self, ident: &Ident) -> Result<()> {
        let default = self.default.as_ref().map(|(span, _)| *span);
        let identity = self.identity.map(|(span, _)| span);
        let contradictions = [
            (self.required, self.optional, "an attribute is either `required` or `optional`"),
            (
                self.required,
                self.computed,
                "a `required` attribute is never `computed`: the user always sets it",
            ),
            (self.required, default, "a `required` attribute has no use for a default"),
            (
                self.write_only,
                self.computed,
                "a `write_only` attribute cannot be `computed`: it is never stored",
            ),
            (self.write_only, default, "a `write_only` attribute cannot have a default: it is never stored"),
            (self.write_only, self.force_new, "a `write_only` attribute has no prior value to compare with"),
            (self.write_only, self.stable, "a `write_only` attribute has no prior value to keep"),
            (
                self.write_only,
                identity,
                "a `write_only` attribute cannot be part of the identity: identities are stored",
            ),
            (
                self.sensitive,
                identity,
                "a `sensitive` attribute cannot be part of the identity: identities are shown",
            ),
            (
                self.stable,
                default,
                "an attribute with a default is decided by configuration: `stable` has no meaning",
            ),
        ];
        for (one, other, message) in contradictions {
            if let (Some(_), Some(span)) = (one, other) {
                return Err(Error::new(span, message));
            }
        }
        if let (Some(span), None) = (self.stable, self.computed) {
            return Err(Error::new(span, "`stable` keeps a computed value: add `computed`"));
        }
        let Self { computed, force_new, write_only, .. } = *self;
        self.planning.check(planning::Flags { computed, default, force_new, write_only })?;
        if let Some((span, _)) = self.block {
            let flags = [
                self.required,
                self.optional,
                self.computed,
                self.sensitive,
                self.write_only,
                self.force_new,
                self.stable,
                self.variadic,
                identity,
                default,
            ];
            if flags.iter().any(Option::is_some) || !self.validators.is_empty() || self.planning.any() {
                return Err(Error::new(
                    span,
                    format!(
                        "block `{ident}` takes `min`, `max`, `name`, `deprecated` and rules only: mark the fields inside it"
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The text of the doc comments, one leading space off each line.
pub(crate) fn docs(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        let Meta::NameValue(pair) = &attribute.meta else { continue };
        if !pair.path.is_ident("doc") {
            continue;
        }
        if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value {
            let text = text.value();
            lines.extend(
                text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()),
            );
            if text.is_empty() {
                lines.push(String::new());
            }
        }
    }
    lines.join("\n").trim().to_owned()
}

/// `Some(…)`, or `None`.
pub(crate) fn optional(value: Option<TokenStream>) -> TokenStream {
    value.map_or_else(
        || quote!(::core::option::Option::None),
        |value| quote!(::core::option::Option::Some(#value)),
    )
}

/// An expression as a Terraform value.
pub(crate) fn to_value(value: &Expr) -> TokenStream {
    quote_spanned!(value.span()=> ::tfplugin::ToValue::to_value(&(#value)))
}

/// `Some("…".to_owned())`, or `None`.
pub(crate) fn optional_text(text: Option<&LitStr>) -> TokenStream {
    optional(text.map(|text| quote!(::std::string::String::from(#text))))
}

fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Some("it starts with a digit");
    }
    let legal = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    (!name.chars().all(legal)).then_some("only a-z, 0-9 and _ are allowed")
}
