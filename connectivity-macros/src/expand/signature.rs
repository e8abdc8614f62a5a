//! Generates a method's signature, as the generated impls repeat it.

use proc_macro2::TokenStream;
use quote::ToTokens;

use crate::expand::hygienic;
use crate::model::Method;
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

/// Returns the names of the arguments.
pub(super) fn arg_names(method: &Method) -> impl Iterator<Item = impl ToTokens> {
    method.args.iter().map(|argument| &argument.ident)
}
