//! Generates a method's signature, as the generated impls repeat it.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::Lifetime;

use crate::expand::hygienic;
use crate::model::{Argument, BorrowForm, Borrowed, Method};
use crate::names;

/// Returns `async fn charge(&self, order: &str, cents: u64) -> Result<..>`, with the user's names
/// and types.
pub(super) fn async_fn(method: &Method) -> TokenStream {
    let (head, output) = (head(method), &method.output);
    hygienic!(async #head -> #output)
}

/// Returns the signature with an explicit future, for a body that already has a future.
pub(super) fn future_fn(method: &Method) -> TokenStream {
    let (head, output) = (head(method), &method.output);
    hygienic!(#head -> impl ::core::future::Future<Output = #output> + ::core::marker::Send)
}

fn head(method: &Method) -> TokenStream {
    let ident = names::public_ident(&method.ident);
    let lifetimes = &method.generics;
    let self_lifetime = &method.self_lifetime;
    let args = method.args.iter().map(|argument| {
        let (ident, ty) = (&argument.ident, &argument.ty);
        hygienic!(#ident: #ty)
    });
    hygienic!(fn #ident #lifetimes(&#self_lifetime self #(, #args)*))
}

/// Returns the signature into which `#[async_trait]` turns the method: each elided lifetime has a
/// name, and the boxed future may live as long as the shortest.
///
/// The compiler compares the number of lifetimes with that of the trait, not their names.
pub(super) fn boxed_fn(method: &Method) -> TokenStream {
    let (ident, output) = (names::public_ident(&method.ident), &method.output);
    let mut lifetimes: Vec<Lifetime> =
        method.generics.lifetimes().map(|param| param.lifetime.clone()).collect();
    let mut named = |written: Option<&Lifetime>| {
        written.cloned().unwrap_or_else(|| {
            let name = format!("'__life{}", lifetimes.len());
            let lifetime = Lifetime::new(&name, Span::mixed_site());
            lifetimes.push(lifetime.clone());
            lifetime
        })
    };
    let self_lifetime = named(method.self_lifetime.as_ref());
    let args: Vec<_> = method
        .args
        .iter()
        .map(|argument| {
            let (ident, ty) = (&argument.ident, with_lifetimes(argument, &mut named));
            hygienic!(#ident: #ty)
        })
        .collect();
    hygienic! {
        fn #ident<#(#lifetimes,)* '__async_trait>(
            &#self_lifetime self #(, #args)*
        ) -> ::core::pin::Pin<::std::boxed::Box<
            dyn ::core::future::Future<Output = #output> + ::core::marker::Send + '__async_trait,
        >>
        where
            #(#lifetimes: '__async_trait,)*
            Self: '__async_trait
    }
}

/// Returns the type of an argument. `named` returns the lifetime to write for one of the type,
/// which has a name of its own or none.
pub(super) fn with_lifetimes(
    argument: &Argument,
    named: &mut impl FnMut(Option<&Lifetime>) -> Lifetime,
) -> TokenStream {
    let Some(Borrowed { referent, form, lifetime }) = &argument.borrowed else {
        return argument.ty.to_token_stream();
    };
    let lifetime = named(lifetime.as_ref());
    match form {
        BorrowForm::Reference => hygienic!(&#lifetime #referent),
        BorrowForm::Optional => hygienic!(::core::option::Option<&#lifetime #referent>),
        BorrowForm::Slice(of_elements) => {
            let of_elements = named(of_elements.as_ref());
            hygienic!(&#lifetime [&#of_elements #referent])
        }
        BorrowForm::Cow(path) => hygienic!(#path<#lifetime, #referent>),
    }
}

/// Returns the names of the arguments.
pub(super) fn arg_names(method: &Method) -> impl Iterator<Item = impl ToTokens> {
    method.args.iter().map(|argument| &argument.ident)
}
