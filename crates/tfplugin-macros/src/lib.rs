//! Derive macros of `tfplugin`: one struct is the schema, the documentation and the conversion.
//!
//! Use them through `tfplugin`, whose documentation lists every attribute; the code they write names that
//! crate by the path `::tfplugin`.

mod enumeration;
mod field;
mod model;
mod planning;
mod rules;
#[cfg(test)]
mod tests;
mod validators;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a schema: doc comments are descriptions, fields are attributes and blocks.
///
/// On the struct: `#[tf(version = N)]`, `#[tf(deprecated = "…")]`, `#[tf(exactly_one_of("a", "b"))]`,
/// `#[tf(at_least_one_of("a", "b"))]`. On fields: `#[tf(required, optional, computed, sensitive, write_only,
/// force_new, stable, never_null, force_new_if = path, modify = path, same_as = path, default = expr, deprecated = "…", name = "…", block, variadic, validate(…),
/// conflicts_with("b"), required_with("b"))]`. Without any of `required`, `optional`, `computed` and `default` a plain type is required, and
/// `Attr<T>` and `Option<T>` are optional.
#[proc_macro_derive(Model, attributes(tf))]
pub fn derive_model(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    model::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an enum without data a string attribute that takes the names of its variants, in `snake_case` or as
/// `#[tf(name = "…")]` says; their doc comments are the documentation of the values.
#[proc_macro_derive(TfEnum, attributes(tf))]
pub fn derive_enum(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    enumeration::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
