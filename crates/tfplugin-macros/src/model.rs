//! `#[derive(Model)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, LitInt, LitStr, Result};

use crate::field::{Field, docs, optional_text};
use crate::rules::Rule;

/// What stands in the `#[tf(…)]` of the struct.
#[derive(Default)]
struct Options {
    version: Option<LitInt>,
    identity_version: Option<LitInt>,
    mutable_identity: bool,
    deprecated: Option<LitStr>,
    rules: Vec<Rule>,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a model is a struct with named fields"));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a model is one schema: it has no type or lifetime parameters",
        ));
    }
    let fields = match &data.fields {
        Fields::Named(fields) => fields.named.iter().map(Field::parse).collect::<Result<Vec<_>>>()?,
        Fields::Unit => Vec::new(),
        Fields::Unnamed(_) => {
            return Err(Error::new_spanned(&input.ident, "a model has named fields: each is an attribute"));
        }
    };
    let options = options(input)?;
    check_together(&fields, &options.rules)?;

    let ident = &input.ident;
    let description = docs(&input.attrs);
    let version = options.version.map_or_else(|| quote!(0), |version| quote!(#version));
    let identity_version = options.identity_version.map_or_else(|| quote!(0), |version| quote!(#version));
    let mutable_identity = options.mutable_identity;
    let deprecated = optional_text(options.deprecated.as_ref());
    let attributes = fields.iter().filter(|field| !field.is_block()).map(Field::schema);
    let blocks = fields.iter().filter(|field| field.is_block()).map(Field::schema);
    let rules = rules(&fields, &options.rules);
    let infos = fields.iter().map(Field::info);
    let assertions = fields.iter().map(Field::assertion);
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let from_values = fields.iter().map(Field::read_code);
    let to_values = fields.iter().map(Field::write_code);
    let shape = shape(ident, &fields);

    Ok(quote! {
        #(#assertions)*

        #[automatically_derived]
        impl ::tfplugin::Model for #ident {
            const VERSION: i64 = #version;
            const IDENTITY_VERSION: i64 = #identity_version;
            const MUTABLE_IDENTITY: bool = #mutable_identity;

            fn block() -> ::tfplugin::schema::Block {
                ::tfplugin::schema::Block {
                    description: ::std::string::String::from(#description),
                    deprecated: #deprecated,
                    attributes: ::std::vec![#(#attributes),*],
                    blocks: ::std::vec![#(#blocks),*],
                    rules: ::std::vec![#(#rules),*],
                }
            }

            fn fields() -> ::std::vec::Vec<::tfplugin::__private::Field> {
                ::std::vec![#(#infos),*]
            }
        }

        #[automatically_derived]
        impl ::tfplugin::FromValue for #ident {
            fn from_value(
                value: &::tfplugin::Value,
                path: &::tfplugin::AttributePath,
            ) -> ::core::result::Result<Self, ::tfplugin::Diagnostic> {
                let object = ::tfplugin::__private::object(value, path)?;
                ::core::result::Result::Ok(Self {
                    #(#idents: #from_values),*
                })
            }
        }

        #[automatically_derived]
        impl ::tfplugin::ToValue for #ident {
            fn to_value(&self) -> ::tfplugin::Value {
                ::tfplugin::__private::to_object([
                    #(#to_values),*
                ])
            }
        }

        /// Alone, a block that must be there.
        #[automatically_derived]
        impl ::tfplugin::BlockShape for #ident {
            fn nesting() -> (::tfplugin::schema::Nesting, i64, i64) {
                (::tfplugin::schema::Nesting::Single, 1, 1)
            }

            fn block() -> ::tfplugin::schema::Block {
                <Self as ::tfplugin::Model>::block()
            }

            fn fields() -> ::std::vec::Vec<::tfplugin::__private::Field> {
                <Self as ::tfplugin::Model>::fields()
            }
        }

        #shape
    })
}

/// A model with nested blocks can only stand in blocks; any other can also stand as a nested attribute.
fn shape(ident: &syn::Ident, fields: &[Field]) -> TokenStream {
    if fields.iter().any(Field::is_block) {
        return TokenStream::new();
    }
    quote! {
        #[automatically_derived]
        impl ::tfplugin::AttributeShape for #ident {
            fn shape() -> ::tfplugin::schema::Shape {
                ::tfplugin::__private::nested::<Self>()
            }

            fn fields() -> ::std::vec::Vec<::tfplugin::__private::Field> {
                <Self as ::tfplugin::Model>::fields()
            }
        }
    }
}

fn options(input: &DeriveInput) -> Result<Options> {
    let mut options = Options::default();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("tf")) {
        attribute.parse_nested_meta(|meta| {
            if let Some(rule) = Rule::on_struct(&meta)? {
                options.rules.push(rule);
                Ok(())
            } else if meta.path.is_ident("version") {
                options.version = Some(meta.value()?.parse()?);
                Ok(())
            } else if meta.path.is_ident("identity_version") {
                options.identity_version = Some(meta.value()?.parse()?);
                Ok(())
            } else if meta.path.is_ident("mutable_identity") {
                options.mutable_identity = true;
                Ok(())
            } else if meta.path.is_ident("deprecated") {
                options.deprecated = Some(meta.value()?.parse()?);
                Ok(())
            } else {
                Err(meta.error(
                    "unknown option: a model takes `version = N`, `identity_version = N`, `mutable_identity`, \
                     `deprecated = \"…\"`, `exactly_one_of(\"a\", \"b\")` and `at_least_one_of(\"a\", \"b\")`",
                ))
            }
        })?;
    }
    Ok(options)
}

/// The rules of the fields in their order, then those of the struct.
fn rules<'a>(fields: &'a [Field], own: &'a [Rule]) -> impl Iterator<Item = TokenStream> {
    let on_fields =
        fields.iter().flat_map(|field| field.rules().iter().map(|rule| rule.expression(&field.name)));
    on_fields.chain(own.iter().map(|rule| rule.expression("")))
}

fn check_together(fields: &[Field], own: &[Rule]) -> Result<()> {
    for (position, field) in fields.iter().enumerate() {
        if let Some(span) = field.variadic()
            && position + 1 != fields.len()
        {
            return Err(Error::new(
                span,
                "only the last field can be `variadic`: it takes the remaining arguments",
            ));
        }
        if let Some(twin) = fields[..position].iter().find(|twin| twin.name == field.name) {
            return Err(Error::new(
                field.name_span(),
                format!("`{}` is already the name of field `{}`", field.name, twin.ident),
            ));
        }
        field.rules().iter().try_for_each(|rule| rule.check(Some(field), fields))?;
    }
    own.iter().try_for_each(|rule| rule.check(None, fields))
}
