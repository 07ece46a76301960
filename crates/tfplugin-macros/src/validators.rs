//! `validate(…)` inside `#[tf(…)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprPath, LitStr, RangeLimits, Result, Token, parenthesized};

use crate::field::{optional, to_value};

/// Parses the inside of `validate(…)`; each item becomes an expression of type `Validator`.
pub(crate) fn parse(meta: &ParseNestedMeta<'_>) -> Result<Vec<TokenStream>> {
    let mut validators = Vec::new();
    meta.parse_nested_meta(|rule| {
        let name = rule.path.get_ident().map(ToString::to_string).unwrap_or_default();
        validators.push(match name.as_str() {
            "range" => bounds(&rule, &quote!(range), &quote!(describe_range))?,
            "length" => bounds(&rule, &quote!(length), &quote!(describe_length))?,
            "one_of" => one_of(&rule)?,
            "pattern" => pattern(&rule)?,
            "with" => with(&rule)?,
            _ => {
                return Err(rule.error(
                    "unknown validator: there are `range(a..=b)`, `length(a..=b)`, `one_of(\"a\", \"b\")`, \
                     `pattern(\"^[a-z]+$\")`, `with = path::to::function` and `with(path::to::function, \"what it demands\")`",
                ));
            }
        });
        Ok(())
    })?;
    Ok(validators)
}

fn bounds(rule: &ParseNestedMeta<'_>, check: &TokenStream, describe: &TokenStream) -> Result<TokenStream> {
    let content;
    parenthesized!(content in rule.input);
    let expression: Expr = content.parse()?;
    let Expr::Range(range) = &expression else {
        return Err(Error::new_spanned(&expression, "write a range: `a..=b`, `a..` or `..=b`"));
    };
    if range.end.is_some() && matches!(range.limits, RangeLimits::HalfOpen(_)) {
        return Err(Error::new_spanned(range, "write an inclusive range: `a..=b`, `a..` or `..=b`"));
    }
    if range.start.is_none() && range.end.is_none() {
        return Err(Error::new_spanned(range, "a range without ends checks nothing"));
    }
    let end = |end: &Option<Box<Expr>>| optional(end.as_deref().map(to_value));
    let (low, high) = (end(&range.start), end(&range.end));
    Ok(quote!(::tfplugin::schema::Validator {
        description: ::tfplugin::__private::#describe(#low, #high),
        check: |value| ::tfplugin::__private::#check(value, #low, #high),
    }))
}

fn one_of(rule: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let content;
    parenthesized!(content in rule.input);
    let texts = content.parse_terminated(<LitStr as syn::parse::Parse>::parse, Token![,])?;
    if texts.is_empty() {
        return Err(rule.error("`one_of()` without a text accepts no value"));
    }
    let texts: Vec<_> = texts.into_iter().collect();
    Ok(quote!(::tfplugin::schema::Validator {
        description: ::tfplugin::__private::describe_one_of(&[#(#texts),*]),
        check: |value| ::tfplugin::__private::one_of(value, &[#(#texts),*]),
    }))
}

/// The pattern is compiled here too: a mistake in it is an error of the compiler.
fn pattern(rule: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let content;
    parenthesized!(content in rule.input);
    let pattern: LitStr = content.parse()?;
    content.parse::<Option<Token![,]>>()?;
    if let Err(error) = regex_lite::Regex::new(&pattern.value()) {
        return Err(Error::new(pattern.span(), format!("this pattern cannot be used: {error}")));
    }
    Ok(quote!(::tfplugin::schema::Validator {
        description: ::tfplugin::__private::describe_pattern(#pattern),
        check: |value| {
            static PATTERN: ::tfplugin::__private::Pattern = ::tfplugin::__private::Pattern::new(#pattern);
            PATTERN.check(value)
        },
    }))
}

fn with(rule: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let (function, description) = if rule.input.peek(Token![=]) {
        let function: ExprPath = rule.value()?.parse()?;
        let name = function.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        (function, name.replace('_', " "))
    } else {
        let content;
        parenthesized!(content in rule.input);
        let function: ExprPath = content.parse()?;
        content.parse::<Token![,]>()?;
        let description: LitStr = content.parse()?;
        content.parse::<Option<Token![,]>>()?;
        (function, description.value())
    };
    let check = quote_spanned!(function.span()=> #function);
    Ok(quote!(::tfplugin::schema::Validator {
        description: ::std::string::String::from(#description),
        check: #check,
    }))
}
