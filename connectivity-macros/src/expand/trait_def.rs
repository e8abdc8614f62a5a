//! The user's trait, with `async fn` written out so that every future is `Send`.

use proc_macro2::{Group, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, FnArg, PatType, ReceiverKind, ReturnType, Signature, parse_quote};

use crate::attributes;
use crate::expand::hygienic;
use crate::names::Names;
use crate::parse::{self, Item, ParsedMethod, ServiceTrait};

/// The trait of a service, good or rejected: in both cases implementations and callers find what they expect.
pub(super) fn expand(source: &ServiceTrait, names: &Names) -> TokenStream {
    let ServiceTrait { vis, unsafety, ident, generics, supertraits, .. } = source;
    let attrs = kept(&source.attrs);
    let (_, _, where_clause) = generics.split_for_impl();
    let supertraits = supertraits.iter();
    let items = source.items.iter().map(|item| match item {
        Item::Method(method) => self::method(method),
        Item::Other(item) => item.to_token_stream(),
    });
    let service = &names.service;
    hygienic! {
        #(#attrs)*
        #vis #unsafety trait #ident #generics:
            #(#supertraits +)* ::core::marker::Send + ::core::marker::Sync + 'static
        #where_clause
        {
            #(#items)*

            #[doc(hidden)]
            fn __into_service(self) -> #service
            where
                Self: ::core::marker::Sized,
            {
                #service::new(self)
            }
        }
    }
}

fn kept(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| !attributes::is_helper(attr))
}

fn method(source: &ParsedMethod) -> TokenStream {
    let attrs = kept(&source.attrs);
    let is_async = source.sig.asyncness.is_some();
    let sig = signature(&source.sig, source.body.is_some());
    let end = match &source.body {
        Some(body) if is_async => async_body(body),
        Some(body) => body.to_token_stream(),
        None => quote!(;),
    };
    quote! { #(#attrs)* #sig #end }
}

fn async_body(body: &Group) -> TokenStream {
    quote! { { async move #body } }
}

fn signature(source: &Signature, has_body: bool) -> Signature {
    let mut sig = source.clone();
    for (position, input) in sig.inputs.iter_mut().enumerate() {
        match input {
            FnArg::Typed(argument) => simplify(argument, position),
            FnArg::Receiver(receiver) => receiver.attrs.clear(),
        }
    }
    if sig.asyncness.take().is_some() {
        let output = match &sig.output {
            ReturnType::Type(_, ty) => ty.to_token_stream(),
            ReturnType::Default => quote!(()),
        };
        sig.output = parse_quote! {
            -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
        };
    }
    if has_body && takes_self_by_value(&sig) {
        sig.generics.make_where_clause().predicates.push(parse_quote!(Self: ::core::marker::Sized));
    }
    sig
}

/// A rejected pattern has been reported; here it becomes a name, or rustc would report it again.
fn simplify(argument: &mut PatType, position: usize) {
    argument.attrs.clear();
    if parse::plain_name(&argument.pat).is_none() {
        let name = format_ident!("__arg{position}");
        *argument.pat = parse_quote!(#name);
    }
}

/// Such a method has been reported; with a body, rustc would report it again.
fn takes_self_by_value(sig: &Signature) -> bool {
    sig.receiver().is_some_and(|receiver| matches!(receiver.kind, ReceiverKind::Value))
}
