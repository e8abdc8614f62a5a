//! What is written for a trait with mistakes: enough that nothing but the mistakes is reported.

use proc_macro2::TokenStream;
use quote::quote;

use crate::attributes;
use crate::diag::Diagnostics;
use crate::expand::{hygienic, trait_def};
use crate::names::Names;
use crate::parse::ServiceTrait;

/// The trait, the names of what would have been generated, and the errors.
///
/// The first error stands in the place of a type. To the compiler that type is wrong already, so it stays silent about
/// everything that is done with the client and the service.
pub(crate) fn rejected(source: &ServiceTrait, diagnostics: Diagnostics) -> TokenStream {
    let names = Names::of(&source.ident);
    let Names { dynamic, client, service } = &names;
    let trait_def = trait_def::expand(source, &names);
    let vis = &source.vis;
    let cfgs = attributes::cfgs(&source.attrs);
    let mut errors = diagnostics.into_compile_errors();
    let first = errors.next();
    hygienic! {
        #trait_def

        #(#cfgs)*
        #vis trait #dynamic: ::core::marker::Send + ::core::marker::Sync + 'static {}

        #(#cfgs)*
        #vis type #client = #first;

        #(#cfgs)*
        #vis type #service = #client;

        #(#errors)*
    }
}

/// For what is no trait, or none that `syn` can read.
pub(crate) fn unreadable(item: &TokenStream, diagnostics: Diagnostics) -> TokenStream {
    let errors = diagnostics.into_compile_errors();
    quote!(#item #(#errors)*)
}
