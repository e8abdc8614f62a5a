//! Generates the user's trait, with `async fn` desugared so that every future is `Send`.

use proc_macro2::{Group, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, FnArg, ReturnType, Signature, parse_quote_spanned};

use crate::attributes;
use crate::expand::hygienic;
use crate::model::Form;
use crate::parse::{Item, ParsedMethod, ServiceTrait};
use crate::validate;

/// Returns the trait of a service, valid or rejected: in both cases implementations and callers
/// find the items that they expect.
pub(super) fn expand(source: &ServiceTrait) -> TokenStream {
    if validate::form(source) == Form::AsyncTrait {
        return async_trait(source);
    }
    let ServiceTrait { vis, unsafety, ident, generics, supertraits, .. } = source;
    let attrs = user_attrs(&source.attrs);
    let (_, _, where_clause) = generics.split_for_impl();
    let supertraits = supertraits.iter();
    let items = source.items.iter().map(|item| match item {
        Item::Method(method) => self::method(method),
        Item::Other(item) => item.to_token_stream(),
    });
    hygienic! {
        #(#attrs)*
        #vis #unsafety trait #ident #generics:
            #(#supertraits +)* ::core::marker::Send + ::core::marker::Sync + 'static
        #where_clause
        {
            #(#items)*
        }
    }
}

/// Returns the trait as it stands, for `#[async_trait]` to expand.
fn async_trait(source: &ServiceTrait) -> TokenStream {
    let ServiceTrait { vis, unsafety, ident, generics, supertraits, .. } = source;
    let attrs = user_attrs(&source.attrs);
    let (_, _, where_clause) = generics.split_for_impl();
    let colon = (!supertraits.is_empty()).then(|| quote!(:));
    let items = source.items.iter().map(|item| match item {
        Item::Method(method) => {
            let attrs = method_attrs(method);
            let (sig, body) = (&method.sig, &method.body);
            let end = body.is_none().then(|| quote!(;));
            quote!(#(#attrs)* #sig #body #end)
        }
        Item::Other(item) => item.to_token_stream(),
    });
    quote! {
        #(#attrs)*
        #vis #unsafety trait #ident #generics #colon #supertraits #where_clause {
            #(#items)*
        }
    }
}

fn user_attrs(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs
        .iter()
        .filter(|attr| !attributes::is_helper(attr) && !attributes::is_conditional_helper(attr))
}

/// Returns the attributes that a method of the trait keeps. `deprecated` is dropped: generated code
/// calls the method, and could not do so where an application forbids that lint. The client's
/// method, which callers use, is deprecated.
fn method_attrs(source: &ParsedMethod) -> impl Iterator<Item = &Attribute> {
    user_attrs(&source.attrs).filter(|attr| !attr.path().is_ident("deprecated"))
}

fn method(source: &ParsedMethod) -> TokenStream {
    let attrs = method_attrs(source);
    let is_async = source.sig.asyncness.is_some();
    let end_span = end_of_signature(&source.sig);
    let sig = signature(&source.sig, end_span);
    let end = match &source.body {
        Some(body) if is_async => async_body(body),
        Some(body) => body.to_token_stream(),
        None => quote_spanned!(end_span=> ;),
    };
    quote! { #(#attrs)* #sig #end }
}

fn async_body(body: &Group) -> TokenStream {
    quote_spanned! {body.span()=> { async move #body } }
}

/// Returns the user's span for the end of a signature: with it, a lint or a violated bound is
/// reported at the method.
fn end_of_signature(sig: &Signature) -> Span {
    output(sig).into_iter().last().map_or_else(|| sig.ident.span(), |token| token.span())
}

/// Returns the signature with an explicit future. Attributes of arguments are removed; they have
/// been reported.
fn signature(source: &Signature, end: Span) -> Signature {
    let mut sig = source.clone();
    for input in &mut sig.inputs {
        match input {
            FnArg::Typed(argument) => argument.attrs.clear(),
            FnArg::Receiver(receiver) => receiver.attrs.clear(),
        }
    }
    if sig.asyncness.take().is_some() {
        let output = output(&sig);
        sig.output = parse_quote_spanned! {end=>
            -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
        };
    }
    sig
}

/// Returns the output type of a method, `()` if none is written.
pub(super) fn output(sig: &Signature) -> TokenStream {
    match &sig.output {
        ReturnType::Type(_, ty) => ty.to_token_stream(),
        ReturnType::Default => quote!(()),
    }
}
