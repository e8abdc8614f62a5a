//! The attribute macro `#[service]` of `connectivity-core`, which re-exports and documents it.
//!
//! Tokens flow in one direction. `parse` reads the source without checking it; `validate` turns it
//! into a `model` or reports what to write instead; `expand` generates code that only builds
//! descriptions and passes them to `connectivity_core::__private`. Nothing here decides how a call
//! is made.

mod args;
mod attributes;
mod diag;
mod expand;
mod model;
mod names;
mod parse;
#[cfg(test)]
mod tests;
mod validate;

use proc_macro2::TokenStream;

use crate::args::ServiceArgs;
use crate::diag::Diagnostics;
use crate::parse::ServiceTrait;

// The documentation is at the re-export in `connectivity-core`, where its examples can run.
#[expect(
    missing_docs,
    reason = "documented where users see it: at the re-export in connectivity-core"
)]
#[proc_macro_attribute]
pub fn service(
    args: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    expand_service(args.into(), &item.into()).into()
}

/// Expands the macro on `proc_macro2` tokens, so that unit tests can call it.
fn expand_service(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let args = ServiceArgs::parse(args, &mut diagnostics);
    let source: ServiceTrait = match syn::parse2(item.clone()) {
        Ok(source) => source,
        Err(error) => {
            match validate::is_of_mock(item) {
                true => {
                    diagnostics.at(error.span(), format!("{error}{}", validate::AUTOMOCK_ABOVE))
                }
                false => diagnostics.push(error),
            }
            return expand::unreadable(item, diagnostics);
        }
    };
    if validate::is_expanded_by_async_trait(&source) {
        diagnostics.on(&source.ident, validate::ASYNC_TRAIT_ABOVE);
        return expand::untouched(item, &source, &args, diagnostics);
    }
    match validate::service(&source, &args, &mut diagnostics) {
        Some(service) if diagnostics.is_empty() => expand::service(&source, &service),
        _ => expand::rejected(source, &args, diagnostics),
    }
}
