//! Generates the client, such as `BillingClient`.

use proc_macro2::TokenStream;

use crate::expand::{dynamic, hygienic, method, signature};
use crate::model::{Form, Method, Service};

pub(super) fn definition(service: &Service) -> TokenStream {
    let Service { krate, vis, trait_name, cfgs, name, .. } = service;
    let (client, object) = (&service.names.client, dynamic::object(service));
    let docs = format!(
        "Calls the service `{name}` wherever its route says it is.\n\n\
         Cheap to clone. It implements [`{trait_name}`], as an implementation of the service does, and has the same \
         methods itself, so that the trait need not be imported."
    );
    hygienic! {
        #[doc = #docs]
        #(#cfgs)*
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #client {
            handle: #krate::__private::Handle<#object>,
        }
    }
}

pub(super) fn impls(service: &Service) -> TokenStream {
    let trait_name = &service.trait_name;
    let client = &service.names.client;
    let constructors = constructors(service);
    let methods = service.methods.iter().map(|method| inherent_method(service, method));
    let forwarding = service.methods.iter().map(|method| forwarding_method(service, method));
    hygienic! {
        impl #client {
            #constructors
            #(#methods)*
        }

        impl #trait_name for #client {
            #(#forwarding)*
        }
    }
}

fn constructors(service: &Service) -> TokenStream {
    let Service { krate, vis, name, .. } = service;
    let server = &service.names.service;
    let (generics, implementation) = dynamic::implementation(service);
    let new_docs = format!("A client whose calls go where `router` says `{name}` is.");
    let direct_docs = "A client that calls `implementation` and nothing else: no router, no routes. Made for tests.";
    let rehearse_docs = "A client that calls `implementation` and nothing else, and encodes and decodes all arguments and replies as on \
         their way to another process. Made for tests: what a wire would refuse or change shows before the service moves.";
    let timeout_docs = "The same client, whose calls fail with a timeout after `limit`.";
    hygienic! {
        #[doc = #new_docs]
        #vis fn new(router: &(impl #krate::__private::ServiceRegistry + ?::core::marker::Sized)) -> Self {
            Self { handle: #krate::__private::Handle::new(router, &__SERVICE) }
        }

        #[doc = #direct_docs]
        #vis fn direct #generics(implementation: #implementation) -> Self {
            Self { handle: #krate::__private::Handle::direct(#server::new(implementation)) }
        }

        #[doc = #rehearse_docs]
        #vis fn rehearse #generics(implementation: #implementation) -> Self {
            Self { handle: #krate::__private::Handle::rehearse(#server::new(implementation)) }
        }

        #[doc = #timeout_docs]
        #[must_use]
        #vis fn with_timeout(&self, limit: ::core::time::Duration) -> Self {
            Self { handle: self.handle.with_timeout(limit) }
        }
    }
}

/// Generates a trait method of the client, which forwards to the client's own method. For a
/// deprecated method the body is repeated: a call would be a use of a deprecated method, which
/// generated code cannot allow where an application forbids that lint.
fn forwarding_method(service: &Service, method: &Method) -> TokenStream {
    if service.form == Form::AsyncTrait {
        return boxed_method(service, method);
    }
    if !method.is_deprecated() {
        let (ident, args) = (&method.ident, signature::arg_names(method));
        return dynamic::forwarding_method(method, &hygienic!(Self::#ident(self #(, #args)*)));
    }
    let (cfgs, signature, body) =
        (&method.cfgs, signature::async_fn(method), body(service, method));
    hygienic!(#(#cfgs)* #signature { #body })
}

/// Generates a method of a trait under `#[async_trait]`. It returns the box of the implementation
/// itself on the fast path: through the client's own method there would be a second box.
fn boxed_method(service: &Service, method: &Method) -> TokenStream {
    let (cfgs, signature) = (&method.cfgs, signature::boxed_fn(method));
    let (krate, marker) = (&service.krate, method::marker(method));
    let names: Vec<_> = signature::arg_names(method).collect();
    let call = dynamic::call(service, method, &hygienic!(service), names.iter());
    hygienic! {
        #(#cfgs)*
        #signature {
            match self.handle.fast::<#marker>() {
                ::core::option::Option::Some(service) => #call,
                ::core::option::Option::None => {
                    let answer: #krate::__private::CallFuture<'_, #marker> =
                        self.handle.slow::<#marker>((#(#names,)*));
                    ::std::boxed::Box::pin(answer)
                }
            }
        }
    }
}

fn inherent_method(service: &Service, method: &Method) -> TokenStream {
    let vis = &service.vis;
    let client_attrs = &method.client_attrs;
    let docs = method.docs.is_empty().then(|| {
        let docs = format!("Calls `{}.{}`.", service.name, method.name);
        hygienic!(#[doc = #docs])
    });
    let (signature, body) = (signature::async_fn(method), body(service, method));
    hygienic! {
        #docs
        #(#client_attrs)*
        #[inline]
        #vis #signature {
            #body
        }
    }
}

/// Generates the body of a client method. Both paths share one await: two would enlarge the future,
/// and with it every call.
fn body(service: &Service, method: &Method) -> TokenStream {
    let (krate, marker) = (&service.krate, method::marker(method));
    let names: Vec<_> = signature::arg_names(method).collect();
    let call = dynamic::call(service, method, &hygienic!(service), names.iter());
    hygienic! {
        let answer: #krate::__private::CallFuture<'_, #marker> = match self.handle.fast::<#marker>() {
            ::core::option::Option::Some(service) => {
                #krate::__private::CallFuture::Fast(#call)
            }
            ::core::option::Option::None => self.handle.slow::<#marker>((#(#names,)*)),
        };
        answer.await
    }
}
