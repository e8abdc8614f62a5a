//! Generates the object-safe form of the trait, and the impls that connect the two.
//!
//! A trait under `#[async_trait]` is its own object-safe form, so nothing is generated for it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident};
use syn::Lifetime;
use syn::ext::IdentExt;

use crate::expand::{hygienic, signature};
use crate::model::{Form, Method, Service};

/// Returns the type of the trait object: `dyn DynBilling`, or `dyn Billing + Send + Sync`.
pub(super) fn object(service: &Service) -> TokenStream {
    let (dynamic, trait_name) = (&service.names.dynamic, &service.trait_name);
    match service.form {
        Form::Plain => hygienic!(dyn #dynamic),
        Form::AsyncTrait => {
            hygienic!(dyn #trait_name + ::core::marker::Send + ::core::marker::Sync)
        }
    }
}

/// Returns the generics and the type of a function's argument that is an implementation.
pub(super) fn implementation(service: &Service) -> (TokenStream, TokenStream) {
    let trait_name = &service.trait_name;
    match service.form {
        Form::Plain => (TokenStream::new(), hygienic!(impl #trait_name)),
        // Not `impl Billing + Send`: clippy objects where `Send` is a supertrait.
        Form::AsyncTrait => (
            hygienic!(<__T: #trait_name + ::core::marker::Send + ::core::marker::Sync + 'static>),
            hygienic!(__T),
        ),
    }
}

/// Generates a call of a method through the trait object. Its value is a boxed future.
pub(super) fn call(
    service: &Service,
    method: &Method,
    object: &TokenStream,
    args: impl Iterator<Item = impl ToTokens>,
) -> TokenStream {
    match service.form {
        Form::Plain => {
            let (dynamic, dyn_method) = (&service.names.dynamic, dyn_method_name(method));
            hygienic!(#dynamic::#dyn_method(#object #(, #args)*))
        }
        Form::AsyncTrait => {
            let (trait_name, ident) = (&service.trait_name, &method.ident);
            hygienic!(#trait_name::#ident(#object #(, #args)*))
        }
    }
}

/// Returns the name of a method in the object-safe form. Equal names would make calls ambiguous
/// where both traits are in scope.
fn dyn_method_name(method: &Method) -> Ident {
    format_ident!("__dyn_{}", method.ident.unraw(), span = Span::mixed_site())
}

/// Generates `trait DynBilling`.
pub(super) fn definition(service: &Service) -> TokenStream {
    if service.form == Form::AsyncTrait {
        return TokenStream::new();
    }
    let Service { vis, trait_name, cfgs, .. } = service;
    let dynamic = &service.names.dynamic;
    let hidden = (!service.has_named_object).then(|| hygienic!(#[doc(hidden)]));
    let docs = format!(
        "Object-safe form of [`{trait_name}`]: hold it as `Arc<dyn {dynamic}>`, which implements [`{trait_name}`] itself."
    );
    let methods = service.methods.iter().map(|method| {
        let cfgs = &method.cfgs;
        let signature = dyn_signature(service, method);
        hygienic!(#(#cfgs)* #[doc(hidden)] #signature;)
    });
    hygienic! {
        #[doc = #docs]
        #hidden
        #(#cfgs)*
        #[allow(clippy::all)]
        #vis trait #dynamic: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

/// Generates the signature `fn __dyn_charge<'call>(&'call self, order: &'call str, cents: u64) ->
/// BoxFuture<'call, Result<..>>`.
fn dyn_signature(service: &Service, method: &Method) -> TokenStream {
    let krate = &service.krate;
    let dyn_method = dyn_method_name(method);
    let output = &method.output;
    let args = method.args.iter().map(|argument| {
        let ident = &argument.ident;
        let mut call = |_: Option<&Lifetime>| Lifetime::new("'call", Span::mixed_site());
        let ty = signature::with_lifetimes(argument, &mut call);
        hygienic!(#ident: #ty)
    });
    hygienic! {
        fn #dyn_method<'call>(
            &'call self #(, #args)*
        ) -> #krate::__private::BoxFuture<'call, #output>
    }
}

/// Generates the impls that connect the traits. Every implementation of the trait implements the
/// object-safe form; the trait object, and `Arc`s, implement the trait.
///
/// The type parameter is `__T`: type parameters are not hygienic, and the user may have a type
/// called `T`.
pub(super) fn impls(service: &Service) -> TokenStream {
    if service.form == Form::AsyncTrait {
        return TokenStream::new();
    }
    let trait_name = &service.trait_name;
    let dynamic = &service.names.dynamic;
    let boxing = service.methods.iter().map(|method| boxing_method(service, method));
    let through_object = service.methods.iter().map(|method| object_method(service, method));
    let through_arc = service.methods.iter().map(|method| {
        let (ident, args) = (&method.ident, signature::arg_names(method));
        forwarding_method(method, &hygienic!(<__T as #trait_name>::#ident(self #(, #args)*)))
    });
    hygienic! {
        impl<__T: #trait_name> #dynamic for __T {
            #(#boxing)*
        }

        impl #trait_name for dyn #dynamic {
            #(#through_object)*
        }

        impl<__T: #trait_name + ?::core::marker::Sized> #trait_name for ::std::sync::Arc<__T> {
            #(#through_arc)*
        }
    }
}

fn boxing_method(service: &Service, method: &Method) -> TokenStream {
    let cfgs = &method.cfgs;
    let trait_name = &service.trait_name;
    let ident = &method.ident;
    let signature = dyn_signature(service, method);
    let args = signature::arg_names(method);
    hygienic! {
        #(#cfgs)*
        #signature {
            ::std::boxed::Box::pin(<__T as #trait_name>::#ident(self #(, #args)*))
        }
    }
}

/// Generates a method that calls through the trait object. The future is awaited, not returned: it
/// is a box whose type names a lifetime that the trait's method cannot name.
fn object_method(service: &Service, method: &Method) -> TokenStream {
    let cfgs = &method.cfgs;
    let dynamic = &service.names.dynamic;
    let (dyn_method, args) = (dyn_method_name(method), signature::arg_names(method));
    let signature = signature::async_fn(method);
    hygienic! {
        #(#cfgs)*
        #signature {
            #dynamic::#dyn_method(self #(, #args)*).await
        }
    }
}

/// Generates a trait method that returns the future of another method.
pub(super) fn forwarding_method(method: &Method, call: &TokenStream) -> TokenStream {
    let cfgs = &method.cfgs;
    let signature = signature::future_fn(method);
    hygienic! {
        #(#cfgs)*
        #signature {
            #call
        }
    }
}
