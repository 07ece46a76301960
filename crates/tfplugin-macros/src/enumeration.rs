//! `#[derive(TfEnum)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Result};

use crate::field::docs;

/// One variant and the text it stands for.
struct Variant<'a> {
    ident: &'a syn::Ident,
    name: String,
    description: String,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "`TfEnum` is for enums without data"));
    };
    let mut variants = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(
                variant,
                "a variant of a `TfEnum` carries no data: it is a plain string",
            ));
        }
        let mut name = snake_case(&variant.ident.to_string());
        for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("tf")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    name = meta.value()?.parse::<LitStr>()?.value();
                    Ok(())
                } else {
                    Err(meta.error("a variant takes `name = \"…\"` only"))
                }
            })?;
        }
        if let Some(twin) = variants.iter().find(|twin: &&Variant<'_>| twin.name == name) {
            return Err(Error::new_spanned(
                &variant.ident,
                format!("`{name}` is already the text of variant `{}`", twin.ident),
            ));
        }
        let description = docs(&variant.attrs);
        variants.push(Variant { ident: &variant.ident, name, description });
    }
    if variants.is_empty() {
        return Err(Error::new_spanned(&input.ident, "an enum without variants accepts no value"));
    }

    let ident = &input.ident;
    let idents: Vec<_> = variants.iter().map(|variant| variant.ident).collect();
    let names: Vec<_> = variants.iter().map(|variant| &variant.name).collect();
    let descriptions: Vec<_> = variants.iter().map(|variant| &variant.description).collect();
    let count = variants.len();
    Ok(quote! {
        #[automatically_derived]
        impl #ident {
            /// The texts that the attribute takes, in the order of the variants.
            pub const NAMES: [&'static str; #count] = [#(#names),*];

            /// The text of this variant.
            #[must_use]
            pub const fn as_str(&self) -> &'static str {
                match self { #(Self::#idents => #names),* }
            }
        }

        #[automatically_derived]
        impl ::core::fmt::Display for #ident {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[automatically_derived]
        impl ::core::str::FromStr for #ident {
            type Err = ::std::string::String;

            fn from_str(text: &str) -> ::core::result::Result<Self, Self::Err> {
                match text {
                    #(#names => ::core::result::Result::Ok(Self::#idents),)*
                    _ => ::core::result::Result::Err(::tfplugin::__private::not_one_of(text, &Self::NAMES)),
                }
            }
        }

        #[automatically_derived]
        impl ::tfplugin::FromValue for #ident {
            fn from_value(
                value: &::tfplugin::Value,
                path: &::tfplugin::AttributePath,
            ) -> ::core::result::Result<Self, ::tfplugin::Diagnostic> {
                ::tfplugin::__private::parse_text(value, path)
            }
        }

        #[automatically_derived]
        impl ::tfplugin::ToValue for #ident {
            fn to_value(&self) -> ::tfplugin::Value {
                ::tfplugin::ToValue::to_value(self.as_str())
            }
        }

        #[automatically_derived]
        impl ::tfplugin::AttributeShape for #ident {
            fn shape() -> ::tfplugin::schema::Shape {
                ::tfplugin::schema::Shape::Type(::tfplugin::Type::String)
            }

            fn validators() -> ::std::vec::Vec<::tfplugin::schema::Validator> {
                ::std::vec![::tfplugin::schema::Validator {
                    description: ::tfplugin::__private::describe_one_of(&Self::NAMES),
                    check: |value| ::tfplugin::__private::one_of(value, &#ident::NAMES),
                }]
            }

            fn values() -> ::std::vec::Vec<::tfplugin::schema::NamedValue> {
                ::std::vec![#(::tfplugin::schema::NamedValue {
                    name: #names,
                    description: #descriptions,
                }),*]
            }
        }
    })
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (position, letter) in name.char_indices() {
        if letter.is_uppercase() && position > 0 {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
