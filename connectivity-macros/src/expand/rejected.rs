//! Generates the code for an invalid trait: enough that the compiler reports only the errors found
//! here.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{FnArg, GenericParam, Signature, Type, parse_quote};

use crate::args::ServiceArgs;
use crate::attributes;
use crate::diag::Diagnostics;
use crate::expand::{hygienic, trait_def};
use crate::names::{self, Names};
use crate::parse::{self, Item, ParsedMethod, ServiceTrait};

/// Returns the trait, placeholders for the generated items, and the errors.
pub(crate) fn rejected(
    mut source: ServiceTrait,
    args: &ServiceArgs,
    diagnostics: Diagnostics,
) -> TokenStream {
    remove_reported(&mut source);
    let (trait_def, placeholders) =
        (trait_def::expand(&source), placeholders(&source, args, diagnostics));
    quote!(#trait_def #placeholders)
}

/// Returns the trait as it was written, placeholders for the generated items, and the errors.
pub(crate) fn untouched(
    item: &TokenStream,
    source: &ServiceTrait,
    args: &ServiceArgs,
    diagnostics: Diagnostics,
) -> TokenStream {
    let placeholders = placeholders(source, args, diagnostics);
    quote!(#item #placeholders)
}

/// Returns placeholders for the generated items, and the errors.
///
/// The first error is inside a type. The compiler treats that type as invalid already, and reports
/// nothing about uses of the client and the service.
fn placeholders(
    source: &ServiceTrait,
    args: &ServiceArgs,
    diagnostics: Diagnostics,
) -> TokenStream {
    let Names { dynamic, client, service } = Names::of(&source.ident, args.dynamic.as_ref());
    let (vis, constructor) = (&source.vis, names::public_ident(&source.ident));
    let cfgs = attributes::cfgs(&source.attrs);
    let mut errors = diagnostics.into_compile_errors();
    let first = errors.next();
    hygienic! {
        #(#cfgs)*
        #vis trait #dynamic: ::core::marker::Send + ::core::marker::Sync + 'static {}

        #(#cfgs)*
        #vis type #client = [(); #first];

        #(#cfgs)*
        #vis type #service = #client;

        #(#cfgs)*
        #[doc(hidden)]
        #vis fn #constructor<__T>(_: __T) -> #service {
            ::core::unimplemented!()
        }

        #(#errors)*
    }
}

/// Returns the output for an item that is not a trait, or that `syn` cannot parse.
pub(crate) fn unreadable(item: &TokenStream, diagnostics: Diagnostics) -> TokenStream {
    let errors = diagnostics.into_compile_errors();
    quote!(#item #(#errors)*)
}

/// Removes from the trait what rustc would report a second time.
fn remove_reported(source: &mut ServiceTrait) {
    let mut seen = HashSet::new();
    source.items.retain_mut(|item| match item {
        Item::Method(method) => {
            remove_reported_in_method(method);
            !attributes::cfgs(&method.attrs).is_empty() || seen.insert(method.sig.ident.clone())
        }
        Item::Other(_) => true,
    });
}

fn remove_reported_in_method(method: &mut ParsedMethod) {
    let has_body = method.body.is_some();
    let sig = &mut method.sig;
    sig.constness = None;
    // The trait need not be object-safe, but `self` and `Option<Self>` require a size.
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
