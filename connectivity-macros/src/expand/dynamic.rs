//! The object-safe twin of the trait, and what connects the two.

use proc_macro2::{Ident, TokenStream};
use quote::format_ident;
use syn::ext::IdentExt;

use crate::expand::{hygienic, signature};
use crate::model::{Method, Service};

/// The name of a method's twin. Equal names would make calls ambiguous where both traits are known.
pub(super) fn twin_name(method: &Method) -> Ident {
    format_ident!("__dyn_{}", method.ident.unraw(), span = proc_macro2::Span::mixed_site())
}

/// `trait DynBilling`.
pub(super) fn definition(service: &Service) -> TokenStream {
    let Service { vis, trait_name, cfgs, .. } = service;
    let dynamic = &service.names.dynamic;
    let docs = format!(
        "Object-safe form of [`{trait_name}`]: hold it as `Arc<dyn {dynamic}>`, which implements [`{trait_name}`] itself."
    );
    let methods = service.methods.iter().map(|method| {
        let cfgs = &method.cfgs;
        let signature = twin_signature(service, method);
        hygienic!(#(#cfgs)* #[doc(hidden)] #signature;)
    });
    hygienic! {
        #[doc = #docs]
        #(#cfgs)*
        #[allow(clippy::all)]
        #vis trait #dynamic: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

/// `fn __dyn_charge<'call>(&'call self, order: &'call str, cents: u64) -> BoxFuture<'call,
/// Result<..>>`.
fn twin_signature(service: &Service, method: &Method) -> TokenStream {
    let krate = &service.krate;
    let twin = twin_name(method);
    let output = &method.output;
    let args = method.args.iter().map(|argument| {
        let (ident, ty) = (&argument.ident, &argument.ty);
        match &argument.borrowed {
            Some(referent) => hygienic!(#ident: &'call #referent),
            None => hygienic!(#ident: #ty),
        }
    });
    hygienic! {
        fn #twin<'call>(&'call self #(, #args)*) -> #krate::__private::BoxFuture<'call, #output>
    }
}

/// Everything that implements the trait is its twin; the twin as an object, and `Arc`s, implement
/// the trait.
///
/// Type parameters are not hygienic, and the user may have a type called `T`.
pub(super) fn impls(service: &Service) -> TokenStream {
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
    let signature = twin_signature(service, method);
    let args = signature::arg_names(method);
    hygienic! {
        #(#cfgs)*
        #signature {
            ::std::boxed::Box::pin(<__T as #trait_name>::#ident(self #(, #args)*))
        }
    }
}

/// Through the object the future is a box, whose type names a lifetime that the trait's method
/// cannot: so it is awaited.
fn object_method(service: &Service, method: &Method) -> TokenStream {
    let cfgs = &method.cfgs;
    let dynamic = &service.names.dynamic;
    let (twin, args) = (twin_name(method), signature::arg_names(method));
    let signature = signature::async_fn(method);
    hygienic! {
        #(#cfgs)*
        #signature {
            #dynamic::#twin(self #(, #args)*).await
        }
    }
}

/// A method of the trait that hands on the future of another.
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
