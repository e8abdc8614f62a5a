//! What is written for a trait with mistakes: enough that nothing but the mistakes is reported.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{FnArg, GenericParam, Signature, Type, parse_quote};

use crate::attributes;
use crate::diag::Diagnostics;
use crate::expand::{hygienic, trait_def};
use crate::names::Names;
use crate::parse::{self, Item, ParsedMethod, ServiceTrait};

/// The trait, the names of what would have been generated, and the errors.
///
/// The first error stands inside a type. To the compiler that type is wrong already, so it stays
/// silent about everything that is done with the client and the service.
pub(crate) fn rejected(mut source: ServiceTrait, diagnostics: Diagnostics) -> TokenStream {
    let names = Names::of(&source.ident);
    let Names { dynamic, client, service } = &names;
    soften(&mut source);
    let trait_def = trait_def::expand(&source, &names);
    let vis = &source.vis;
    let cfgs = attributes::cfgs(&source.attrs);
    let mut errors = diagnostics.into_compile_errors();
    let first = errors.next();
    hygienic! {
        #trait_def

        #(#cfgs)*
        #vis trait #dynamic: ::core::marker::Send + ::core::marker::Sync + 'static {}

        #(#cfgs)*
        #vis type #client = [(); #first];

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

/// Takes from the trait what rustc would report a second time.
fn soften(source: &mut ServiceTrait) {
    let mut seen = HashSet::new();
    source.items.retain_mut(|item| match item {
        Item::Method(method) => {
            soften_method(method);
            !attributes::cfgs(&method.attrs).is_empty() || seen.insert(method.sig.ident.clone())
        }
        Item::Other(_) => true,
    });
}

fn soften_method(method: &mut ParsedMethod) {
    let has_body = method.body.is_some();
    let sig = &mut method.sig;
    sig.constness = None;
    // Nothing needs the trait to be object-safe, but `self` and `Option<Self>` need a size.
    sig.generics.make_where_clause().predicates.push(parse_quote!(Self: ::core::marker::Sized));
    if has_body {
        return;
    }
    for (position, input) in sig.inputs.iter_mut().enumerate() {
        if let FnArg::Typed(argument) = input
            && parse::plain_name(&argument.pat).is_none()
        {
            let name = format_ident!("__arg{position}");
            *argument.pat = parse_quote!(#name);
        }
    }
    // An implementation cannot know that an argument of any type is `Send`, and with it the future.
    if sig.asyncness.is_some() && is_generic(sig) {
        let output = trait_def::output(sig);
        sig.asyncness = None;
        sig.output = parse_quote!(-> impl ::core::future::Future<Output = #output>);
    }
}

fn is_generic(sig: &Signature) -> bool {
    let is_impl =
        |input: &FnArg| matches!(input, FnArg::Typed(arg) if matches!(*arg.ty, Type::ImplTrait(_)));
    sig.generics.params.iter().any(|param| matches!(param, GenericParam::Type(_)))
        || sig.inputs.iter().any(is_impl)
}
